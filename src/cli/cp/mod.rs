//! `doorward cp`.

use clap::Args;

use super::connect::Connection;

/// The arguments of `doorward cp`.
#[derive(Args, Debug)]
pub struct CpArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Runs it, and returns the exit code for this process.
pub async fn run(args: CpArgs) -> anyhow::Result<u8> {
    let _ = args.connection.connect().await?;
    anyhow::bail!("run cp: not built yet")
}
