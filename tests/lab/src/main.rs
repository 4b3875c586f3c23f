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
use leasefence_lab::report;
use leasefence_lab::run::RunDir;
use leasefence_lab::runner::Runner;
use leasefence_lab::scenario::Scenario;
use leasefence_lab::scenarios;
use leasefence_lab::storage::Storage;
use leasefence_lab::switch::{self, Effect, Plugged, Request};
use leasefence_say::say;

use args::{Cli, Command, CutArgs, RunArgs, Storages, UpArgs};

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
        Command::List => list(),
        Command::Run(args) => return play(args, lab),
        Command::Switch { .. } | Command::Inside(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn up(args: &UpArgs, lab: &Lab) -> Outcome {
    wait::catch_interrupts()?;
    let start = Instant::now();
    lab.up(args.deb.as_deref())?;
    let tell = |what: &str| say!("  [{:3.0} s] {what}", start.elapsed().as_secs_f64());
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
            Some(process) => say!("{:8} on, pid {}", machine.name, process.pid),
            None => say!("{:8} off", machine.name),
        }
    }
    let Ok(answer) = lab.switch().ask(&Request::Show) else {
        say!("{:8} off", "switch");
        return Ok(());
    };
    say!("{:8} on, {} frames, {} dropped", "switch", answer.frames, answer.dropped);
    for card in answer.cards {
        let Plugged { machine, network, sent, for_it, lost, waiting } = card;
        let word = network.word();
        say!(
            "{word:8} {machine}: sent {sent} frames, {for_it} were for it, {lost} lost, {waiting} bytes wait"
        );
    }
    for rule in answer.rules {
        let name = |name: Option<String>| name.unwrap_or_else(|| "any".into());
        let effect = match rule.effect {
            Effect::Drop => "dropped".to_owned(),
            Effect::Delay(ms) => format!("delayed by {ms} ms"),
        };
        say!("{:8} {} -> {}: {effect}", rule.network.word(), name(rule.from), name(rule.to));
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

fn list() {
    for scenario in scenarios::ALL {
        let ci = if scenario.in_ci.is_empty() { "" } else { " (CI)" };
        say!("{:<18} the guest's host {}{ci}", scenario.name, scenario.what);
        for red in scenario.known_reds {
            say!("{:<18} known red on {}: {}", "", red.on, red.why);
        }
    }
}

fn play(args: &RunArgs, lab: &Lab) -> Outcome<ExitCode> {
    wait::catch_interrupts()?;
    let scenarios = chosen(args)?;
    let storages = match args.storage {
        Storages::Nfs => vec![Storage::Nfs],
        Storages::Iscsi => vec![Storage::Iscsi],
        Storages::Both => vec![Storage::Nfs, Storage::Iscsi],
    };
    if args.reuse && storages.len() > 1 {
        return Err("a cluster that is up is on one storage: name it with --storage".into());
    }
    let played = |scenario: &Scenario| storages.iter().any(|storage| scenario.on.contains(storage));
    if let Some(none) = scenarios.iter().find(|scenario| !args.names.is_empty() && !played(scenario)) {
        return Err(format!("{} means nothing on this storage", none.name).into());
    }
    let runner = Runner::new(lab, args.deb.clone(), args.reuse);
    let mut entries = Vec::new();
    let outcome = storages.into_iter().try_for_each(|storage| runner.play(&scenarios, storage, &mut entries));
    if !args.keep {
        lab.down()?;
    }
    say!("\n{}", report::head());
    entries.iter().for_each(|entry| say!("{}", entry.line()));
    let (number, took, path) = (entries.len(), runner.took().as_secs_f64(), report::path(&lab.report_dir()));
    say!("\n{number} scenarios in {took:.0} s; timelines: {}", path.display());
    outcome?;
    let bad = entries.iter().any(|entry| entry.verdict().is_bad());
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn chosen(args: &RunArgs) -> Outcome<Vec<Scenario>> {
    let place = |name: &String| {
        let found = scenarios::ALL.iter().position(|scenario| scenario.name == name);
        found.ok_or_else(|| format!("there is no scenario {name}; `leasefence-lab list` names them"))
    };
    let named = |name| place(name).map(|place| scenarios::ALL[place]);
    if args.names.is_empty() {
        let first = args.from.as_ref().map_or(Ok(0), place)?;
        return Ok(scenarios::ALL[first..]
            .iter()
            .filter_map(|scenario| if args.ci { scenario.as_in_ci() } else { Some(*scenario) })
            .collect());
    }
    Ok(args.names.iter().map(named).collect::<Result<_, _>>()?)
}
