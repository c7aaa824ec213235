//! `doorward images ls`: which images there are.

use std::time::SystemTime;

use clap::Args;
use prost_types::Timestamp;
use serde::Serialize;

use super::{args::Width, document};
use crate::{
    cli::{
        connect::Connection,
        failure::asking,
        show::{
            self, Format,
            colour::{Paint, Tone},
            human::{age, printable, since, size},
            json,
            table::{Align, Cell, Table},
        },
    },
    wire::doorward::v1 as wire,
};

/// The arguments of `doorward images ls`.
#[derive(Args, Debug)]
#[command(
    after_help = "SIZE is what all its blobs take, also those that it shares; AGE is the time since it was made, USED \
    since it was used last, EXPIRES when it will be removed if it is not used until then. MOUNTS says how often it is \
    mounted. An image that needs a key is SEALED. --json has also what all images take together.\n\nExit code: 0; 125 \
    if the agent could not be asked."
)]
pub(super) struct LsArgs {
    #[command(flatten)]
    connection: Connection,
    /// Show ids only
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    #[command(flatten)]
    width: Width,
    #[command(flatten)]
    format: Format,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Listed<'a> {
    images: Vec<document::Image<'a>>,
    size_bytes: u64,
}

/// Prints them.
pub(super) async fn run(args: LsArgs) -> anyhow::Result<u8> {
    let images = args.connection.connect().await?.images();
    let answer = images.list_images(wire::ListImagesRequest::default()).await;
    let answer = answer.map_err(asking("list images"))?;
    if args.format.json {
        let images = answer.images.iter().map(document::Image::from).collect();
        json::document(&Listed { images, size_bytes: answer.size_bytes })?;
    } else if args.quiet {
        let lines = answer.images.iter().map(|image| printable(&image.image_id) + "\n");
        show::put(&lines.collect::<String>())?;
    } else {
        let table = table(&answer.images, SystemTime::now());
        let lines = table.lines(Paint::for_stdout(), args.width.room());
        show::put(&(lines.join("\n") + "\n"))?;
    }
    Ok(0)
}

fn table(images: &[wire::Image], now: SystemTime) -> Table {
    let mut table = Table::new(&[
        ("IMAGE", Align::Left),
        ("SIZE", Align::Right),
        ("AGE", Align::Right),
        ("USED", Align::Right),
        ("EXPIRES", Align::Right),
        ("MOUNTS", Align::Right),
        ("SEALED", Align::Left),
        ("TAGS", Align::Left),
    ]);
    for image in images {
        let passed = |time: &Option<Timestamp>| {
            let passed = time.as_ref().and_then(|time| since(time, now));
            passed.map(age).unwrap_or_default()
        };
        let mounts = match image.mounted_at.len() {
            0 => Cell::from(""),
            number => Cell::new(Tone::Good, number.to_string()),
        };
        table.row([
            Cell::new(Tone::Strong, printable(&image.image_id)),
            size(image.size_bytes).into(),
            passed(&image.created).into(),
            passed(&image.last_used).into(),
            expires(&image.expires, now),
            mounts,
            if image.sealed { "yes".into() } else { "".into() },
            printable(&image.tags.join(" ")).into(),
        ]);
    }
    table
}

/// When an image will be removed: `in 30 d`.
fn expires(time: &Option<Timestamp>, now: SystemTime) -> Cell {
    let Some(time) = time else { return "never".into() };
    match SystemTime::try_from(*time).map(|time| time.duration_since(now)) {
        Ok(Ok(left)) => format!("in {}", age(left)).into(),
        Ok(Err(_)) => Cell::new(Tone::Doubtful, "over"),
        Err(_) => "".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::show::table::Room;

    #[test]
    fn what_is_kept_and_how_long() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100_000);
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let base = wire::Image {
            image_id: "im-a".into(),
            tags: vec!["base".into(), "v1\x1b".into()],
            created: at(10_000),
            last_used: at(99_990),
            size_bytes: 3 << 20,
            mounted_at: vec!["/a".into(), "/b".into()],
            ..Default::default()
        };
        let sealed = wire::Image {
            image_id: "im-b".into(),
            expires: at(100_000 + 86_400),
            sealed: true,
            ..Default::default()
        };
        let over = wire::Image { image_id: "im-c".into(), expires: at(1), ..Default::default() };
        let lines = table(&[base, sealed, over], now).lines(Paint::Plain, Room::Unbounded);
        assert_eq!(
            lines,
            [
                "IMAGE     SIZE  AGE  USED  EXPIRES  MOUNTS  SEALED  TAGS",
                "im-a   3.0 MiB  1 d  10 s    never       2          base v1\\u{1b}",
                "im-b       0 B              in 1 d          yes",
                "im-c       0 B                over",
            ]
        );
    }
}
