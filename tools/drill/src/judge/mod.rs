//! From all that was seen to what it means: marks on a timeline, and each promise beside what was measured. Pure.

mod ended;
mod facts;
mod kept;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::promise::Promise;
use crate::scenario::Scenario;
use crate::watch::Seen;

pub use facts::Facts;

/// A rehearsal that was played.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// Which.
    pub scenario: Scenario,
    /// The host to which it was done.
    pub host: String,
    /// Its slot and generation then.
    pub incarnation: (u16, u32),
    /// What its terms promise.
    pub promise: Promise,
    /// Whether peers may conclude by time alone that it is gone.
    pub expires: bool,
    /// What was done, for people.
    pub act: String,
    /// When, by `CLOCK_MONOTONIC_RAW`.
    pub acted_ns: u64,
    /// What was taken back, and when; or what ended by itself.
    pub undone: Option<(u64, String)>,
    /// When nobody looked any more.
    pub ended_ns: u64,
}

impl Case {
    /// Whether the lease runs out, and is not cut short.
    #[must_use]
    pub fn runs_out(&self) -> bool {
        matches!(self.scenario, Scenario::StorageStall | Scenario::AgentFrozen)
    }
}

/// What a mark stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The last renewal that counts.
    LastRenewal,
    /// What the drill did.
    Act,
    /// The lease is over.
    LeaseEnd,
    /// The canary's process is gone.
    Killed,
    /// The fencer has proven that nothing is left.
    Clean,
    /// A peer may know that the host is gone.
    Proof,
    /// A peer owns the canary.
    Lease,
    /// The canary counts on, elsewhere.
    Restart,
    /// The drill has taken back what it did.
    Undone,
    /// The host holds a lease again.
    Back,
    /// Anything else.
    Note,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Mark {
    /// Milliseconds from what the drill did.
    pub at_ms: i64,
    /// On which host.
    pub host: String,
    /// What kind of thing.
    pub kind: Kind,
    /// In words.
    pub text: String,
}

/// What became of a promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was kept.
    Kept,
    /// It was broken.
    Broken,
    /// Nothing was promised: it is told.
    Told,
}

/// A promise, and what was measured.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    /// What it is about.
    pub what: &'static str,
    /// The longest that it may take.
    pub promised_ms: Option<u64>,
    /// What it took.
    pub measured_ms: Option<u64>,
    /// From what to what, or what was seen.
    pub how: String,
    /// Whether it was kept.
    pub outcome: Outcome,
}

impl Check {
    /// A time that must not be longer than what was promised, and that must be there.
    fn within(
        what: &'static str,
        promised_ms: u64,
        measured_ms: Option<u64>,
        how: impl Into<String>,
    ) -> Self {
        let kept = measured_ms.is_some_and(|measured| measured <= promised_ms);
        let outcome = if kept { Outcome::Kept } else { Outcome::Broken };
        Self { what, promised_ms: Some(promised_ms), measured_ms, how: how.into(), outcome }
    }

    /// Something that must be so.
    fn must(what: &'static str, kept: bool, how: impl Into<String>) -> Self {
        let outcome = if kept { Outcome::Kept } else { Outcome::Broken };
        Self { what, promised_ms: None, measured_ms: None, how: how.into(), outcome }
    }

    /// Something that is told beside what was expected.
    fn told(
        what: &'static str,
        expected_ms: Option<u64>,
        measured_ms: Option<u64>,
        how: impl Into<String>,
    ) -> Self {
        Self { what, promised_ms: expected_ms, measured_ms, how: how.into(), outcome: Outcome::Told }
    }
}

/// A time in which something must happen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Window {
    /// From, in milliseconds from what the drill did.
    pub from_ms: i64,
    /// To.
    pub to_ms: i64,
    /// On this host; on its peers if none.
    pub host: Option<String>,
    /// What must happen.
    pub text: String,
}

/// All that is to be said of a rehearsal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Judgement {
    /// What happened, in order.
    pub marks: Vec<Mark>,
    /// When it was promised to happen.
    pub windows: Vec<Window>,
    /// Each promise.
    pub checks: Vec<Check>,
}

impl Judgement {
    /// Whether a promise was broken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.checks.iter().any(|check| check.outcome == Outcome::Broken)
    }
}

/// Judges what was seen.
#[must_use]
pub fn judge(case: &Case, log: &[Seen]) -> Judgement {
    let facts = Facts::of(case, log);
    let checks =
        if case.scenario.ends_lease() { ended::checks(case, &facts) } else { kept::checks(case, &facts) };
    Judgement { marks: marks(case, &facts), windows: windows(case, &facts), checks }
}

fn windows(case: &Case, facts: &Facts) -> Vec<Window> {
    if !case.scenario.ends_lease() {
        return Vec::new();
    }
    let promise = &case.promise;
    let after = |from_ns: u64, ms: u64| between_ms(case.acted_ns, from_ns + ms * 1_000_000);
    let window = |from_ns: u64, from: u64, to: u64, host: Option<String>, text: &str| Window {
        from_ms: after(from_ns, from),
        to_ms: after(from_ns, to),
        host,
        text: text.to_owned(),
    };
    let text = "by its end all is killed, and the storage quiet";
    let budget =
        facts.lease_end_ns.map(|end| window(end, 0, promise.fence_budget_ms, Some(case.host.clone()), text));
    let text = "the time in which a peer's verdict is promised";
    let verdict = facts
        .last_renewal_ns
        .filter(|_| case.runs_out() && case.expires)
        .map(|at| window(at, promise.verdict_after_ms, promise.takeover_ms, None, text));
    budget.into_iter().chain(verdict).collect()
}

fn marks(case: &Case, facts: &Facts) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut mark = |at_ns: Option<u64>, host: &str, kind: Kind, text: String| {
        if let Some(at_ns) = at_ns {
            marks.push(Mark { at_ms: between_ms(case.acted_ns, at_ns), host: host.to_owned(), kind, text });
        }
    };
    let me = &case.host;
    let ends = case.scenario.ends_lease();
    mark(Some(case.acted_ns), me, Kind::Act, case.act.clone());
    mark(facts.last_renewal_ns.filter(|_| ends), me, Kind::LastRenewal, "last renewal".to_owned());
    mark(facts.lease_end_ns, me, Kind::LeaseEnd, "the lease ends".to_owned());
    mark(facts.killed_ns, me, Kind::Killed, "the canary's process is gone".to_owned());
    mark(facts.clean_ns, me, Kind::Clean, "CLEAN: no process left, its storage quiet".to_owned());
    mark(facts.receipt_ns, me, Kind::Proof, "its receipt stands in the lease file".to_owned());
    for (at_ns, peer) in &facts.convictions {
        mark(Some(*at_ns), peer, Kind::Proof, format!("says that {me} has expired"));
    }
    if let Some((at_ns, peer)) = &facts.won {
        mark(Some(*at_ns), peer, Kind::Lease, "owns the canary's lease".to_owned());
    }
    if let Some((at_ns, peer)) = &facts.restart {
        mark(Some(*at_ns), peer, Kind::Restart, "the canary counts on".to_owned());
    }
    mark(facts.agent_back_ns, me, Kind::Back, "the agent answers again".to_owned());
    mark(facts.libvirt_away_ns, me, Kind::Note, "the agent says that libvirt does not answer".to_owned());
    mark(facts.libvirt_back_ns, me, Kind::Note, "libvirt answers again".to_owned());
    if let Some((at_ns, text)) = &case.undone {
        mark(Some(*at_ns), me, Kind::Undone, text.clone());
    }
    mark(facts.back_ns, me, Kind::Back, "holds a lease again".to_owned());
    marks.sort_by_key(|mark| mark.at_ms);
    marks
}

/// From one instant to another in milliseconds, rounded down.
fn between_ms(from_ns: u64, to_ns: u64) -> i64 {
    let ms = |ns: u64| i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX);
    if to_ns >= from_ns { ms(to_ns - from_ns) } else { -ms(from_ns - to_ns) }
}

/// The same, never below zero.
fn took_ms(from_ns: Option<u64>, to_ns: Option<u64>) -> Option<u64> {
    Some(to_ns?.saturating_sub(from_ns?) / 1_000_000)
}
