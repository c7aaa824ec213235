//! `doorward attach`.

use clap::Args;

use super::connect::Connection;

/// The arguments of `doorward attach`.
#[derive(Args, Debug)]
pub struct AttachArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Runs it, and returns the exit code for this process.
pub async fn run(args: AttachArgs) -> anyhow::Result<u8> {
    let _ = args.connection.connect().await?;
    anyhow::bail!("run attach: not built yet")
}
