//! `doorward doctor`.

use clap::Args;

use super::connect::Connection;

/// The arguments of `doorward doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Runs it, and returns the exit code for this process.
pub async fn run(args: DoctorArgs) -> anyhow::Result<u8> {
    let _ = args.connection.connect().await?;
    anyhow::bail!("run doctor: not built yet")
}
