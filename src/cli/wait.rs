//! `doorward wait`.

use clap::Args;

use super::connect::Connection;

/// The arguments of `doorward wait`.
#[derive(Args, Debug)]
pub struct WaitArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Runs it, and returns the exit code for this process.
pub async fn run(args: WaitArgs) -> anyhow::Result<u8> {
    let _ = args.connection.connect().await?;
    anyhow::bail!("run wait: not built yet")
}
