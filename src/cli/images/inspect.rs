//! `doorward images inspect`: all about images.

use std::time::SystemTime;

use clap::Args;
use prost_types::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{
    args::{EXIT_HELP, image},
    document,
};
use crate::{
    cli::{
        connect::Connection,
        failure::{Tally, asking},
        show::{
            self, Format,
            colour::Paint,
            human::{self, age, printable, since, size},
            json,
            table::pairs,
        },
    },
    wire::doorward::v1 as wire,
};

/// The arguments of `doorward images inspect`.
#[derive(Args, Debug)]
#[command(after_help = format!("With --json, one array, each image with its manifest and, unless it is sealed, its \
    configuration.\n\n{EXIT_HELP}"))]
pub(super) struct InspectArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    /// Which images: ids, tags or digests
    #[arg(required = true, value_name = "IMAGE", value_parser = image())]
    images: Vec<String>,
}

/// One element of what `--json` prints.
#[derive(Serialize)]
struct Inspected<'a> {
    #[serde(flatten)]
    image: document::Image<'a>,
    #[serde(skip_serializing_if = "Value::is_null")]
    manifest: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    config: Value,
}

/// Prints them in the order asked for.
pub(super) async fn run(args: InspectArgs) -> anyhow::Result<u8> {
    let images = args.connection.connect().await?.images();
    let (mut tally, mut found) = (Tally::default(), Vec::new());
    for image in &args.images {
        let request = wire::GetImageRequest { image: image.clone(), ..Default::default() };
        let answer = images.get_image(request).await.map_err(asking(format!("inspect {image}")));
        tally.take(answer.map(|answer| found.push(answer)))?;
    }
    let known = found.iter().filter_map(|answer| Some((answer.image.as_ref()?, answer)));
    if args.format.json {
        let documents = known.map(|(image, answer)| Inspected {
            image: document::Image::from(image),
            manifest: parsed(&answer.manifest),
            config: parsed(&answer.config),
        });
        json::document(&documents.collect::<Vec<_>>())?;
    } else {
        let (paint, now) = (Paint::for_stdout(), SystemTime::now());
        let texts: Vec<String> = known.map(|(image, _)| pairs(&rows(image, now), paint)).collect();
        show::put(&texts.join("\n"))?;
    }
    Ok(tally.code())
}

/// JSON within JSON; what is none stays the text that it is.
fn parsed(text: &str) -> Value {
    match text {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_string())),
    }
}

/// Names and values; what is not known has no row.
fn rows(image: &wire::Image, now: SystemTime) -> Vec<(&'static str, String)> {
    let mut rows = vec![("Image", printable(&image.image_id))];
    let mut row = |name, value: Option<String>| rows.extend(value.map(|value| (name, value)));
    row("Tags", Some(printable(&image.tags.join(" "))).filter(|tags| !tags.is_empty()));
    row("Digest", Some(printable(&image.digest)));
    row("Created", image.created.as_ref().map(|time| moment(time, now)));
    row("Last used", image.last_used.as_ref().map(|time| moment(time, now)));
    row("Expires", Some(image.expires.map_or("never".into(), |time| time.to_string())));
    row("Size", Some(size(image.size_bytes)));
    row("Sealed", image.sealed.then(|| "yes: its contents need a key".into()));
    let mounts = image.mounted_at.iter().map(|path| human::path(path));
    let layers = image.layers.iter().map(|layer| {
        let (digest, kind) = (printable(&layer.digest), printable(&layer.media_type));
        format!("{digest} {} {kind}", size(layer.size_bytes))
    });
    // A name stands once, before the first of several.
    let named = |name: &'static str, at| if at == 0 { name } else { "" };
    rows.extend(mounts.enumerate().map(|(at, path)| (named("Mounted at", at), path)));
    rows.extend(layers.enumerate().map(|(at, layer)| (named("Layers", at), layer)));
    rows
}

fn moment(time: &Timestamp, now: SystemTime) -> String {
    match since(time, now) {
        Some(passed) => format!("{time} ({} ago)", age(passed)),
        None => time.to_string(),
    }
}
