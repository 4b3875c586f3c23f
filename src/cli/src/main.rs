//! `leasefence`: the command line. It asks this host's agent over its socket, or reads a lease file itself; it
//! decides nothing about leases.

mod args;
mod config;
mod dump;
mod generate;
mod init;
mod lease;
mod medium;
mod observe;
mod outcome;
mod slots;
mod status;
mod storages;
mod text;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use leasefence_api::{Answer, ApiError, Client};
use leasefence_config::Config;
use leasefence_say::say;

use args::{Cli, Command, ConfigCommand, HaCommand, SlotCommand};
use outcome::{CliError, Exit, Outcome};

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("leasefence: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Outcome {
    match &cli.command {
        Command::Status(args) => match &args.lease.lease {
            Some(path) => observe::status(path, args),
            None => ask(cli, async |client| status::run(&client, args).await),
        },
        Command::Verdict(args) => match &args.lease.lease {
            Some(path) => observe::verdict(path, args),
            None => ask(cli, async |client| verdict::run(&client, args).await),
        },
        Command::Fence(args) => ask(cli, async |client| verdict::fence(&client, args).await),
        Command::Confirm { host, reason } => {
            ask(cli, async |client| tell(client.confirm(host, &signed(reason)).await))
        }
        Command::Disarm(args) if args.cluster => ask(cli, async |client| tell(client.disarm_cluster().await)),
        Command::Disarm(_) => ask(cli, async |client| tell(client.disarm().await)),
        Command::Arm(args) if args.cluster => ask(cli, async |client| tell(client.arm_cluster().await)),
        Command::Arm(_) => ask(cli, async |client| tell(client.arm().await)),
        Command::Release => ask(cli, async |client| tell(client.release().await)),
        Command::Slot(SlotCommand::List { json, lease }) => {
            slots::list(&lease_path(cli, lease.as_deref())?, *json)
        }
        Command::Slot(SlotCommand::Free { slot, machine_is_off }) => {
            ask(cli, async |client| tell(client.slot_free(*slot, machine_is_off).await))
        }
        Command::Lease(command) => ask(cli, async |client| lease::run(&client, command).await),
        Command::Ha(command) => ask(cli, async |client| tell(ha(&client, command).await)),
        Command::Config(ConfigCommand::Check { json }) => {
            config::check(&cli.config, cli.run_dir.as_deref(), *json)
        }
        Command::Init(args) => init::run(args),
        Command::Dump(args) => dump::run(args),
        Command::Drill(command) => {
            Ok(Exit::Code(leasefence_drill::run(command, &cli.config, cli.run_dir.as_deref())))
        }
        Command::Completions { shell } => generate::completions(*shell),
        Command::ManPages { directory } => generate::man_pages(directory),
    }
}

/// Asks this host's agent, which is where its configuration says, or where the command line does.
fn ask(cli: &Cli, question: impl AsyncFnOnce(Client) -> Outcome) -> Outcome {
    let client = match &cli.run_dir {
        Some(dir) => Client::new(dir),
        None => Client::new(&Config::load(&cli.config).map_err(CliError::from_display)?.run_dir),
    };
    block_on(question(client))?
}

/// Waits for an answer.
fn block_on<F: Future>(question: F) -> Result<F::Output, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| CliError::Other(format!("starting up: {error}")))?.block_on(question))
}

/// The lease file that was named, or the configured one.
fn lease_path(cli: &Cli, named: Option<&Path>) -> Result<PathBuf, CliError> {
    match named {
        Some(path) => Ok(path.to_path_buf()),
        None => Ok(Config::load(&cli.config).map_err(CliError::from_display)?.lease),
    }
}

async fn ha(client: &Client, command: &HaCommand) -> Result<Answer, ApiError> {
    match command {
        HaCommand::Enable { domain, priority } => client.ha(domain, true, *priority).await,
        HaCommand::Disable { domain } => client.ha(domain, false, None).await,
        HaCommand::Resume { domain } => client.ha_resume(domain).await,
    }
}

/// Prints what became of a request.
fn tell(answer: Result<Answer, ApiError>) -> Outcome {
    let answer = answer?;
    say!("{}", answer.text);
    Ok(if answer.ok { Exit::Done } else { Exit::Failed })
}

/// An operator's word carries a name: that of the person behind sudo, where there is one.
fn signed(reason: &str) -> String {
    let name = ["SUDO_USER", "USER"].iter().find_map(|key| std::env::var(key).ok());
    format!("{}: {reason}", name.as_deref().unwrap_or("uid 0"))
}
