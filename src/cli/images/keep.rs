//! `doorward images rm`, `tag` and `prune`: which images are kept, and under which names.

use clap::Args;
use serde::Serialize;

use super::args::{self, EXIT_HELP, image};
use crate::{
    cli::{
        connect::Connection,
        failure::{Tally, asking},
        show::{
            self, Format,
            human::{printable, size},
            json,
        },
    },
    client::Images,
    core::units,
    wire::doorward::v1 as wire,
};

/// The arguments of `doorward images rm`.
#[derive(Args, Debug)]
#[command(after_help = format!("A tag takes only that tag away. An image that is mounted stays. What was removed is \
    printed, a name a line.\n\n{EXIT_HELP}"))]
pub(super) struct RmArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    /// Which images: ids, tags or digests
    #[arg(required = true, value_name = "IMAGE", value_parser = image())]
    images: Vec<String>,
}

/// One line of `rm --json`.
#[derive(Serialize)]
struct Removed<'a> {
    image: &'a str,
    freed_bytes: u64,
}

/// Removes each of them, whatever becomes of the others.
pub(super) async fn remove(args: RmArgs) -> anyhow::Result<u8> {
    let images = args.connection.connect().await?.images();
    let mut tally = Tally::default();
    for image in &args.images {
        tally.take(remove_one(&images, image, args.format).await)?;
    }
    Ok(tally.code())
}

async fn remove_one(images: &Images, image: &str, format: Format) -> anyhow::Result<()> {
    let request = wire::RemoveImageRequest { image: image.into(), ..Default::default() };
    let answer = images.remove_image(request).await;
    let freed_bytes = answer.map_err(asking(format!("remove {image}")))?.freed_bytes;
    match format.json {
        true => json::line(&Removed { image, freed_bytes }),
        false => show::put(&format!("{}\n", printable(image))),
    }
}

/// The arguments of `doorward images tag`.
#[derive(Args, Debug)]
#[command(after_help = format!("If another image has the tag, it loses it.\n\n{EXIT_HELP}"))]
pub(super) struct TagArgs {
    #[command(flatten)]
    connection: Connection,
    /// Which image: its id, a tag or its digest
    #[arg(value_parser = image())]
    image: String,
    /// The tag: letters, digits and _ . -
    #[arg(value_parser = args::tag)]
    tag: String,
}

/// Tags it.
pub(super) async fn tag(args: TagArgs) -> anyhow::Result<u8> {
    let images = args.connection.connect().await?.images();
    let TagArgs { image, tag, .. } = args;
    let what = format!("tag {image} as {tag}");
    let request = wire::TagImageRequest { image, tag, ..Default::default() };
    images.tag_image(request).await.map_err(asking(what))?;
    Ok(0)
}

/// The arguments of `doorward images prune`.
#[derive(Args, Debug)]
#[command(
    after_help = "Removes what has expired, and with --keep then what was used longest ago. What is mounted or tagged \
    stays. The ids of what was removed are printed, one a line.\n\nExit code: 0; 125 if the agent could not be asked."
)]
pub(super) struct PruneArgs {
    #[command(flatten)]
    connection: Connection,
    /// Remove so much that what is left takes no more than this, in bytes or as 500MiB or 20GiB
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    keep: Option<u64>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: Format,
}

/// What `prune --json` prints.
#[derive(Serialize)]
struct Pruned<'a> {
    dry_run: bool,
    removed: &'a [String],
    freed_bytes: u64,
}

/// Removes what is too much.
pub(super) async fn prune(args: PruneArgs) -> anyhow::Result<u8> {
    let images = args.connection.connect().await?.images();
    let request = wire::PruneImagesRequest {
        keep_bytes: args.keep,
        dry_run: args.dry_run,
        ..Default::default()
    };
    let answer = images.prune_images(request).await.map_err(asking("prune images"))?;
    let removed = &answer.removed_image_ids;
    if args.format.json {
        let freed_bytes = answer.freed_bytes;
        json::document(&Pruned { dry_run: args.dry_run, removed, freed_bytes })?;
    } else {
        let lines = removed.iter().map(|id| printable(id) + "\n");
        show::put(&lines.collect::<String>())?;
        let freed = if args.dry_run { "would free" } else { "freed" };
        eprintln!("doorward: {freed} {}", size(answer.freed_bytes));
    }
    Ok(0)
}
