//! Shows that the simulator can fail: each bug of PROTOCOL 7 is planted alone, and seeds are run until one of them violates
//! something that it does not violate without the bug. It plants and counts; what a bug does is decided in the core alone.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use leasefence_core::planted::{Bug, is_reached, plant};
use serde::Serialize;

use crate::args::{Args, replay};
use crate::plan::Options;
use crate::seeds::{self, Finding, Limits, Search};

/// Seeds between two looks whether that is enough.
const ROUND: u64 = 8;
/// Seeds per bug, and the longest time, where nothing is said on the command line.
const SEEDS: u64 = 480;
const LONGEST: Duration = Duration::from_secs(90);
/// So many violations of a round are tried without the bug.
const TRIED_WITHOUT: usize = 3;

/// A bug by its word.
///
/// # Errors
/// There is none of this name; then all names.
pub fn bug(word: &str) -> Result<Bug, String> {
    let names = || Bug::ALL.iter().map(|bug| bug.word()).collect::<Vec<_>>().join(", ");
    Bug::ALL
        .iter()
        .copied()
        .find(|bug| bug.word() == word)
        .ok_or_else(|| format!("no bug `{word}`; there are {}", names()))
}

/// How the hunt for a bug ended.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Hunt {
    /// Its word.
    pub bug: &'static str,
    /// What it does.
    pub does: &'static str,
    /// Seeds that found it.
    pub found_in: u64,
    /// Seeds that were run.
    pub seeds: u64,
    /// Seeds that violate something without the bug too: they show nothing.
    pub noise: u64,
    /// The command that shows the first of those: a violation that no planted bug explains.
    pub noise_replay: Option<String>,
    /// The code that it is planted in was reached.
    pub reached: bool,
    /// What the first seed that found it violated.
    pub violated: Option<String>,
    /// The command that shows it.
    pub replay: Option<String>,
    /// Seconds on the wall.
    pub seconds: f64,
}

/// Hunts all bugs, or those that were named. True when each was found.
///
/// # Errors
/// A name that is none.
pub fn run(args: &Args, limits: &Limits) -> Result<bool, String> {
    let named: Vec<Bug> = args.only.iter().map(|word| bug(word)).collect::<Result<_, _>>()?;
    let bugs = if named.is_empty() { Bug::ALL.to_vec() } else { named };
    let started = Instant::now();
    let mut hunts = Vec::new();
    for bug in bugs {
        let hunt = hunt(args, limits, bug);
        if !args.json {
            leasefence_say::text(&hunt.line());
        }
        hunts.push(hunt);
    }
    let survivors: Vec<&Hunt> = hunts.iter().filter(|hunt| hunt.found_in == 0).collect();
    if args.json {
        leasefence_say::say!("{:#}", serde_json::json!(hunts));
    } else {
        leasefence_say::text(&summary(hunts.len(), &survivors, started.elapsed()));
    }
    Ok(survivors.is_empty())
}

fn summary(all: usize, survivors: &[&Hunt], wall: Duration) -> String {
    let wall = humantime::format_duration(Duration::from_secs(wall.as_secs()));
    let mut text = format!(
        "\n{} of {all} planted bugs found, {} survived, in {wall}\n",
        all - survivors.len(),
        survivors.len()
    );
    for hunt in survivors {
        let why = if hunt.reached { "reached, and nothing was violated" } else { "never reached" };
        let line = writeln!(text, "  {}: {} ({why} in {} seeds)", hunt.bug, hunt.does, hunt.seeds);
        debug_assert!(line.is_ok());
    }
    text
}

/// Plants one bug, and hunts it ground by ground.
fn hunt(args: &Args, limits: &Limits, bug: Bug) -> Hunt {
    let chosen = args.search();
    let grounds = if chosen.options == Options::default() {
        crate::grounds::of(bug)
    } else {
        vec![chosen.options.clone()]
    };
    let started = Instant::now();
    let longest = args.run_for.unwrap_or(LONGEST);
    let most = args.seeds.unwrap_or(SEEDS);
    let mut hunt = Hunt {
        bug: bug.word(),
        does: bug.sentence(),
        found_in: 0,
        seeds: 0,
        noise: 0,
        noise_replay: None,
        reached: false,
        violated: None,
        replay: None,
        seconds: 0.0,
    };
    let mut first = limits.first;
    while hunt.found_in == 0 && hunt.seeds < most && started.elapsed() < longest {
        for ground in &grounds {
            let search = Search { options: ground.clone(), ..chosen.clone() };
            hunt.round(&search, &Limits { first, seeds: Some(ROUND), until: None, ..*limits }, bug);
        }
        first += ROUND;
    }
    hunt.seconds = started.elapsed().as_secs_f64();
    hunt
}

impl Hunt {
    /// Some seeds on one ground.
    fn round(&mut self, search: &Search, limits: &Limits, bug: Bug) {
        plant(Some(bug));
        let totals = seeds::run(search, limits, |_, _| {});
        self.reached |= is_reached();
        plant(None);
        self.seeds += totals.seeds;
        let (mut true_ones, mut tried) = (0, 0);
        for finding in totals.findings.iter().take(TRIED_WITHOUT) {
            tried += 1;
            if seeds::live(&finding.plan, false).0.violation.as_ref() == Some(&finding.violation) {
                self.noise += 1;
                self.noise_replay.get_or_insert_with(|| replay(&search.options, &finding.plan, None));
            } else {
                true_ones += 1;
                self.note(search, finding, bug);
            }
        }
        // Where the first few are no noise, the others are not tried.
        if tried == true_ones {
            true_ones = u64::try_from(totals.findings.len()).unwrap_or(u64::MAX);
        }
        self.found_in += true_ones;
    }

    fn note(&mut self, search: &Search, finding: &Finding, bug: Bug) {
        if self.violated.is_none() {
            self.violated = Some(finding.violation.sentence.to_owned());
            self.replay = Some(replay(&search.options, &finding.plan, Some(bug.word())));
        }
    }

    fn line(&self) -> String {
        let how = if self.found_in > 0 { "found" } else { "SURVIVED" };
        let noise =
            if self.noise > 0 { format!(", {} also fail without it", self.noise) } else { String::new() };
        let reached = if self.reached { "" } else { ", never reached" };
        let seen = self.violated.as_deref().unwrap_or("");
        let arguments =
            self.replay.as_deref().and_then(|replay| replay.split("--start-seed").nth(1)).unwrap_or("");
        let arguments = arguments.trim_end_matches(" --trace").replace(" --seeds 1", "");
        format!(
            "{:<30} {how:<8} {:>3} of {:>4} seeds {:>5.1} s  {seen}{reached}{noise} [seed{arguments}]\n",
            self.bug, self.found_in, self.seeds, self.seconds
        )
        .replace(" [seed]", "")
    }
}
