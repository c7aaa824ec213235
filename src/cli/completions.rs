//! `doorward completions`: a script for the user's shell.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::show;

/// The arguments of `doorward completions`.
#[derive(Args, Debug)]
#[command(
    after_help = "For one session of bash: source <(doorward completions bash)\n\nExit code: 0; 125 if \
    it could not be printed."
)]
pub struct CompletionsArgs {
    /// Whose script it is to be
    shell: Shell,
}

/// Prints the script that completes `command`.
pub fn run(args: CompletionsArgs, mut command: Command) -> anyhow::Result<u8> {
    let name = command.get_name().to_string();
    let mut script = Vec::new();
    generate(args.shell, &mut command, name, &mut script);
    show::put(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
