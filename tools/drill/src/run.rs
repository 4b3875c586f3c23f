//! The command itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use leasefence_api::Client;
use leasefence_config::Config;
use leasefence_say::say;
use serde::Serialize;

use crate::args::{DrillCommand, ReportArgs, RunArgs};
use crate::canary::{Canary, NAME_PREFIX};
use crate::exit;
use crate::plan::Plan;
use crate::play::{Player, leftovers};
use crate::report::{Ending, Entry, Report, page, text};
use crate::scenario::Scenario;
use crate::virsh::Virsh;
use crate::{bite, canary, hold};

/// Longest that a canary may take to stop once it was told to.
const STOPPED_WITHIN: Duration = Duration::from_secs(20);

/// Carries a command out; what it returns is its exit code.
#[must_use]
pub fn run(command: &DrillCommand, config: &Path, run_dir: Option<&Path>) -> u8 {
    let outcome = match command {
        DrillCommand::Hold { pid, milliseconds, program } => {
            hold::run(*pid, program, Duration::from_millis(*milliseconds))
                .map(|()| exit::KEPT)
                .map_err(|error| error.to_string())
        }
        DrillCommand::List { json } => list(*json),
        DrillCommand::Run(args) => load(config).and_then(|config| drill(args, &config, run_dir)),
        DrillCommand::AfterReset(args) => load(config).and_then(|config| after_reset(args, &config)),
        DrillCommand::Clean { storage } => load(config).and_then(|config| clean(&config, storage.as_deref())),
    };
    outcome.unwrap_or_else(|why| {
        eprintln!("leasefence drill: {why}");
        exit::NOT_RUN
    })
}

fn load(path: &Path) -> Result<Config, String> {
    Config::load(path).map_err(|error| error.to_string())
}

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    what: &'static str,
    ends_lease: bool,
}

fn list(json: bool) -> Result<u8, String> {
    let all = Scenario::ALL.map(|scenario| Listed {
        name: scenario.name(),
        what: scenario.what(),
        ends_lease: scenario.ends_lease(),
    });
    if json {
        say!("{}", serde_json::to_string(&all).map_err(|error| error.to_string())?);
    } else {
        all.iter().for_each(|listed| say!("{:<14} {}", listed.name, listed.what));
    }
    Ok(exit::KEPT)
}

fn drill(args: &RunArgs, config: &Config, run_dir: Option<&Path>) -> Result<u8, String> {
    if !args.dry_run {
        must_be_root()?;
        // Seen now, and not after all is over.
        if let Some(file) = &args.report.html {
            fs::write(file, "").map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
        }
        if let Some(pending) = bite::pending(&config.state_dir)? {
            return Err(format!(
                "a watchdog-bite of {} is not reported yet: run `leasefence drill after-reset`",
                pending.host
            ));
        }
    }
    let client = Client::new(run_dir.unwrap_or(&config.run_dir));
    let tell = |line: &str| eprintln!("{line}");
    let player = Player { config, client: &client, args, tell: &tell };
    let started = wall_ms();
    let entries: Vec<_> = args.scenarios().into_iter().map(|scenario| rehearse(&player, scenario)).collect();
    let host = entries.iter().find_map(|entry| entry.plan.as_ref()).map(|plan| plan.ground.host.clone());
    let host = host.or_else(|| config.host_name().ok()).unwrap_or_default();
    finish(&Report::of(host, started, entries), &args.report, args.dry_run)
}

fn rehearse(player: &Player<'_>, scenario: Scenario) -> Entry {
    let started_unix_ms = wall_ms();
    let entry =
        |result, notes, plan, judgement| Entry { scenario, result, started_unix_ms, notes, plan, judgement };
    let plan: Plan = match player.plan(scenario) {
        Ok(plan) => plan,
        Err(missing) => {
            missing.iter().for_each(|line| (player.tell)(&format!("{}: {line}", scenario.name())));
            return entry(Ending::NotRun, missing, None, None);
        }
    };
    if player.args.dry_run {
        return entry(Ending::Planned, Vec::new(), Some(plan), None);
    }
    (player.tell)(&plan.to_string());
    match player.play(&plan) {
        Ok(played) => {
            let result = if played.judgement.is_broken() { Ending::Broken } else { Ending::Kept };
            entry(result, played.notes, Some(plan), Some(played.judgement))
        }
        Err(why) => {
            let bitten = why.first().is_none_or(|first| first != bite::NOT_BITTEN);
            let result = if bitten { Ending::NotRun } else { Ending::Broken };
            entry(result, why, Some(plan), None)
        }
    }
}

fn after_reset(args: &ReportArgs, config: &Config) -> Result<u8, String> {
    must_be_root()?;
    let directory = &config.state_dir;
    let pending = bite::pending(directory)?.ok_or("no watchdog-bite is to be reported on this host")?;
    let boot_id = bite::boot_id().map_err(|error| error.to_string())?;
    let judgement = bite::judge(&pending, &boot_id, bite::last_sign_ms(directory))?;
    let mut notes = Vec::new();
    if let Err(error) = canary::stop(&pending.disk).and_then(|()| canary::read(&pending.disk)).map(|beat| {
        let lives = beat.map_or(0, |beat| beat.life);
        notes.push(format!("The canary has had {lives} lives: more than one says that a peer started it."));
    }) {
        notes.push(format!("{error}. Run this again once its storage is mounted here."));
        return finish(&bitten(&pending, judgement, notes), args, false);
    }
    notes.push(format!("`leasefence drill clean` on each host removes what is left of {}.", pending.canary));
    bite::forget(directory);
    finish(&bitten(&pending, judgement, notes), args, false)
}

fn bitten(pending: &bite::Pending, judgement: crate::judge::Judgement, notes: Vec<String>) -> Report {
    let result = if judgement.is_broken() { Ending::Broken } else { Ending::Kept };
    let entry = Entry {
        scenario: Scenario::WatchdogBite,
        result,
        started_unix_ms: pending.acted_unix_ms,
        notes,
        plan: None,
        judgement: Some(judgement),
    };
    Report::of(pending.host.clone(), pending.acted_unix_ms, vec![entry])
}

fn finish(report: &Report, args: &ReportArgs, dry: bool) -> Result<u8, String> {
    if args.json {
        say!("{}", serde_json::to_string(report).map_err(|error| error.to_string())?);
    } else if dry {
        report.scenarios.iter().filter_map(|entry| entry.plan.as_ref()).for_each(|plan| say!("{plan}"));
    } else {
        say!("{}", text(report).trim_end());
    }
    if let Some(file) = args.html.as_ref().filter(|_| !dry) {
        fs::write(file, page(report))
            .map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    }
    Ok(report.exit_code)
}

/// Stops this host's canary wherever it runs, removes its disks, and forgets every canary that does not run here.
fn clean(config: &Config, storage: Option<&Path>) -> Result<u8, String> {
    must_be_root()?;
    let virsh = Virsh::new(&config.libvirt.uri);
    let host = config.host_name().map_err(|error| error.to_string())?;
    let own = Canary::of(&config.cluster, &host, Path::new(""), 0);
    let directory: Option<PathBuf> = storage.or_else(|| config.lease.parent()).map(Path::to_path_buf);
    for disk in directory.iter().flat_map(|directory| leftovers(directory, &own.name)) {
        canary::stop(&disk).map_err(|error| error.to_string())?;
        std::thread::sleep(Duration::from_secs(1));
        fs::remove_file(&disk).map_err(|error| format!("{} cannot be removed: {error}", disk.display()))?;
        say!("{} is removed", disk.display());
    }
    let begun = Instant::now();
    while virsh.runs(&own.name).map_err(|error| error.to_string())? {
        if begun.elapsed() > STOPPED_WITHIN {
            return Err(format!("{} still runs here: run `virsh destroy {}`", own.name, own.name));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    for name in virsh
        .shut_off()
        .map_err(|error| error.to_string())?
        .iter()
        .filter(|name| name.starts_with(NAME_PREFIX))
    {
        virsh.run(&["undefine", name]).map_err(|error| error.to_string())?;
        say!("{name} is forgotten by this host's libvirt");
    }
    Ok(exit::KEPT)
}

fn must_be_root() -> Result<(), String> {
    if nix::unistd::Uid::effective().is_root() {
        return Ok(());
    }
    Err("a drill stops processes and starts a domain: run it as root".to_owned())
}

fn wall_ms() -> u64 {
    leasefence_clock::now().wall_ns / 1_000_000
}
