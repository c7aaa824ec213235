//! `doorward shell`.

use clap::Args;

use super::connect::Connection;

/// The arguments of `doorward shell`.
#[derive(Args, Debug)]
pub struct ShellArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Runs it, and returns the exit code for this process.
pub async fn run(args: ShellArgs) -> anyhow::Result<u8> {
    let _ = args.connection.connect().await?;
    anyhow::bail!("run shell: not built yet")
}
