//! The commands about images: those that make and use one, and `doorward images`, which keeps them.

mod args;
mod diff;
mod document;
mod export;
mod follow;
mod import;
mod inspect;
mod keep;
mod ls;
pub mod mount;
mod registry;
pub mod snapshot;
mod verify;

use clap::{Args, Subcommand};

/// The arguments of `doorward images`.
#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
#[command(after_help = args::EXIT_HELP)]
pub struct ImagesArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// List the images on the agent's disk, the newest first
    Ls(Box<ls::LsArgs>),
    /// All about images, with their layers
    Inspect(Box<inspect::InspectArgs>),
    /// Remove images, also from a shared store, or tags, and free what nothing else needs
    Rm(Box<keep::RmArgs>),
    /// Give an image a tag
    Tag(Box<keep::TagArgs>),
    /// Copy an image into a registry
    Push(Box<registry::PushArgs>),
    /// Copy an image from a registry into the agent's store
    Pull(Box<registry::PullArgs>),
    /// Write an image as one archive
    Export(Box<export::ExportArgs>),
    /// Read the images of an archive into the agent's store
    Import(Box<import::ImportArgs>),
    /// Say what differs between two images
    Diff(Box<diff::DiffArgs>),
    /// Remove what has expired, and what is too much
    Prune(Box<keep::PruneArgs>),
    /// Read everything that is kept and compare it with its digests
    Verify(Box<verify::VerifyArgs>),
}

/// Runs one of them.
pub async fn run(args: ImagesArgs) -> anyhow::Result<u8> {
    match args.command {
        Command::Ls(args) => ls::run(*args).await,
        Command::Inspect(args) => inspect::run(*args).await,
        Command::Rm(args) => keep::remove(*args).await,
        Command::Tag(args) => keep::tag(*args).await,
        Command::Push(args) => registry::push(*args).await,
        Command::Pull(args) => registry::pull(*args).await,
        Command::Export(args) => export::run(*args).await,
        Command::Import(args) => import::run(*args).await,
        Command::Diff(args) => diff::run(*args).await,
        Command::Prune(args) => keep::prune(*args).await,
        Command::Verify(args) => verify::run(*args).await,
    }
}
