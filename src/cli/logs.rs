//! `doorward logs`.

use clap::Args;

use super::connect::Connection;

/// The arguments of `doorward logs`.
#[derive(Args, Debug)]
pub struct LogsArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Runs it, and returns the exit code for this process.
pub async fn run(args: LogsArgs) -> anyhow::Result<u8> {
    let _ = args.connection.connect().await?;
    anyhow::bail!("run logs: not built yet")
}
