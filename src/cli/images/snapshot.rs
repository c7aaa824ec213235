//! `doorward snapshot`: a directory, or all that the container has, becomes an image.

use clap::{Args, ValueEnum, builder::NonEmptyStringValueParser};

use super::{
    args::{ContainerPath, EXIT_HELP, KeyFile, Quiet, STOPPED_HELP, tag, ttl},
    document,
    follow::{failed, follow, noticed, shown},
};
use crate::{
    cli::{
        connect::Connection,
        show::{self, Format, human::printable, json},
    },
    client::random_id,
    wire::doorward::v1::{
        self as wire,
        snapshot_request::{What, WholeFilesystem},
    },
};

/// The arguments of `doorward snapshot`.
#[derive(Args, Debug)]
#[command(
    override_usage = "doorward snapshot [OPTIONS] PATH\n       doorward snapshot [OPTIONS] --filesystem",
    after_help = format!("Prints the image's id and nothing else on standard output. The agent goes on if this \
    command is stopped or its link breaks; with the same --id the command waits for that snapshot, or gets the image \
    that came of it.\n\n{EXIT_HELP} {STOPPED_HELP}")
)]
pub struct SnapshotArgs {
    #[command(flatten)]
    connection: Connection,
    /// All that the container has, without pseudo file systems, foreign mounts and the agent's own state
    #[arg(long, conflicts_with = "path")]
    filesystem: bool,
    /// Keep it so long and no longer, in seconds or as 12h or 30d; never: until it is removed [default: until it
    /// was not used for 30 days]
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<i64>,
    /// Give it this tag, which another image may have had
    #[arg(long, value_parser = tag)]
    tag: Option<String>,
    /// How its layer is compressed [default: as the agent was told]
    #[arg(long, value_enum, value_name = "HOW", hide_default_value = true)]
    compression: Option<Compression>,
    #[command(flatten)]
    key: KeyFile,
    /// A name for this snapshot: a repeat with the same one makes no other image [default: one made up]
    #[arg(long, value_name = "SNAPSHOT_ID", value_parser = NonEmptyStringValueParser::new())]
    id: Option<String>,
    #[command(flatten)]
    quiet: Quiet,
    #[command(flatten)]
    format: Format,
    /// Which directory of the container, absolute
    #[arg(required_unless_present = "filesystem", value_parser = ContainerPath::parser())]
    path: Option<ContainerPath>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compression {
    /// Small and fast
    Zstd,
    /// For tools that know nothing else
    Gzip,
    /// Not at all
    None,
}

/// Makes it, and prints its id.
pub async fn run(args: SnapshotArgs) -> anyhow::Result<u8> {
    let key = args.key.read()?;
    let images = args.connection.connect().await?.images();
    let (what, name) = match &args.path {
        Some(path) => (What::Path(path.bytes()), path.shown()),
        None => (What::Filesystem(WholeFilesystem {}), "the file system".to_string()),
    };
    let compression = args.compression.map(|compression| match compression {
        Compression::Zstd => wire::Compression::Zstd,
        Compression::Gzip => wire::Compression::Gzip,
        Compression::None => wire::Compression::None,
    });
    // Each has an id, so that a break of the link makes no second image.
    let id = args.id.clone().unwrap_or_else(random_id);
    let request = wire::SnapshotRequest {
        task_id: images.task_id(),
        what: Some(what),
        snapshot_id: id.clone(),
        ttl_seconds: args.ttl,
        key,
        compression: compression.unwrap_or_default().into(),
        tag: args.tag.clone().unwrap_or_default(),
    };
    let progress = args.quiet.progress();
    let work = follow(&images, &progress, || images.snapshot(request.clone()), noticed(&progress));
    let left = format!("the snapshot goes on; the same command with --id {id} waits for it");
    let image = shown(&progress, work, &left).await.map_err(failed(format!("snapshot {name}")))?;
    match args.format.json {
        true => json::document(&document::Image::from(&image))?,
        false => show::put(&format!("{}\n", printable(&image.image_id)))?,
    }
    Ok(0)
}
