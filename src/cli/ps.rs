//! `doorward ps`.

use clap::Args;

use super::connect::Connection;

/// The arguments of `doorward ps`.
#[derive(Args, Debug)]
pub struct PsArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Runs it, and returns the exit code for this process.
pub async fn run(args: PsArgs) -> anyhow::Result<u8> {
    let _ = args.connection.connect().await?;
    anyhow::bail!("run ps: not built yet")
}
