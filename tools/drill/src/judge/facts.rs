//! The moments that matter, found in the log.

use leasefence_core::format::HostState;

use super::Case;
use crate::canary::Beat;
use crate::watch::{AgentSeen, EntrySeen, RecordSeen, Seen, Sight, owns};

/// Between two counts of a canary that was seen too shortly to tell: two ticks of the BIOS's clock.
const COUNT_NS: u64 = 109_854_000;

/// When what happened. Instants are of this host's `CLOCK_MONOTONIC_RAW`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// When the last renewal of the incarnation was issued.
    pub last_renewal_ns: Option<u64>,
    /// The longest time between the issues of two renewals since the act.
    pub longest_gap_ns: u64,
    /// When the lease ended: as the fencer latched it, or as it follows from the last renewal.
    pub lease_end_ns: Option<u64>,
    /// When the canary's process was gone.
    pub killed_ns: Option<u64>,
    /// When the fencer had its proof.
    pub clean_ns: Option<u64>,
    /// When the receipt was seen.
    pub receipt_ns: Option<u64>,
    /// When each peer's conviction was seen.
    pub convictions: Vec<(u64, String)>,
    /// When a peer was seen to own the canary.
    pub won: Option<(u64, String)>,
    /// When the canary counted again under a new life, and where.
    pub restart: Option<(u64, String)>,
    /// What shows that two canaries ran at once.
    pub two_writers: Option<String>,
    /// When another process of the agent answered.
    pub agent_back_ns: Option<u64>,
    /// When the host held a lease of a higher generation.
    pub back_ns: Option<u64>,
    /// When the agent said that libvirt is away.
    pub libvirt_away_ns: Option<u64>,
    /// When it said that it is back.
    pub libvirt_back_ns: Option<u64>,
    /// When the incarnation was seen to say anything but `held`.
    pub left_held_ns: Option<u64>,
    /// The longest time since the act for which the canary's counter stood still.
    pub longest_silence_ns: u64,
    /// Whether the counter was seen to change after the end of what was done.
    pub counts_on: bool,
}

impl Facts {
    /// Finds them.
    #[must_use]
    pub fn of(case: &Case, log: &[Seen]) -> Self {
        let mut facts = Self::default();
        facts.read_records(case, log);
        facts.read_agent(case, log);
        facts.read_canary(case, log);
        facts
    }

    /// The first proof, whichever it was.
    #[must_use]
    pub fn proof_ns(&self) -> Option<u64> {
        let first = self.convictions.iter().map(|(at, _)| *at).min();
        first.into_iter().chain(self.receipt_ns).min()
    }

    fn read_records(&mut self, case: &Case, log: &[Seen]) {
        let own = |record: &RecordSeen| record.incarnation == case.incarnation;
        let held = records(log).filter(|(_, record)| own(record) && record.state == HostState::Held);
        let issued: Vec<u64> = held.map(|(_, record)| record.issued_ns).collect();
        self.last_renewal_ns = issued.last().copied();
        let since_act = issued.windows(2).filter(|pair| pair[1] >= case.acted_ns);
        self.longest_gap_ns = since_act.map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or(0);
        // One that never renewed again has a gap without an end.
        if let Some(last) = issued.last() {
            self.longest_gap_ns = self.longest_gap_ns.max(case.ended_ns.saturating_sub(*last));
        }
        self.left_held_ns =
            records(log).find(|(_, r)| own(r) && r.state != HostState::Held).map(|(at, _)| at);
        self.receipt_ns =
            records(log).find(|(_, r)| own(r) && r.state == HostState::Fenced).map(|(at, _)| at);
        for (at, record) in records(log).filter(|(_, record)| record.convicts.contains(&case.incarnation)) {
            if !self.convictions.iter().any(|(_, host)| *host == record.host) {
                self.convictions.push((at, record.host.clone()));
            }
        }
        let elsewhere = |entry: &EntrySeen| owns(entry) && entry.incarnation.0 != case.incarnation.0;
        let mut entries = log.iter().filter(|seen| seen.at_ns >= case.acted_ns);
        self.won = entries.find_map(|seen| match &seen.sight {
            Sight::Entry(entry) if elsewhere(entry) => Some((seen.at_ns, entry.host.clone())),
            _ => None,
        });
    }

    fn read_agent(&mut self, case: &Case, log: &[Seen]) {
        let of_then = |agent: &AgentSeen| agent.generation == case.incarnation.1;
        let then = || agents(log).filter(|(_, agent)| of_then(agent));
        let latched = then().find_map(|(_, agent)| agent.latched_ns);
        self.clean_ns = then().find_map(|(_, agent)| agent.clean_ns);
        let by_terms = self.last_renewal_ns.map(|at| at + case.promise.lease_ttl_ms * 1_000_000);
        let over = self.left_held_ns.is_some() || self.killed_ns.is_some() || !self.convictions.is_empty();
        self.lease_end_ns = latched.or(by_terms.filter(|_| over && case.runs_out()));
        let since_act = || agents(log).filter(|(at, _)| *at >= case.acted_ns);
        let before =
            agents(log).filter(|(at, _)| *at < case.acted_ns).last().map(|(_, agent)| agent.started_unix_ms);
        self.agent_back_ns = since_act()
            .find(|(_, agent)| before.is_some_and(|it| it != agent.started_unix_ms))
            .map(|(at, _)| at);
        self.back_ns = since_act()
            .find(|(_, agent)| agent.state == "held" && agent.generation > case.incarnation.1)
            .map(|(at, _)| at);
        self.libvirt_away_ns = since_act().find(|(_, agent)| !agent.libvirt).map(|(at, _)| at);
        let away = self.libvirt_away_ns;
        self.libvirt_back_ns = since_act()
            .find(|(at, agent)| away.is_some_and(|away| *at > away) && agent.libvirt)
            .map(|(at, _)| at);
    }

    fn read_canary(&mut self, case: &Case, log: &[Seen]) {
        self.killed_ns = log.iter().find(|seen| seen.sight == Sight::Gone).map(|seen| seen.at_ns);
        let beats: Vec<_> = beats(log).collect();
        let first = beats.iter().rfind(|(at, _)| *at <= case.acted_ns).map_or(1, |(_, beat)| beat.life);
        let new: Vec<_> = beats.iter().copied().filter(|(_, beat)| beat.life > first).collect();
        self.restart = restarted_ns(&new).map(|at| {
            let host = self.won.as_ref().map_or_else(|| "a peer".to_owned(), |(_, host)| host.clone());
            (at, host)
        });
        self.two_writers = two_writers(&beats, first);
        self.counts_on = counts_on(case, &beats);
        let around = beats.windows(2).filter(|pair| pair[1].0 >= case.acted_ns);
        self.longest_silence_ns = around.map(|pair| pair[1].0.saturating_sub(pair[0].0)).max().unwrap_or(0);
    }
}

/// When a life began to count: it may have been seen late, and its own counter says by how much.
fn restarted_ns(life: &[(u64, Beat)]) -> Option<u64> {
    let (first, last) = (life.first()?, life.last()?);
    let counts = u64::from(last.1.counter.saturating_sub(first.1.counter));
    let step = if counts >= 10 { (last.0 - first.0) / counts } else { COUNT_NS };
    let before = u64::from(first.1.counter.saturating_sub(first.1.began_at).saturating_sub(1));
    Some(first.0.saturating_sub(before * step))
}

/// A life that counts while its successor does, or a second successor.
fn two_writers(beats: &[(u64, Beat)], first: u32) -> Option<String> {
    let mut newest: Option<Beat> = None;
    for (_, beat) in beats {
        if beat.life > first + 1 {
            return Some(format!("the canary was started {} times", beat.life - first));
        }
        match newest {
            Some(newest) if beat.life < newest.life => {
                return Some(format!("life {} claimed the disk after life {}", beat.life, newest.life));
            }
            Some(newest) if beat.life == newest.life && beat.before > newest.before => {
                return Some(format!(
                    "life {} counted on from {} to {} while life {} ran",
                    beat.life - 1,
                    newest.before,
                    beat.before,
                    beat.life
                ));
            }
            _ => newest = Some(*beat),
        }
    }
    None
}

/// The counter was still seen to change within the last seconds.
fn counts_on(case: &Case, beats: &[(u64, Beat)]) -> bool {
    beats
        .last()
        .is_some_and(|(at, _)| *at > case.acted_ns && case.ended_ns.saturating_sub(*at) < 3_000_000_000)
}

fn records(log: &[Seen]) -> impl Iterator<Item = (u64, &RecordSeen)> {
    log.iter().filter_map(|seen| match &seen.sight {
        Sight::Record(record) => Some((seen.at_ns, record)),
        _ => None,
    })
}

fn agents(log: &[Seen]) -> impl Iterator<Item = (u64, &AgentSeen)> {
    log.iter().filter_map(|seen| match &seen.sight {
        Sight::Agent(agent) => Some((seen.at_ns, agent)),
        _ => None,
    })
}

fn beats(log: &[Seen]) -> impl Iterator<Item = (u64, Beat)> + '_ {
    log.iter().filter_map(|seen| match seen.sight {
        Sight::Beat(beat) => Some((seen.at_ns, beat)),
        _ => None,
    })
}
