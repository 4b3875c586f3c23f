//! The command line: runs seeds, tells what was violated, makes it small and draws it.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use leasefence_say::{nobody_reads, say};
use leasefence_sim::args::{Args, Trace, words};
use leasefence_sim::plan::Plan;
use leasefence_sim::report::svg::Picture;
use leasefence_sim::report::{self, Entry, Speed, text};
use leasefence_sim::seeds::{self, Finding, Limits, Totals};
use leasefence_sim::shrink::Shrinker;
use leasefence_sim::story::Story;
use leasefence_sim::time::nanos;

/// So many violations are made small and told in full; of all others the line is enough.
const IN_FULL: usize = 3;

fn main() -> ExitCode {
    let args = Args::parse();
    seeds::panics_name_their_seed();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("leasefence-sim: {why}");
            ExitCode::from(2)
        }
    }
}

/// True when nothing was violated, and somebody was there to read it.
fn run(args: &Args) -> Result<bool, String> {
    let limits = limits(args);
    if args.mutants {
        return mutants(args, &limits);
    }
    if let Some(bug) = &args.plant {
        plant(bug)?;
    }
    if args.random && !args.json {
        say!("seeds from {}: --start-seed {}", limits.first, limits.first);
    }
    let started = Instant::now();
    let totals = run_seeds(args, &limits, started);
    if nobody_reads() {
        // The seeds that are left were not run, and what was found would be told to nobody.
        return Ok(false);
    }
    let speed = Speed::new(&totals, report::cpu_time(), started.elapsed());
    let entries = tell_findings(args, &totals)?;
    if totals.seeds == 1 && entries.is_empty() {
        tell_one(args, &args.search().plan(limits.first))?;
    }
    if args.json {
        leasefence_say::text(&report::json(limits.first, &totals, &speed, &entries));
    } else {
        leasefence_say::text(&report::summary(limits.first, &totals, &speed));
    }
    Ok(totals.findings.is_empty())
}

fn limits(args: &Args) -> Limits {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Limits {
        first: if args.random { nanos(clock) / 1_000 } else { args.start_seed },
        seeds: args.most_seeds(),
        until: args.run_for.map(|time| Instant::now() + time),
        jobs: args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

fn run_seeds(args: &Args, limits: &Limits, started: Instant) -> Totals {
    let shows_progress = !args.quiet && !args.json && std::io::stderr().is_terminal();
    let mut told = started;
    let totals = seeds::run(&args.search(), limits, |totals, finding| {
        if let Some(finding) = finding.filter(|_| !args.json) {
            clear(shows_progress);
            say!("{}", report::line(finding));
        }
        if shows_progress && told.elapsed() >= Duration::from_secs(1) {
            told = Instant::now();
            eprint!("{}", report::progress(totals, started.elapsed()));
        }
    });
    clear(shows_progress);
    totals
}

fn clear(shows_progress: bool) {
    if shows_progress {
        eprint!("\r\x1b[K");
    }
}

/// Makes the first violations small, and tells them in full: those of the promise, or else those outside of it.
fn tell_findings(args: &Args, totals: &Totals) -> Result<Vec<Entry>, String> {
    let findings = totals.findings.iter().chain(&totals.outside).enumerate();
    let mut entries = Vec::new();
    for (number, finding) in findings {
        let in_full = number < IN_FULL;
        let small = (in_full && !args.no_shrink).then(|| shrink(args, finding)).flatten();
        entries.push(Entry::new(args, finding, small.as_ref()));
        if in_full {
            if !args.json {
                leasefence_say::text(&report::violation(args, finding, small.as_ref()));
            }
            tell_story(args, small.as_ref().unwrap_or(finding), number == 0)?;
        }
    }
    Ok(entries)
}

/// The smallest plan in which the same sentence is violated; none: nothing could be left out.
fn shrink(args: &Args, finding: &Finding) -> Option<Finding> {
    let until = Instant::now() + args.shrink_for;
    let mut fails = |plan: &Plan| {
        let violation = seeds::live(plan, false).0.violation;
        violation.is_some_and(|violation| violation.sentence == finding.violation.sentence)
    };
    let mut shrinker = Shrinker { fails: &mut fails, over: &mut || Instant::now() >= until };
    let plan = shrinker.shrink(&finding.plan);
    if plan == finding.plan {
        return None;
    }
    let (outcome, _) = seeds::live(&plan, false);
    Some(Finding { plan, violation: outcome.violation?, at: outcome.lived })
}

/// What happened before the violation; with `--trace` all of it.
fn tell_story(args: &Args, finding: &Finding, drawn: bool) -> Result<(), String> {
    let (_, story) = seeds::live(&finding.plan, true);
    let last = finding.at.saturating_sub(nanos(args.last));
    let text = match args.trace {
        Some(Trace::Lines) => story.text(),
        Some(Trace::Columns) => text::columns(&story, 0, true),
        None => text::columns(&story, last, false),
    };
    if !args.json {
        say!("\n{text}");
    }
    if drawn { draw(args, &finding.plan, &story, finding.at) } else { Ok(()) }
}

/// A single seed without a violation is told and drawn where that was asked for.
fn tell_one(args: &Args, plan: &Plan) -> Result<(), String> {
    if args.trace.is_none() && args.timeline.is_none() {
        return Ok(());
    }
    let (outcome, story) = seeds::live(plan, true);
    if let Some(trace) = args.trace {
        say!("{}", plan.describe());
        leasefence_say::text(&if trace == Trace::Lines {
            story.text()
        } else {
            text::columns(&story, 0, true)
        });
    }
    draw(args, plan, &story, outcome.lived)
}

/// The picture: the time before the violation, or with `--trace` all of it.
fn draw(args: &Args, plan: &Plan, story: &Story, until: u64) -> Result<(), String> {
    let Some(file) = &args.timeline else { return Ok(()) };
    let since = if args.trace.is_some() { 0 } else { until.saturating_sub(nanos(args.last)) };
    let title = format!("seed {} ({})", plan.seed, words(&plan.classes));
    let svg = Picture { story, title: &title, since, until }.svg();
    std::fs::write(file, svg).map_err(|why| format!("{}: {why}", file.display()))
}

#[cfg(feature = "planted-bugs")]
fn plant(bug: &str) -> Result<(), String> {
    leasefence_core::planted::plant(Some(leasefence_sim::mutants::bug(bug)?));
    Ok(())
}

#[cfg(feature = "planted-bugs")]
fn mutants(args: &Args, limits: &Limits) -> Result<bool, String> {
    leasefence_sim::mutants::run(args, limits)
}

#[cfg(not(feature = "planted-bugs"))]
fn plant(_: &str) -> Result<(), String> {
    Err(no_bugs(""))
}

#[cfg(not(feature = "planted-bugs"))]
fn mutants(_: &Args, _: &Limits) -> Result<bool, String> {
    Err(no_bugs("--mutants"))
}

#[cfg(not(feature = "planted-bugs"))]
fn no_bugs(what: &str) -> String {
    let command = "cargo run --profile mutants --features planted-bugs -p leasefence-sim --";
    format!("this build has no planted bugs, and no release has: {command} {what}")
}
