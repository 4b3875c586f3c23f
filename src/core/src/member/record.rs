//! The own host record: what it says at each phase. It never decides when it is written.

use super::Member;
use super::phase::{Phase, WeakenStep, Weakening};
use crate::format::{CONVICTIONS, FENCE_REQUESTS, HostName, HostRecord, HostState, RecordFlags};
use crate::ids::{Generation, Incarnation, Sequence};
use crate::planted::planted;
use crate::renewal::Holder;
use crate::terms::Promise;
use crate::time::{Instant, Now};

/// The protocol that this version speaks.
const PROTOCOL: u8 = 1;

impl Member {
    /// What the own record must say now; none while it must not be written.
    pub(super) fn state_to_write(&self, now: Instant) -> Option<HostState> {
        if self.holder.is_none() || self.replaced.is_some() {
            return None;
        }
        let silent = self.fencer_is_silent(now) && !planted!(RenewsWithoutFencer);
        match &self.phase {
            Phase::Arming { .. } if planted!(ArmedAfterHeld) => Some(HostState::Held),
            Phase::Adopting { resting } | Phase::Arming { resting, .. } => Some(*resting),
            // An agent whose fencer does not beat renews no more: nobody would kill at the lease's end.
            // Nor one whose fencer guards something else, or nothing.
            Phase::Held | Phase::Weakening(_) if silent || self.is_abandoned() => None,
            Phase::Held => Some(HostState::Held),
            Phase::Weakening(Weakening { step: WeakenStep::Draining, from, .. }) => Some(*from),
            Phase::Weakening(weakening) => Some(weakening.to),
            Phase::Disarmed => Some(HostState::Disarmed),
            Phase::Ending(_) => self.ending_state(now),
            Phase::Opening
            | Phase::Header(_)
            | Phase::Choosing
            | Phase::Entering(_)
            | Phase::Resuming
            | Phase::Over => None,
        }
    }

    /// The record with this sequence, which is about to be issued.
    pub(super) fn record(&mut self, now: &Now, state: HostState, sequence: Sequence) -> Option<HostRecord> {
        let holder = self.holder.as_ref()?;
        let (promise, incarnation) = (holder.terms().carried(), holder.incarnation());
        let convictions = self.convictions.issue(sequence);
        let asked = self.issue_cluster_flags(now.instant);
        let record = self.record_with(now, &promise, incarnation, state, sequence);
        Some(HostRecord {
            flags: record.flags.set(asked, true),
            echo: self.fencer_echo().unwrap_or(promise.terms),
            page_versions: self.page_versions(),
            fence_requests: self.fence_requests.carried(),
            convictions,
            ..record
        })
    }

    /// A record that asks for nothing and convicts nobody.
    pub(super) fn record_with(
        &self,
        now: &Now,
        promise: &Promise,
        incarnation: Incarnation,
        state: HostState,
        sequence: Sequence,
    ) -> HostRecord {
        let scan = self.watch.as_ref().and_then(crate::watch::Watch::last_scan);
        HostRecord {
            incarnation,
            boot_id: self.config.boot_id,
            sequence,
            host_key: self.config.host_key,
            process_nonce: self.config.process_nonce,
            freed_generation: self.freed_generation(),
            state,
            watchdog_class: promise.watchdog,
            flags: flags_of(promise),
            terms: promise.terms,
            echo: promise.terms,
            issued_ns: now.instant.raw_ns,
            wall_ns: now.wall_ns,
            scan_age: scan.map(|scan| now.instant.since_by_slower(scan.instant)),
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            key_id: 0,
            host_name: HostName::cut(&self.config.host_name),
            api_address: None,
            page_versions: [0; 16],
            fence_requests: [None; FENCE_REQUESTS],
            convictions: [None; CONVICTIONS],
            survival_max: std::time::Duration::ZERO,
            survival_set: [0; 32],
            auth_tag: [0; 16],
        }
    }

    /// The terms that the fencer keeps, once it guards this incarnation.
    pub(super) fn fencer_echo(&self) -> Option<crate::terms::Terms> {
        let fencer = self.fencer.as_ref()?;
        (fencer.armed && Some(fencer.incarnation) == self.incarnation()).then_some(fencer.terms)
    }

    /// Carried on for ever: what the own slot's copies say.
    fn freed_generation(&self) -> Generation {
        let slot =
            self.holder.as_ref().map(Holder::incarnation).and_then(|own| self.watch.as_ref()?.slot(own.slot));
        slot.map(crate::watch::SlotWatch::freed_generation).unwrap_or_default().max(self.freed)
    }

    /// What the configuration promises.
    pub(super) fn wanted_promise(&self) -> Promise {
        let class = crate::format::WatchdogClass::from_code(self.config.watchdog_class).unwrap_or_default();
        Promise {
            terms: self.config.terms,
            watchdog: class,
            reset_on: self.config.reset_on,
            expire_without_hardware: self.config.expire_without_hardware,
        }
    }
}

fn flags_of(promise: &Promise) -> RecordFlags {
    RecordFlags::default()
        .set(RecordFlags::RESET_ON, promise.reset_on)
        .set(RecordFlags::EXPIRE_WITHOUT_HARDWARE, promise.expire_without_hardware)
}

/// What a record promised.
pub(super) fn promise_of(record: &HostRecord) -> Promise {
    Promise {
        terms: record.terms,
        watchdog: record.watchdog_class,
        reset_on: record.flags.contains(RecordFlags::RESET_ON),
        expire_without_hardware: record.flags.contains(RecordFlags::EXPIRE_WITHOUT_HARDWARE),
    }
}
