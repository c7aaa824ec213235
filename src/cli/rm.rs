//! `doorward rm`.

use clap::Args;

use super::connect::Connection;

/// The arguments of `doorward rm`.
#[derive(Args, Debug)]
pub struct RmArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Runs it, and returns the exit code for this process.
pub async fn run(args: RmArgs) -> anyhow::Result<u8> {
    let _ = args.connection.connect().await?;
    anyhow::bail!("run rm: not built yet")
}
