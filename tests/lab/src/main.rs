//! `leasefence-lab`: see `--help`.

mod args;

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use leasefence_demo::wait;
use leasefence_lab::cluster::Cluster;
use leasefence_lab::inside;
use leasefence_lab::lab::Lab;
use leasefence_lab::machine::{MACHINES, Machine};
use leasefence_lab::run::RunDir;
use leasefence_lab::switch::{self, Effect, Request};

use args::{Cli, Command, CutArgs, UpArgs};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("leasefence-lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Outcome<ExitCode> {
    match &cli.command {
        Command::Switch { run } => switch::run(&RunDir::at(run))?,
        Command::Inside(what) => inside::run(what)?,
        command => return with_lab(command, &lab(cli)?),
    }
    Ok(ExitCode::SUCCESS)
}

fn lab(cli: &Cli) -> Outcome<Lab> {
    let directory = cli.dir.clone().or_else(default_directory).ok_or("no directory: name one with --dir")?;
    Ok(Lab::at(&directory, cli.suite))
}

/// Beside the build's profiles: `target/lab`.
fn default_directory() -> Option<PathBuf> {
    Some(env::current_exe().ok()?.parent()?.parent()?.join("lab"))
}

fn with_lab(command: &Command, lab: &Lab) -> Outcome<ExitCode> {
    match command {
        Command::Up(args) => up(args, lab)?,
        Command::Down => lab.down()?,
        Command::Status => status(lab)?,
        Command::Shell { machine } => return interactive(lab, machine, &[]),
        Command::Exec { machine, words } => return interactive(lab, machine, words),
        Command::Cut(args) => cut(args, lab)?,
        Command::Heal { machine } => lab.heal(*machine, None)?,
        Command::Poweroff { machine } => lab.power_off(machine)?,
        Command::Poweron { machine } => lab.power_on(Machine::named(machine).ok_or("no such machine")?)?,
        Command::Reset { machine } => lab.reset(machine)?,
        Command::Freeze { machine } => lab.freeze(machine)?,
        Command::Thaw { machine } => lab.thaw(machine)?,
        Command::Switch { .. } | Command::Inside(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn up(args: &UpArgs, lab: &Lab) -> Outcome {
    wait::catch_interrupts()?;
    let start = Instant::now();
    lab.up(args.deb.as_deref())?;
    let tell = |what: &str| println!("  [{:3.0} s] {what}", start.elapsed().as_secs_f64());
    tell(&format!("four machines with Linux {}", lab.image().kernel_version()));
    if let Some(storage) = args.storage {
        Cluster::of(lab, storage).set_up(tell)?;
        tell("all three hold their leases, and the guest is protected");
    }
    Ok(())
}

fn status(lab: &Lab) -> Outcome {
    for machine in MACHINES {
        match lab.run_dir().process(machine.name) {
            Some(process) => println!("{:8} on, pid {}", machine.name, process.pid),
            None => println!("{:8} off", machine.name),
        }
    }
    let Ok(answer) = lab.switch().ask(&Request::Show) else {
        println!("{:8} off", "switch");
        return Ok(());
    };
    println!("{:8} on, {} frames, {} dropped", "switch", answer.frames, answer.dropped);
    for rule in answer.rules {
        let name = |name: Option<String>| name.unwrap_or_else(|| "any".into());
        let effect = match rule.effect {
            Effect::Drop => "dropped".to_owned(),
            Effect::Delay(ms) => format!("delayed by {ms} ms"),
        };
        println!("{:8} {} -> {}: {effect}", rule.network.word(), name(rule.from), name(rule.to));
    }
    Ok(())
}

fn interactive(lab: &Lab, machine: &'static str, words: &[String]) -> Outcome<ExitCode> {
    if !lab.is_on(machine) {
        return Err(format!("{machine} is off").into());
    }
    let status = lab.ssh(machine).interactive(words)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn cut(args: &CutArgs, lab: &Lab) -> Outcome {
    let effect = args.delay.map_or(Effect::Drop, Effect::Delay);
    Ok(lab.impair(args.machine, args.network, args.direction, effect)?)
}
