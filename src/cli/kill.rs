//! `doorward kill`.

use clap::Args;

use super::connect::Connection;

/// The arguments of `doorward kill`.
#[derive(Args, Debug)]
pub struct KillArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Runs it, and returns the exit code for this process.
pub async fn run(args: KillArgs) -> anyhow::Result<u8> {
    let _ = args.connection.connect().await?;
    anyhow::bail!("run kill: not built yet")
}
