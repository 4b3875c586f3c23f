//! Killed is not quiesced: what guests of a host have left in its kernel, and how their storages are shown quiet, step by step.
//! What each step shows the core says (`fencing::Quieting`).

use leasefence_core::fencing::{QuiesceTarget, Quiet, Quieting, StorageKind};
use leasefence_core::time::Instant;

use super::World;
use super::event::Event;
use super::run::{Cpus, Run};
use crate::time::MS;

/// How long an attempt to show a storage quiet takes.
const ATTEMPT: std::ops::Range<u64> = 50 * MS..600 * MS;
/// A fencer that is stopped hears of it later.
const LATER: u64 = 400 * MS;

/// A storage that is being shown quiet on a host.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Withdrawn {
    quieting: Quieting,
    /// When its calls were first cut off: they end a while after that.
    cut_off_at: Option<u64>,
}

impl World {
    /// After the latch, and with no process that runs, each storage is shown quiet: where the way to it is whole, by an
    /// acknowledgement; else by force, which drops what this kernel still has, and frees who waits for it.
    pub(super) fn quiesce(&mut self, host: usize) {
        let fencer = self.hosts[host].fencer.fencer.as_ref().filter(|fencer| fencer.owes_proof());
        if fencer.is_none() || self.keeps_busy(host) {
            return;
        }
        let targets = fencer.into_iter().flat_map(|fencer| {
            let due = |target: &&QuiesceTarget| target.kind == StorageKind::Nfs && fencer.owes_quiet(target);
            fencer.storages().iter().filter(due)
        });
        let storages: Vec<usize> = targets.filter_map(|target| usize::try_from(target.device).ok()).collect();
        for storage in storages {
            let storage = storage - 1;
            if self.hosts[host].fencer.quiescing.insert(storage) {
                let takes = ATTEMPT.start + self.below(ATTEMPT.end - ATTEMPT.start);
                let boot = self.hosts[host].boot;
                let begun = self.hosts[host].clock.now(self.at).instant;
                self.queue.at(self.at + takes, Event::Quiesced { host, boot, storage, begun });
            }
        }
    }

    /// The fencer hears of an attempt.
    pub(crate) fn storage_quiesced(&mut self, host: usize, boot: u32, storage: usize, begun: Instant) {
        let this = &self.hosts[host];
        if this.boot != boot || this.stands_still() || this.fencer.fencer.is_none() {
            return;
        }
        if this.fencer.paused_until > self.at {
            self.queue.at(self.at + LATER, Event::Quiesced { host, boot, storage, begun });
            return;
        }
        let outcome = self.quiesce_storage(host, storage);
        let device = u64::try_from(storage + 1).unwrap_or_default();
        let target = QuiesceTarget { kind: StorageKind::Nfs, device };
        let this = &mut self.hosts[host];
        this.fencer.quiescing.remove(&storage);
        if let Some(fencer) = &mut this.fencer.fencer {
            fencer.handle_quiesced(&target, begun, outcome);
        }
        self.tell_host(host, "quiesce", || format!("storage {storage}: {outcome:?}"));
        if outcome != Quiet::Unproven {
            self.want_beat(host, self.at + MS);
        }
    }

    /// One attempt: the storage is taken from the kernel, gently or by force; a look whether a call is left; then its
    /// connections.
    fn quiesce_storage(&mut self, host: usize, storage: usize) -> Quiet {
        if self.keeps_busy(host) {
            return Quiet::Unproven;
        }
        let works = self.hosts[host].data_cut == 0 && self.storages[storage].stalled_until <= self.at;
        let mut this = self.hosts[host].fencer.withdrawn.remove(&storage).unwrap_or_default();
        this.quieting.found();
        let gently = this.quieting.may_be_gentle() && works;
        this.quieting.taken(gently);
        if !gently && this.cut_off_at.get_or_insert(self.at).saturating_add(self.calls_end(host)) <= self.at {
            self.drop_calls(host, storage);
        }
        let outcome = if this.quieting.looked(self.has_call_left(host, storage), gently) {
            // What was acknowledged was sent; else the connections are ended.
            let proof = this.quieting.proof(this.quieting.is_gentle());
            proof.unwrap_or_else(|| {
                this.quieting.cut_off();
                this.quieting.proof(false).unwrap_or(Quiet::Unproven)
            })
        } else {
            Quiet::Unproven
        };
        self.hosts[host].fencer.withdrawn.insert(storage, this);
        outcome
    }

    /// A process is there that does not just wait for its storage: what it has open cannot be taken away.
    fn keeps_busy(&self, host: usize) -> bool {
        self.hosts[host].guests.iter().any(|run| !self.is_stuck(*run))
    }

    /// A killed process that waits, in the kernel, for a storage to which the way is cut: it exits when that is cut off, or the
    /// way is whole again.
    pub(super) fn is_stuck(&self, run: usize) -> bool {
        let this = &self.runs[run];
        let host = &self.hosts[this.host];
        let waits = |(place, storage): (usize, usize)| {
            self.storages[storage].kind == StorageKind::Nfs && !this.writes[place].forced
        };
        self.plan.hosts[this.host].guests_stick
            && self.plan.is_reset_at_last(this.host)
            && host.data_cut > 0
            && host.unkillable == 0
            && this.cpus == Cpus::Run
            && (this.killed.is_some() && (this.ended_by.is_none() || this.cut_short) && this.exited.is_none())
            && self.places_of(run).any(waits)
    }

    /// How long calls take to end that are cut off. Where nothing resets it, no host is ended where that takes too long.
    fn calls_end(&self, host: usize) -> u64 {
        if self.plan.is_reset_at_last(host) { self.plan.hosts[host].calls_end } else { 0 }
    }

    /// What this kernel still has for the storage is dropped; what was received lands.
    fn drop_calls(&mut self, host: usize, storage: usize) {
        let (at, boot) = (self.at, self.hosts[host].boot);
        for run in 0..self.runs.len() {
            let this = &self.runs[run];
            if this.host != host || this.boot != boot || !may_have_calls(this, at) {
                continue;
            }
            let places: Vec<_> = self.places_of(run).filter(|(_, on)| *on == storage).collect();
            for (place, storage) in places {
                self.runs[run].writes[place].forced = true;
                self.lands_from_now_on(run, place, storage);
            }
        }
        let runs = &self.runs;
        self.hosts[host].queued.retain(|run| runs[*run].quiet.is_none());
    }

    /// True while this kernel still has a call of a killed process for the storage, in flight or waiting for its way. One that was
    /// sent over this connection ends when all that was sent before it has landed.
    fn has_call_left(&self, host: usize, storage: usize) -> bool {
        let (at, boot) = (self.at, self.hosts[host].boot);
        let of_storage = |run: usize, this: &Run| {
            let mut places = self.places_of(run).filter(|(_, on)| *on == storage);
            places.any(|(place, _)| {
                let writes = &this.writes[place];
                !writes.forced && writes.landed.is_none_or(|landed| landed > at)
            })
        };
        self.runs.iter().enumerate().any(|(run, this)| {
            this.host == host && this.boot == boot && may_have_calls(this, at) && of_storage(run, this)
        })
    }
}

/// Its process has been killed or has ended, and not all of its writes have landed.
fn may_have_calls(run: &Run, at: u64) -> bool {
    run.killed.is_some() && run.may_write(at)
}
