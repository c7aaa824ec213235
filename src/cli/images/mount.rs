//! `doorward mount`, `unmount` and `mounts`: images in use.

use std::time::SystemTime;

use clap::Args;

use super::{
    args::{ContainerPath, EXIT_HELP, KeyFile, Quiet, STOPPED_HELP, Width},
    document,
    follow::{failed, follow, noticed, shown},
};
use crate::{
    cli::{
        connect::Connection,
        failure::asking,
        show::{
            self, Format,
            colour::{Paint, Tone},
            human::{self, age, printable, since},
            json,
            table::{Align, Cell, Table},
        },
    },
    wire::doorward::v1 as wire,
};

/// The arguments of `doorward mount`.
#[derive(Args, Debug)]
#[command(
    allow_missing_positional = true,
    override_usage = "doorward mount [OPTIONS] IMAGE PATH\n       doorward mount [OPTIONS] --empty PATH",
    after_help = format!("The image's tree appears at the path, which is made if it is missing; what is there is hidden \
    until `doorward unmount`. Whatever is written there is nobody else's. The same image at the same path once more \
    succeeds.\n\n{EXIT_HELP} {STOPPED_HELP}")
)]
pub struct MountArgs {
    #[command(flatten)]
    connection: Connection,
    /// An empty directory in place of an image
    #[arg(long, conflicts_with = "image")]
    empty: bool,
    #[command(flatten)]
    key: KeyFile,
    #[command(flatten)]
    quiet: Quiet,
    #[command(flatten)]
    format: Format,
    /// Its id, a tag, its digest, or oci://registry/repository:tag where the agent allows that; "" is --empty
    #[arg(required_unless_present = "empty")]
    image: Option<String>,
    /// Where in the container, absolute
    #[arg(required = true, value_parser = ContainerPath::parser())]
    path: ContainerPath,
}

/// Mounts it.
pub async fn mount(args: MountArgs) -> anyhow::Result<u8> {
    let key = args.key.read()?;
    let images = args.connection.connect().await?.images();
    let image = args.image.clone().unwrap_or_default();
    let what = match &image[..] {
        "" => format!("mount an empty directory at {}", args.path.shown()),
        image => format!("mount {image} at {}", args.path.shown()),
    };
    let request =
        wire::MountRequest { task_id: images.task_id(), image, path: args.path.bytes(), key };
    let progress = args.quiet.progress();
    let work = follow(&images, &progress, || images.mount(request.clone()), noticed(&progress));
    let left = "the agent stops as well, unless the image is mounted already";
    let mounted = shown(&progress, work, left).await.map_err(failed(what))?;
    if args.format.json {
        json::document(&document::Mounted::from(&mounted))?;
    }
    Ok(0)
}

/// The arguments of `doorward unmount`.
#[derive(Args, Debug)]
#[command(after_help = format!("What was hidden is there again; what was written meanwhile and not kept by a snapshot is \
    gone.\n\n{EXIT_HELP}"))]
pub struct UnmountArgs {
    #[command(flatten)]
    connection: Connection,
    /// Where in the container something is mounted, absolute
    #[arg(required = true, value_parser = ContainerPath::parser())]
    path: ContainerPath,
}

/// Unmounts it.
pub async fn unmount(args: UnmountArgs) -> anyhow::Result<u8> {
    let images = args.connection.connect().await?.images();
    let request = wire::UnmountRequest { path: args.path.bytes(), ..Default::default() };
    let what = format!("unmount {}", args.path.shown());
    images.unmount(request).await.map_err(asking(what))?;
    Ok(0)
}

/// The arguments of `doorward mounts`.
#[derive(Args, Debug)]
#[command(
    after_help = "WAY is how it is done: overlay, bind, rename or entries. With --json, a path that is no \
    UTF-8 is shown as well as that goes, and is in path_base64 exactly.\n\nExit code: 0; 125 if the agent could not \
    be asked."
)]
pub struct MountsArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    width: Width,
    #[command(flatten)]
    format: Format,
}

/// Prints what is mounted, by path.
pub async fn mounts(args: MountsArgs) -> anyhow::Result<u8> {
    let images = args.connection.connect().await?.images();
    let answer = images.list_mounts(wire::ListMountsRequest::default()).await;
    let mounts = answer.map_err(asking("list mounts"))?.mounts;
    if args.format.json {
        json::document(&mounts.iter().map(document::Mounted::from).collect::<Vec<_>>())?;
    } else {
        let lines = table(&mounts, SystemTime::now()).lines(Paint::for_stdout(), args.width.room());
        show::put(&(lines.join("\n") + "\n"))?;
    }
    Ok(0)
}

fn table(mounts: &[wire::MountedImage], now: SystemTime) -> Table {
    let mut table = Table::new(&[
        ("IMAGE", Align::Left),
        ("WAY", Align::Left),
        ("AGE", Align::Right),
        ("PATH", Align::Left),
    ]);
    for mounted in mounts {
        let image = match &mounted.image_id[..] {
            "" => Cell::new(Tone::Faint, "empty"),
            id => Cell::new(Tone::Strong, printable(id)),
        };
        let passed = mounted.since.as_ref().and_then(|time| since(time, now));
        table.row([
            image,
            printable(&mounted.way).into(),
            passed.map(age).unwrap_or_default().into(),
            human::path(&mounted.path).into(),
        ]);
    }
    table
}
