//! `doorward inspect`.

use clap::Args;

use super::connect::Connection;

/// The arguments of `doorward inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Runs it, and returns the exit code for this process.
pub async fn run(args: InspectArgs) -> anyhow::Result<u8> {
    let _ = args.connection.connect().await?;
    anyhow::bail!("run inspect: not built yet")
}
