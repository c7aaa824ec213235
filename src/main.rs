//! Joins the command line and the agent: `serve` is the agent; `exec` and `shell` without an address,
//! and `doctor` without an agent, get one embedded.

mod embedded;

use std::{env, process::ExitCode};

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use doorward::{
    agent::{
        self, Agent,
        config::{Config, EXIT_CONFIG, ServeArgs},
        log,
    },
    archive,
    cli::{
        self,
        doctor::{self, DoctorArgs},
        exec::{self, ExecArgs},
        failure::{EXIT_OWN, told},
        shell::{self, ShellArgs},
    },
    files,
};

/// The agent inside a sandbox container: runs commands there, keeps their output by offset, and
/// never loses a byte of it silently.
#[derive(Parser)]
#[command(name = "doorward", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve as the agent of this container.
    Serve(Box<ServeArgs>),
    /// Run one command through an agent; without an address, through one that comes with it.
    Exec(Box<ExecArgs>),
    /// An interactive shell in a terminal, which survives a broken link.
    Shell(Box<ShellArgs>),
    /// Come back to an exec's terminal or streams.
    Attach(Box<cli::attach::AttachArgs>),
    /// List execs.
    Ps(Box<cli::ps::PsArgs>),
    /// All about one exec.
    Inspect(Box<cli::inspect::InspectArgs>),
    /// Forget an ended exec and free its output.
    Rm(Box<cli::rm::RmArgs>),
    /// Print an exec's output.
    Logs(Box<cli::logs::LogsArgs>),
    /// Wait for execs to end.
    Wait(Box<cli::wait::WaitArgs>),
    /// Send a signal to an exec, or end it.
    Kill(Box<cli::kill::KillArgs>),
    /// Copy files and directories in and out.
    Cp(Box<cli::cp::CpArgs>),
    /// The other side of cp, which it runs in the container.
    #[command(hide = true)]
    Archive(Box<archive::tool::ToolArgs>),
    /// Make an image of a directory in the container, or of its file system.
    Snapshot(Box<cli::images::snapshot::SnapshotArgs>),
    /// Show an image's tree at a path in the container.
    Mount(Box<cli::images::mount::MountArgs>),
    /// Show again what a mount has hidden.
    Unmount(Box<cli::images::mount::UnmountArgs>),
    /// List what is mounted.
    Mounts(Box<cli::images::mount::MountsArgs>),
    /// List, name, move, check and remove images.
    Images(cli::images::ImagesArgs),
    /// Watch execs: state, processor, memory, output.
    Top(Box<cli::top::TopArgs>),
    /// Say what the kernel offers, what was chosen, and what does not work.
    Doctor(Box<DoctorArgs>),
    /// Print a script that completes these commands in a shell.
    Completions(cli::completions::CompletionsArgs),
    /// Print the version of this program, and that of the agent if one answers.
    Version(Box<cli::version::VersionArgs>),
}

fn main() -> ExitCode {
    agent::first_act();
    let mut words = env::args_os();
    if words.next().is_some_and(|name| files::is_meant(&name)) {
        return ExitCode::from(files::run(words));
    }
    match Cli::try_parse() {
        Ok(Cli { command: Command::Serve(args) }) => serve(*args),
        Ok(Cli { command: Command::Exec(args) }) => exec(*args),
        Ok(Cli { command: Command::Shell(args) }) => shell(*args),
        Ok(Cli { command: Command::Attach(args) }) => remote(cli::attach::run(*args)),
        Ok(Cli { command: Command::Ps(args) }) => remote(cli::ps::run(*args)),
        Ok(Cli { command: Command::Inspect(args) }) => remote(cli::inspect::run(*args)),
        Ok(Cli { command: Command::Rm(args) }) => remote(cli::rm::run(*args)),
        Ok(Cli { command: Command::Logs(args) }) => remote(cli::logs::run(*args)),
        Ok(Cli { command: Command::Wait(args) }) => remote(cli::wait::run(*args)),
        Ok(Cli { command: Command::Kill(args) }) => remote(cli::kill::run(*args)),
        Ok(Cli { command: Command::Cp(args) }) => remote(cli::cp::run(*args)),
        Ok(Cli { command: Command::Archive(args) }) => ExitCode::from(archive::tool::run(*args)),
        Ok(Cli { command: Command::Snapshot(args) }) => remote(cli::images::snapshot::run(*args)),
        Ok(Cli { command: Command::Mount(args) }) => remote(cli::images::mount::mount(*args)),
        Ok(Cli { command: Command::Unmount(args) }) => remote(cli::images::mount::unmount(*args)),
        Ok(Cli { command: Command::Mounts(args) }) => remote(cli::images::mount::mounts(*args)),
        Ok(Cli { command: Command::Images(args) }) => remote(cli::images::run(args)),
        Ok(Cli { command: Command::Top(args) }) => remote(cli::top::run(*args)),
        Ok(Cli { command: Command::Doctor(args) }) => doctor(*args),
        Ok(Cli { command: Command::Completions(args) }) => {
            remote(async { cli::completions::run(args, Cli::command()) })
        }
        Ok(Cli { command: Command::Version(args) }) => remote(cli::version::run(*args)),
        Err(error) => misused(&error),
    }
}

/// Help and version are what was asked for; any other failure to read the command line has the
/// exit code that the subcommand has for its own failures: the usual 2 could be a command's own.
fn misused(error: &clap::Error) -> ExitCode {
    // Who closed our output does not want to read it.
    let _ = error.print();
    let subcommand = env::args_os().nth(1);
    match subcommand.as_ref().and_then(|name| name.to_str()) {
        _ if !error.use_stderr() => ExitCode::SUCCESS,
        Some("serve") => ExitCode::from(EXIT_CONFIG),
        Some(_) | None => ExitCode::from(EXIT_OWN),
    }
}

fn serve(args: ServeArgs) -> ExitCode {
    let config = match Config::from_args(args) {
        Ok(config) => config,
        Err(mistakes) => {
            for mistake in mistakes {
                eprintln!("doorward: {mistake}");
            }
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let lines = log::start(&config.log);
    let runtime = match agent::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("doorward: failed to start a runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        let agent = match Agent::set_up(config).await {
            Ok(agent) => agent,
            Err(error) => {
                lines.say(&format!("doorward: failed to {error}"));
                return EXIT_CONFIG;
            }
        };
        lines.say(&format!("doorward: listening on {}", agent.addresses().join(", ")));
        agent::started();
        agent.serve(std::future::pending()).await
    });
    // Work that blocks in a dead mount is left behind.
    runtime.shutdown_background();
    ExitCode::from(code)
}

fn exec(args: ExecArgs) -> ExitCode {
    remote(async {
        Ok(match args.remote() {
            Some(place) => exec::run(args, place).await,
            None => embedded::with_agent(|place| exec::run(args, place)).await,
        })
    })
}

fn shell(args: ShellArgs) -> ExitCode {
    remote(async {
        Ok(match args.remote() {
            Some(place) => shell::run(args, place).await,
            None => embedded::with_agent(|place| shell::run(args, place)).await,
        })
    })
}

/// Asks the agent that is there; else brings one up, which finds out what one would find here.
fn doctor(args: DoctorArgs) -> ExitCode {
    remote(async {
        Ok(match args.place().await? {
            Some(place) => doctor::run(&args, place).await,
            None => embedded::with_agent(|place| doctor::run(&args, place)).await,
        })
    })
}

/// Runs a command of ours that talks to an agent. What goes wrong is told on standard error.
fn remote(command: impl Future<Output = anyhow::Result<u8>>) -> ExitCode {
    let code = agent::runtime().context("start a runtime").and_then(|runtime| {
        let code = runtime.block_on(command);
        runtime.shutdown_background();
        code
    });
    ExitCode::from(code.unwrap_or_else(|error| told(&error)))
}
