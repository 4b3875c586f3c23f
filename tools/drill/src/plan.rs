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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::promise::tests::terms;

    fn plan(scenario: Scenario) -> Plan {
        let ground = Ground {
            host: "host-1".to_owned(),
            cluster: "prod".to_owned(),
            slot: 4,
            generation: 7,
            peers: vec!["host-2".to_owned(), "host-3".to_owned()],
            others: vec![("web".to_owned(), "uuid-of-web".to_owned())],
            expires: true,
            watchdog: "hardware".to_owned(),
        };
        Plan {
            scenario,
            ground,
            promise: Promise::of(&terms(), Duration::from_secs(120)),
            canary: "leasefence-drill-host-1".to_owned(),
            storage: "/mnt/images".into(),
            fence_with: None,
        }
    }

    #[test]
    fn a_plan_says_what_is_done_to_whom_and_when_what_is_promised() {
        let text = plan(Scenario::StorageStall).to_string();
        let expected = "\
storage-stall: the agent's storage stands still: the lease ends, guests die, a peer starts them, the host comes back
  host                   host-1 of cluster prod (4.7)
  canary                 leasefence-drill-host-1, its disk in /mnt/images
  what is done           the agent issues no I/O to the lease file for 20.26 s
  who dies               leasefence-drill-host-1, web
  lease ends             12.00 s after the last renewal
  killed, storage quiet  within 3.50 s of the lease's end
  a peer's verdict       between 16.51 s and 17.26 s after the last renewal
  restart                on one of: host-2, host-3
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_plan_that_ends_no_lease_says_that_nobody_dies_and_one_without_verdicts_that_peers_wait() {
        assert!(plan(Scenario::LibvirtdHung).to_string().contains("who dies               nobody\n"));
        let risk = plan(Scenario::AgentKilled).to_string();
        assert!(risk.contains("nobody; if the promise were broken: leasefence-drill-host-1, web"), "{risk}");
        let mut waits = plan(Scenario::AgentFrozen);
        waits.ground.expires = false;
        assert!(waits.to_string().contains("by the receipt, once this host can write again"));
        let by_peer = Plan { fence_with: Some("ssh host-2".to_owned()), ..plan(Scenario::PlannedFence) };
        assert!(by_peer.to_string().contains("a peer asks this host to fence itself: ssh host-2"));
    }
}
