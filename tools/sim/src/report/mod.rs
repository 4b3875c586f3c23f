//! What the command line says: the sum of all seeds, each violation with the command that shows it again, and its story.
//! It judges nothing.

pub mod svg;
pub mod text;

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;

use crate::args::{Args, words};
use crate::plan::{Options, Plan};
use crate::seeds::{Finding, Totals};

/// CPU time that this process has used, in all its threads, in user and kernel.
#[must_use]
pub fn cpu_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let micros =
        [usage.user_time(), usage.system_time()].map(|time| time.tv_sec() * 1_000_000 + time.tv_usec());
    Duration::from_micros(micros.into_iter().filter_map(|micros| u64::try_from(micros).ok()).sum())
}

/// How much was done, and how fast.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Speed {
    /// Hours of the world's time.
    pub simulated_hours: f64,
    /// Seconds of CPU time, of all threads.
    pub cpu_seconds: f64,
    /// Seconds on the wall.
    pub wall_seconds: f64,
    /// The first by minutes of the second.
    pub simulated_hours_per_cpu_minute: f64,
}

impl Speed {
    /// Of these totals.
    #[must_use]
    pub fn new(totals: &Totals, cpu: Duration, wall: Duration) -> Self {
        let simulated_hours = Duration::from_nanos(totals.lived).as_secs_f64() / 3600.0;
        let minutes = cpu.as_secs_f64().max(0.001) / 60.0;
        Self {
            simulated_hours,
            cpu_seconds: cpu.as_secs_f64(),
            wall_seconds: wall.as_secs_f64(),
            simulated_hours_per_cpu_minute: simulated_hours / minutes,
        }
    }
}

/// The sum, in a few lines.
#[must_use]
pub fn summary(first: u64, totals: &Totals, speed: &Speed) -> String {
    let counts = &totals.counts;
    let outside = match totals.outside.len() {
        0 => String::new(),
        many => format!(", {many} outside the promise"),
    };
    format!(
        "{} seeds from {first}: {} violated{outside}\n\
         {:.1} simulated hours, {:.1} s of CPU, {:.1} s on the wall: {:.0} simulated hours a CPU minute\n\
         {} runs, {} recoveries, {} migrations, {} fences, {} verdicts, {} resets, {} events\n",
        totals.seeds,
        totals.findings.len(),
        speed.simulated_hours,
        speed.cpu_seconds,
        speed.wall_seconds,
        speed.simulated_hours_per_cpu_minute,
        counts.runs,
        counts.recoveries,
        counts.moves,
        counts.fences,
        counts.verdicts,
        counts.resets,
        totals.events,
    )
}

/// A line for a terminal, which the next one overwrites.
#[must_use]
pub fn progress(totals: &Totals, wall: Duration) -> String {
    let hours = Duration::from_nanos(totals.lived).as_secs_f64() / 3600.0;
    let wall = Duration::from_secs(wall.as_secs());
    let violated = totals.findings.len();
    format!(
        "\r\x1b[K{} seeds, {violated} violated, {hours:.0} simulated hours, {}",
        totals.seeds,
        humantime::format_duration(wall)
    )
}

/// A violation in one line.
#[must_use]
pub fn line(finding: &Finding) -> String {
    let (seed, plan, at) = (finding.plan.seed, &finding.plan, text::seconds(finding.at));
    let outside = if plan.breaks_assumptions() { "outside the promise, " } else { "" };
    format!("seed {seed} ({outside}{}) at {at} s: {}", words(&plan.classes), finding.violation)
}

/// A violation with all that helps to understand it: the plan in words, and the commands that show it again.
#[must_use]
pub fn violation(args: &Args, finding: &Finding, small: Option<&Finding>) -> String {
    let mut text = format!("\n{}\n\n{}\n", line(finding), finding.plan.describe());
    text += &format!("replay: {}\n", args.replay(&finding.plan));
    if let Some(small) = small {
        let (faults, hosts) = (small.plan.kept().count(), hosts_on(&small.plan));
        let (all, all_hosts) = (finding.plan.kept().count(), hosts_on(&finding.plan));
        text += &format!("short:  {}\n", args.replay(&small.plan));
        text += &format!("        {faults} of {all} faults and {hosts} of {all_hosts} hosts are enough:\n");
        text += &format!("        {}\n", small.violation);
    }
    text
}

fn hosts_on(plan: &Plan) -> usize {
    plan.hosts.len() - plan.off.len()
}

/// A violation for machines.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Entry {
    seed: u64,
    sentence: String,
    seen: String,
    at_seconds: f64,
    faults: Vec<String>,
    classes: String,
    outside_the_promise: bool,
    replay: String,
    short_replay: Option<String>,
}

impl Entry {
    /// Of a finding, and of what the shrinker made of it.
    #[must_use]
    pub fn new(args: &Args, finding: &Finding, small: Option<&Finding>) -> Self {
        let plan = &finding.plan;
        Self {
            seed: plan.seed,
            sentence: finding.violation.sentence.to_owned(),
            seen: finding.violation.seen.clone(),
            at_seconds: Duration::from_nanos(finding.at).as_secs_f64(),
            faults: plan.kept().map(|(number, fault)| format!("#{number} {fault}")).collect(),
            classes: words(&plan.classes),
            outside_the_promise: plan.breaks_assumptions(),
            replay: args.replay(plan),
            short_replay: small.map(|small| args.replay(&small.plan)),
        }
    }
}

/// All of it for machines.
#[must_use]
pub fn json(first: u64, totals: &Totals, speed: &Speed, entries: &[Entry]) -> String {
    let counts = &totals.counts;
    let all = serde_json::json!({
        "start_seed": first,
        "seeds": totals.seeds,
        "violated": totals.findings.len(),
        "outside_the_promise": totals.outside.len(),
        "speed": speed,
        "runs": counts.runs,
        "recoveries": counts.recoveries,
        "migrations": counts.moves,
        "fences": counts.fences,
        "verdicts": counts.verdicts,
        "resets": counts.resets,
        "events": totals.events,
        "violations": entries,
    });
    format!("{all:#}\n")
}

/// How options are written on the command line.
#[must_use]
pub fn options(options: &Options) -> String {
    let hosts = options.hosts.map(|hosts| format!(" --hosts {hosts}")).unwrap_or_default();
    let classes = if options.classes.is_empty() {
        String::new()
    } else {
        format!(" --faults {}", words(&options.classes))
    };
    format!("{hosts}{classes}").trim_start().to_owned()
}
