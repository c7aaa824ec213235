//! Trials of an agent that is ours alone: can it run a command, and give it a terminal?

use std::env;

use crate::{
    client::{Client, ClientError, Command, Terminal, random_id},
    core::{ids::Stream, outcome::ExitStatus},
    wire::doorward::v1::KernelFeature,
};

/// Each trial as a feature that is there or not; nothing replaces one that is not.
pub(super) async fn all(client: &Client) -> Vec<KernelFeature> {
    // A container may hold no other program than this one.
    let own = env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
    let plain = Command::new([own.to_string_lossy(), "--version".into()]);
    let terminal = Some(Terminal { rows: 24, columns: 80, ..Terminal::default() });
    let on_terminal = Command { terminal, ..plain.clone() };
    vec![
        feature("commands", "commands can be run", run(client, &plain).await),
        feature("terminals", "commands can have a terminal", run(client, &on_terminal).await),
    ]
}

fn feature(name: &str, chosen: &str, tried: Result<(), String>) -> KernelFeature {
    let (chosen, reason) = match &tried {
        Ok(()) => (chosen.to_string(), String::new()),
        Err(reason) => (String::new(), reason.clone()),
    };
    KernelFeature { name: name.to_string(), available: tried.is_ok(), chosen, reason }
}

/// Runs a command that prints something and succeeds.
async fn run(client: &Client, command: &Command) -> Result<(), String> {
    let id = random_id();
    let said = |error: ClientError| format!("failed to {error}");
    client.start(&id, command).await.map_err(said)?;
    let mut output = client.output(&id, Stream::Stdout, 0);
    while output.next().await.map_err(said)?.is_some() {}
    match client.wait(&id).await.map_err(said)? {
        ExitStatus::Code(0) if output.offset() > 0 => Ok(()),
        ExitStatus::Code(0) => Err("its output did not arrive".to_string()),
        status => Err(format!("it ended with {status}")),
    }
}
