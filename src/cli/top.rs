//! `doorward top`.

use clap::Args;

use super::connect::Connection;

/// The arguments of `doorward top`.
#[derive(Args, Debug)]
pub struct TopArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Runs it, and returns the exit code for this process.
pub async fn run(args: TopArgs) -> anyhow::Result<u8> {
    let _ = args.connection.connect().await?;
    anyhow::bail!("run top: not built yet")
}
