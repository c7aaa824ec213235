//! `doorward images push` and `pull`: between the agent's store and a registry.

use clap::Args;

use super::{
    args::{EXIT_HELP, Quiet, STOPPED_HELP, image, remote, tag, ttl},
    document,
    follow::{failed, follow, shown},
};
use crate::{
    cli::{
        connect::Connection,
        show::{self, Format, human::printable, json},
    },
    wire::doorward::v1 as wire,
};

/// What is said to who stops either.
const LEFT: &str = "the agent stops as well; the same command goes on with what is still missing";

/// The arguments of `doorward images push`.
#[derive(Args, Debug)]
#[command(after_help = format!("The agent pushes, with its own credentials, if it was started with --allow-remote-images or \
    the repository is its --image-store. The image's digest is printed.\n\n{EXIT_HELP} \
    {STOPPED_HELP}"))]
pub(super) struct PushArgs {
    #[command(flatten)]
    connection: Connection,
    /// Speak HTTP without TLS; the agent does so only with its own machine and with the registry of an --image-store that
    /// is written oci+http://
    #[arg(long)]
    plain_http: bool,
    #[command(flatten)]
    quiet: Quiet,
    #[command(flatten)]
    format: Format,
    /// Which image: its id, a tag or its digest
    #[arg(value_parser = image())]
    image: String,
    /// Where to: oci://registry/repository:tag; without a tag it is latest
    #[arg(value_parser = remote)]
    to: String,
}

/// Pushes it.
pub(super) async fn push(args: PushArgs) -> anyhow::Result<u8> {
    let images = args.connection.connect().await?.images();
    let what = format!("push {} to {}", args.image, args.to);
    let request = wire::PushImageRequest {
        task_id: images.task_id(),
        image: args.image,
        to: args.to,
        plain_http: args.plain_http,
    };
    let progress = args.quiet.progress();
    let work = follow(
        &images,
        &progress,
        || images.push_image(request.clone()),
        |nothing| match nothing {},
    );
    let image = shown(&progress, work, LEFT).await.map_err(failed(what))?;
    match args.format.json {
        true => json::document(&document::Image::from(&image))?,
        false => show::put(&format!("{}\n", printable(&image.digest)))?,
    }
    Ok(0)
}

/// The arguments of `doorward images pull`.
#[derive(Args, Debug)]
#[command(after_help = format!("The agent pulls, with its own credentials, if it was started with --allow-remote-images or \
    the repository is its --image-store. The image's id is printed.\n\n{EXIT_HELP} {STOPPED_HELP}"))]
pub(super) struct PullArgs {
    #[command(flatten)]
    connection: Connection,
    /// Speak HTTP without TLS; the agent does so only with its own machine and with the registry of an --image-store that
    /// is written oci+http://
    #[arg(long)]
    plain_http: bool,
    /// Keep it so long and no longer, in seconds or as 12h or 30d; never: until it is removed [default: until it
    /// was not used for 30 days]
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<i64>,
    /// Give it this tag, which another image may have had
    #[arg(long, value_parser = tag)]
    tag: Option<String>,
    #[command(flatten)]
    quiet: Quiet,
    #[command(flatten)]
    format: Format,
    /// What: oci://registry/repository, with :tag or @digest
    #[arg(value_parser = remote)]
    from: String,
}

/// Pulls it.
pub(super) async fn pull(args: PullArgs) -> anyhow::Result<u8> {
    let images = args.connection.connect().await?.images();
    let what = format!("pull {}", args.from);
    let request = wire::PullImageRequest {
        task_id: images.task_id(),
        from: args.from,
        plain_http: args.plain_http,
        ttl_seconds: args.ttl,
        tag: args.tag.unwrap_or_default(),
    };
    let progress = args.quiet.progress();
    let work = follow(
        &images,
        &progress,
        || images.pull_image(request.clone()),
        |nothing| match nothing {},
    );
    let image = shown(&progress, work, LEFT).await.map_err(failed(what))?;
    match args.format.json {
        true => json::document(&document::Image::from(&image))?,
        false => show::put(&format!("{}\n", printable(&image.image_id)))?,
    }
    Ok(0)
}
