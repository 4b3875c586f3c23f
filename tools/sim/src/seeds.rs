//! Runs seeds: each alone in one thread, many threads at a time. Results are told in the order of the seeds, so that what
//! is printed does not depend on how many threads there are. What a seed does, this module never decides.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use leasefence_say::nobody_reads;

use crate::invariants::Violation;
use crate::plan::{Options, Plan};
use crate::story::Story;
use crate::world::{Counts, Outcome, World};

/// How a seed becomes a plan.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Search {
    /// What is drawn.
    pub options: Options,
    /// Only the faults with these numbers; none: all.
    pub keep_faults: Option<Vec<usize>>,
    /// Hosts that stay off.
    pub without_hosts: Vec<usize>,
    /// Domains that nobody starts.
    pub without_domains: Vec<usize>,
}

impl Search {
    /// The seed's plan.
    #[must_use]
    pub fn plan(&self, seed: u64) -> Plan {
        let plan = Plan::draw(seed, &self.options);
        let plan = plan.without_hosts(&self.without_hosts).without_domains(&self.without_domains);
        match &self.keep_faults {
            Some(numbers) => plan.with_faults(numbers),
            None => plan,
        }
    }
}

/// Which seeds, and until when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The first.
    pub first: u64,
    /// How many at most; none: until the time is over.
    pub seeds: Option<u64>,
    /// No seed is begun after this.
    pub until: Option<Instant>,
    /// Threads.
    pub jobs: usize,
}

/// A seed that violated something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Its plan.
    pub plan: Plan,
    /// What was violated.
    pub violation: Violation,
    /// When, in nanoseconds of the world's time.
    pub at: u64,
}

/// What all seeds together did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Seeds that were run.
    pub seeds: u64,
    /// Those that violated something.
    pub findings: Vec<Finding>,
    /// Those that did so under faults that break a stated assumption.
    pub outside: Vec<Finding>,
    /// Nanoseconds of the world's time.
    pub lived: u64,
    /// Events that were handled.
    pub events: u64,
    /// That something happened.
    pub counts: Counts,
}

impl Totals {
    /// Enters what a seed did.
    pub fn enter(&mut self, plan: Plan, outcome: Outcome) {
        self.seeds += 1;
        self.lived += outcome.lived;
        self.events += outcome.events;
        self.counts.add(&outcome.counts);
        let Some(violation) = outcome.violation else { return };
        let list = if plan.breaks_assumptions() { &mut self.outside } else { &mut self.findings };
        list.push(Finding { plan, violation, at: outcome.lived });
    }
}

thread_local! {
    /// What this thread runs, for the words about a panic; and what the panic said.
    static RUNNING: RefCell<Option<u64>> = const { RefCell::new(None) };
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on a panic while a seed runs names the seed. Where panics end the process, that is all that is left of it.
pub fn panics_name_their_seed() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let Some(seed) = RUNNING.with_borrow(|seed| *seed) else { return before(info) };
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let text = format!("{} at {place}", info.payload_as_str().unwrap_or("a panic without words"));
        if cfg!(panic = "abort") {
            eprintln!(
                "seed {seed} panicked: {text}\nreplay it with: --start-seed {seed} --seeds 1 and the same options"
            );
        }
        PANIC.set(text);
    }));
}

/// Lives through a plan. A panic of the core or of the world is a violation too.
#[must_use]
pub fn live(plan: &Plan, keeps_story: bool) -> (Outcome, Story) {
    let mut world = World::new(plan.clone(), keeps_story);
    RUNNING.set(Some(plan.seed));
    let lived = catch_unwind(AssertUnwindSafe(|| world.live()));
    RUNNING.set(None);
    let outcome = lived.unwrap_or_else(|_| {
        let violation = Violation { sentence: "Nothing panics.", seen: PANIC.take() };
        Outcome { violation: Some(violation), ..world.outcome() }
    });
    (outcome, world.story().clone())
}

/// Runs seeds, and tells of each in order; about once in a second also without news, for a line of progress. No seed is begun
/// once nobody reads what is told.
pub fn run(search: &Search, limits: &Limits, mut tell: impl FnMut(&Totals, Option<&Finding>)) -> Totals {
    let next = AtomicU64::new(limits.first);
    std::thread::scope(|scope| {
        let (results, inbox) = channel();
        for _ in 0..limits.jobs.max(1) {
            let (results, next) = (results.clone(), &next);
            scope.spawn(move || work(search, limits, next, &results));
        }
        drop(results);
        collect(limits.first, &inbox, &mut tell)
    })
}

type Ran = (u64, Plan, Outcome);

fn work(search: &Search, limits: &Limits, next: &AtomicU64, results: &Sender<Ran>) {
    while !nobody_reads() && limits.until.is_none_or(|until| Instant::now() < until) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if limits.seeds.is_some_and(|seeds| seed.wrapping_sub(limits.first) >= seeds) {
            return;
        }
        let plan = search.plan(seed);
        let (outcome, _) = live(&plan, false);
        if results.send((seed, plan, outcome)).is_err() {
            return;
        }
    }
}

fn collect(first: u64, inbox: &Receiver<Ran>, tell: &mut impl FnMut(&Totals, Option<&Finding>)) -> Totals {
    const NEWS: Duration = Duration::from_millis(200);
    let mut totals = Totals::default();
    let mut waiting = BTreeMap::new();
    let mut next = first;
    loop {
        match inbox.recv_timeout(NEWS) {
            Ok((seed, plan, outcome)) => drop(waiting.insert(seed, (plan, outcome))),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return totals,
        }
        while let Some((plan, outcome)) = waiting.remove(&next) {
            next = next.wrapping_add(1);
            let (bad, outside) = (outcome.violation.is_some(), plan.breaks_assumptions());
            totals.enter(plan, outcome);
            let list = if outside { &totals.outside } else { &totals.findings };
            if let Some(finding) = list.last().filter(|_| bad) {
                tell(&totals, Some(finding));
            }
        }
        tell(&totals, None);
    }
}
