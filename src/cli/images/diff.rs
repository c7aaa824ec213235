//! `doorward images diff`: what differs between two images.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{
    args::{EXIT_HELP, image, key},
    document::Path,
};
use crate::{
    cli::{
        connect::Connection,
        failure::asking,
        show::{
            self, Format,
            colour::{Paint, Tone},
            human::{self, printable},
            json,
        },
    },
    client::ClientError,
    wire::doorward::v1::{self as wire, diff_images_response::Change},
};

/// The arguments of `doorward images diff`.
#[derive(Args, Debug)]
#[command(after_help = format!("A line for each path: A if only B has it, D if only A has it, C if both have it and it is \
    changed, with what is different about it. Nothing is printed of images that are the same.\n\nWith --json, one object \
    a line; a path that is no UTF-8 is in path_base64 exactly.\n\n{EXIT_HELP}"))]
pub(super) struct DiffArgs {
    #[command(flatten)]
    connection: Connection,
    /// The key that A is sealed with: a file of 16 to 512 bytes
    #[arg(long, value_name = "FILE")]
    key_file_a: Option<PathBuf>,
    /// The key that B is sealed with
    #[arg(long, value_name = "FILE")]
    key_file_b: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
    /// One image: its id, a tag or its digest
    #[arg(value_name = "A", value_parser = image())]
    from: String,
    /// The other one
    #[arg(value_name = "B", value_parser = image())]
    to: String,
}

/// One line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    change: &'static str,
    #[serde(flatten)]
    path: Path,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    aspects: &'a [String],
}

/// Prints it as it comes. A break ends it: what was printed cannot be taken back.
pub(super) async fn run(args: DiffArgs) -> anyhow::Result<u8> {
    let (from_key, to_key) = (key(args.key_file_a.as_deref())?, key(args.key_file_b.as_deref())?);
    let images = args.connection.connect().await?.images();
    let what = format!("compare {} with {}", args.from, args.to);
    let request = wire::DiffImagesRequest {
        task_id: images.task_id(),
        from: args.from,
        to: args.to,
        from_key,
        to_key,
    };
    let mut differences = images.diff_images(request).await.map_err(asking(&what))?;
    let paint = Paint::for_stdout();
    loop {
        let message = differences.message().await.map_err(ClientError::Refused);
        let Some(difference) = message.map_err(asking(&what))? else { return Ok(0) };
        match args.format.json {
            true => json::line(&Line {
                change: words(difference.change()).0,
                path: Path::from(&difference.path[..]),
                aspects: &difference.aspects,
            })?,
            false => show::put(&text(&difference, paint))?,
        }
    }
}

/// A change for programs, for people, and how it looks.
fn words(change: Change) -> (&'static str, &'static str, Tone) {
    match change {
        Change::Unspecified => ("unknown", "?", Tone::Plain),
        Change::Added => ("added", "A", Tone::Good),
        Change::Removed => ("removed", "D", Tone::Bad),
        Change::Changed => ("changed", "C", Tone::Doubtful),
    }
}

fn text(difference: &wire::DiffImagesResponse, paint: Paint) -> String {
    let (_, letter, tone) = words(difference.change());
    let aspects = match &difference.aspects[..] {
        [] => String::new(),
        aspects => format!("  ({})", printable(&aspects.join(", "))),
    };
    let path = human::path(&difference.path);
    format!("{} {path}{}\n", paint.paint(tone, letter), paint.paint(Tone::Faint, &aspects))
}
