//! What a drill is about to do, to whom, and what the terms promise: said before anything is done.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::ground::Ground;
use crate::promise::Promise;
use crate::scenario::Scenario;

/// A rehearsal that may be played.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Plan {
    /// Which.
    pub scenario: Scenario,
    /// Where.
    pub ground: Ground,
    /// What the terms promise.
    pub promise: Promise,
    /// The canary.
    pub canary: String,
    /// Where its disk will lie.
    pub storage: PathBuf,
    /// By what command a peer is asked to fence.
    pub fence_with: Option<String>,
}

impl Plan {
    /// What is done, in the tense of a plan.
    #[must_use]
    pub fn act(&self) -> String {
        let hold = seconds(self.promise.hold_ms);
        match (self.scenario, &self.fence_with) {
            (Scenario::LibvirtdHung, _) => format!("libvirtd is stopped (SIGSTOP) for {hold}"),
            (Scenario::AgentKilled, _) => "the agent is killed (SIGKILL)".to_owned(),
            (Scenario::PlannedFence, Some(command)) => {
                format!("a peer asks this host to fence itself: {command}")
            }
            (Scenario::PlannedFence, None) => {
                "the agent ends this host's lease, as if a peer had asked for it".to_owned()
            }
            (Scenario::StorageStall, _) => format!("the agent issues no I/O to the lease file for {hold}"),
            (Scenario::AgentFrozen, _) => {
                format!("the agent is stopped (SIGSTOP) for {hold}, or until a peer has proven its end")
            }
            (Scenario::WatchdogBite, _) => {
                "the fencer is stopped (SIGSTOP) until the watchdog resets this machine".to_owned()
            }
        }
    }

    /// Who dies of it.
    fn victims(&self) -> String {
        let others = self.ground.others.iter().map(|(name, _)| name.as_str());
        let all: Vec<_> = std::iter::once(self.canary.as_str()).chain(others).collect();
        match (self.scenario.ends_lease(), self.scenario.risks_guests()) {
            (true, _) => all.join(", "),
            (false, true) => format!("nobody; if the promise were broken: {}", all.join(", ")),
            (false, false) => "nobody".to_owned(),
        }
    }

    fn promises(&self) -> Vec<(String, String)> {
        let promise = &self.promise;
        let line = |what: &str, when: String| (what.to_owned(), when);
        if !self.scenario.ends_lease() {
            return vec![line(
                "lease",
                format!("kept: renewals may pause for {}", seconds(promise.lease_ttl_ms)),
            )];
        }
        let mut lines = Vec::new();
        if self.scenario != Scenario::PlannedFence {
            lines.push(line(
                "lease ends",
                format!("{} after the last renewal", seconds(promise.lease_ttl_ms)),
            ));
        }
        lines.push(line(
            "killed, storage quiet",
            format!("within {} of the lease's end", seconds(promise.fence_budget_ms)),
        ));
        let verdict = format!(
            "between {} and {} after the last renewal",
            seconds(promise.verdict_after_ms),
            seconds(promise.takeover_ms)
        );
        lines.push(match (self.scenario, self.ground.expires) {
            (Scenario::PlannedFence, _) => line("proof", "at once, by the receipt".to_owned()),
            (_, true) => line("a peer's verdict", verdict),
            (_, false) => line(
                "proof",
                "by the receipt, once this host can write again: peers may not call it expired".to_owned(),
            ),
        });
        lines.push(line("restart", format!("on one of: {}", self.ground.peers.join(", "))));
        lines
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ground = &self.ground;
        writeln!(f, "{}: {}", self.scenario.name(), self.scenario.what())?;
        let mut row = |what: &str, text: &str| writeln!(f, "  {what:<22} {text}");
        row(
            "host",
            &format!("{} of cluster {} ({}.{})", ground.host, ground.cluster, ground.slot, ground.generation),
        )?;
        row("canary", &format!("{}, its disk in {}", self.canary, self.storage.display()))?;
        row("what is done", &self.act())?;
        row("who dies", &self.victims())?;
        for (what, when) in self.promises() {
            row(&what, &when)?;
        }
        Ok(())
    }
}

/// Milliseconds as seconds with two decimals.
#[must_use]
pub fn seconds(ms: u64) -> String {
    format!("{}.{:02} s", ms / 1000, ms % 1000 / 10)
}
