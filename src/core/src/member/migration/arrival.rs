//! What is known of the processes of a domain that comes in (PROTOCOL 4): which of them wait for a migration, and whether any is left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::fencing::{DomainProcess, FencerHalf};
use crate::ids::DomainId;
use crate::lease::{GoneProof, shows};
use crate::time::Instant;

/// Between two looks at a process that has not become QEMU yet.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The same beside one that waits for the migration: it is most likely a helper of the domain, if it has not become QEMU by then.
const BECOMES_QEMU: Duration = Duration::from_secs(2);
const LOOK_LATER: Duration = Duration::from_secs(1);

/// A process, for good: pid and start time.
type ProcessKey = (u32, u64);

fn key_of(process: &DomainProcess) -> ProcessKey {
    (process.pid, process.start_time)
}

/// A domain that comes in.
#[derive(Clone, PartialEq, Debug, Default)]
pub(in crate::member) struct Arrival {
    /// Its processes that wait, or have waited, for a migration.
    verified: BTreeSet<ProcessKey>,
    /// Those that are being looked at: since when, and when they were last asked for.
    asked: BTreeMap<ProcessKey, (Instant, Instant)>,
    /// Libvirt has said that its CPUs run.
    pub(in crate::member) cpus_run: bool,
    /// The fencer shows no process of it any more: the proof that none is left.
    gone: Option<GoneProof>,
    /// Since when no process of it is left: what its page said before says nothing of how it ended.
    left: Option<Instant>,
    /// When it was last killed.
    pub(in crate::member) killed: Option<Instant>,
}

impl Arrival {
    /// True when the command line of this process is to be read now. What is not QEMU may become it, or is a helper of its domain,
    /// which writes to no disk: it is looked at again.
    pub(in crate::member) fn is_to_be_looked_at(
        &mut self,
        process: &DomainProcess,
        beside_verified: bool,
        now: Instant,
    ) -> bool {
        let key = key_of(process);
        if self.verified.contains(&key) {
            return false;
        }
        let (first, last) = *self.asked.entry(key).or_insert((now, Instant::default()));
        let helps = beside_verified && now.since_by_slower(first) >= BECOMES_QEMU;
        let interval = if helps { LOOK_LATER } else { LOOK_AGAIN };
        let due = last == Instant::default() || now.since_by_slower(last) >= interval;
        if due {
            self.asked.insert(key, (first, now));
        }
        due
    }

    /// This process waits for a migration.
    pub(in crate::member) fn verify(&mut self, process: &DomainProcess) {
        self.asked.remove(&key_of(process));
        self.verified.insert(key_of(process));
    }

    /// True when the fencer shows a process of it that waits for a migration.
    pub(in crate::member) fn is_verified(&self, domain: DomainId, half: &FencerHalf) -> bool {
        let shown = half.processes.iter().filter(|process| process.domain == domain);
        shown.into_iter().any(|process| self.verified.contains(&key_of(process)))
    }

    /// True once no process of it can be left.
    pub(in crate::member) fn is_gone(&mut self, domain: DomainId, half: &FencerHalf, now: Instant) -> bool {
        if shows(half, domain) {
            (self.gone, self.left) = (None, None);
            return false;
        }
        self.gone.get_or_insert_with(|| GoneProof::new(now)).shown(half, domain)
    }

    /// Since when that is so.
    pub(in crate::member) fn left(&mut self, now: Instant) -> Instant {
        *self.left.get_or_insert(now)
    }
}
