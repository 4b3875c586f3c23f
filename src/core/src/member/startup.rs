//! From "the lease path is open" to an incarnation: the header, then the entry (a restarted agent keeps its generation;
//! else the own slot is rejoined, or one is claimed), then the first look of a restarted agent at its own record.

use super::phase::Phase;
use super::record::promise_of;
use super::{LeaseMedium, LogLevel, Member};
use crate::fencing::{AgentHalf, Wish};
use crate::format::{HostRecord, HostState, Layout, RecordCopy, SECTOR_LEN};
use crate::ids::{Incarnation, Sequence};
use crate::planted::planted;
use crate::renewal::{Holder, TermsInUse};
use crate::slot::{FencerSight, Join, JoinOutcome, Joined, Joiner};
use crate::storage::{IoDone, IoOp, Step};
use crate::terms::Promise;
use crate::time::Now;
use crate::watch::{HeaderFound, HeaderRead, Watch};

/// The way into a slot.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Entry {
    join: Join,
    waiting: bool,
}

impl Entry {
    /// True while it waits, so that others may use the storage thread.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// What it is doing, for people.
    pub(super) fn progress(&self) -> String {
        self.join.progress()
    }
}

impl Member {
    /// The lease path was opened.
    pub(super) fn opened(&mut self, now: &Now, medium: LeaseMedium) {
        if self.phase == Phase::Opening {
            self.started = now.instant;
            self.enter(now, Phase::Header(HeaderRead::new(medium.size)));
        }
    }

    /// A read of the header ended.
    pub(super) fn header_done(&mut self, now: &Now, done: &IoDone) {
        let Phase::Header(read) = &mut self.phase else { return };
        read.handle_io(done);
        match read.poll() {
            Step::Done(Ok(found)) => self.header_found(now, found),
            Step::Done(Err(error)) => self.fatal(&error.to_string()),
            Step::Io(_) | Step::Wait(_) => {}
        }
    }

    fn header_found(&mut self, now: &Now, found: HeaderFound) {
        let HeaderFound { header, warning } = found;
        let (name, wanted) = (header.cluster_name.as_str(), self.config.cluster_name.as_str());
        let (drain, least) = (self.config.terms.write_drain, header.min_write_drain);
        let (verdict_after, longest) = (self.config.terms.verdict_after(), header.longest_verdict_after);
        let refusal = if name != wanted {
            Some(format!(
                "the lease file belongs to cluster '{name}', and this host is configured for '{wanted}'"
            ))
        } else if !header.features.writable() {
            Some("the lease file has a feature that this program does not know: upgrade it".to_owned())
        } else if drain < least {
            Some(format!(
                "write_drain is {} ms here, and the lease file demands at least {} ms",
                drain.as_millis(),
                least.as_millis()
            ))
        } else if verdict_after > longest {
            let (got, most) = (verdict_after.as_millis(), longest.as_millis());
            Some(format!(
                "a verdict about this host would take {got} ms, and the lease file allows at most {most} ms: lower lease_ttl"
            ))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.fatal(&refusal);
            return;
        }
        self.warnings.extend(warning);
        let watch = Watch::new(&header);
        #[cfg(feature = "planted-bugs")]
        let watch = watch.with_stall_clocks_of(self.watch.as_ref());
        self.watch = Some(watch);
        self.take_page_from_before(now, &header.layout);
        self.header = Some(header);
        self.enter(now, Phase::Choosing);
        self.choose_entry(now);
    }

    /// A page of another boot or file means nothing. What was outstanding when its process ended is unknown (R11).
    fn take_page_from_before(&mut self, now: &Now, layout: &Layout) {
        let before = self.page_before().filter(|page| page.file_id == layout.file_id());
        // Of the page as it was found: the own half has said since that this process has issued nothing.
        if let Some(writes) = before.map(|page| page.unknown.clone()) {
            self.unknown.restore(&writes, now.instant, |offset| sector_at(layout, offset));
        } else {
            self.half = AgentHalf { boot_id: self.config.boot_id, ..AgentHalf::default() };
            self.config.page = None;
        }
        self.half.file_id = layout.file_id();
    }

    fn page_before(&self) -> Option<&AgentHalf> {
        self.config.page.as_ref().filter(|page| page.boot_id == self.config.boot_id)
    }

    /// A lease from before this process that has ended is brought to its receipt first; else the slot is entered.
    pub(super) fn choose_entry(&mut self, now: &Now) {
        let before = self.page_before().filter(|page| page.incarnation.generation.0 > 0).cloned();
        let Some(page) = before else {
            self.enter_slot(now);
            return;
        };
        if self.fencer.is_none() {
            return;
        }
        if self.is_over(&page, now) {
            self.resume_ended(now, &page);
        } else {
            self.enter_slot(now);
        }
    }

    /// True when the fencer guards the page's incarnation, and its lease has ended.
    fn is_over(&self, page: &AgentHalf, now: &Now) -> bool {
        self.fencer.as_ref().is_some_and(|fencer| {
            let guarded = fencer.armed && fencer.incarnation == page.incarnation;
            guarded && (fencer.latched.is_some() || page.lease_end.reached(now.instant))
        })
    }

    fn resume_ended(&mut self, now: &Now, page: &AgentHalf) {
        let terms = TermsInUse::resume(self.wanted_promise(), &[]);
        self.resume(now, page.incarnation, page.issued, terms);
    }

    /// A lease that was still running when the entry began may have ended since, a write of the process before being
    /// unknown. That is over only after a time counted by writes of the own record: by those of its receipt.
    pub(super) fn reconsider_entry(&mut self, now: &Now) {
        let Phase::Entering(entry) = &self.phase else { return };
        let waits = entry.join.waits_for_the_life_before() && self.unknown.any();
        let over = self.page_before().filter(|page| waits && self.is_over(page, now)).cloned();
        if let Some(page) = over {
            self.resume_ended(now, &page);
        }
    }

    fn enter_slot(&mut self, now: &Now) {
        let Some(header) = &self.header else { return };
        let joiner = Joiner {
            record: self.blank_record(now),
            page: self.config.page.clone(),
            uptime: self.config.uptime,
            uptime_from: self.started,
            has_machine_uuid: self.config.has_machine_uuid,
        };
        let join = Join::new(header.layout, joiner);
        self.enter(now, Phase::Entering(Box::new(Entry { join, waiting: false })));
    }

    /// The receipt is given: the same machine goes on with the next generation, without a restart of this process.
    pub(super) fn rejoin(&mut self, now: &Now) {
        self.desk.note(
            LogLevel::Info,
            "rejoin",
            "the old incarnation is settled: rejoining with the next generation",
        );
        self.config.page = Some(self.half.clone());
        self.holder = None;
        self.doomed = None;
        self.domains.all_ended();
        // All of them were shown quiet, and what may have taken their numbers since was not.
        self.half.quiesce.clear();
        self.half.covered.clear();
        self.enter_slot(now);
    }

    /// The next operation of the entry; its outcome is taken when there is one.
    pub(super) fn entry_operation(&mut self, now: &Now) -> Option<IoOp> {
        let mut half = self.fencer.clone();
        if let Some(half) = &mut half {
            half.processes.retain(|process| !self.half.exempt.contains(&process.domain));
        }
        let sight = FencerSight { half, unknown_write: self.unknown.any() };
        let Phase::Entering(entry) = &mut self.phase else { return None };
        entry.join.set_fencer(sight);
        let step = entry.join.poll(now);
        entry.waiting = matches!(step, Step::Wait(_));
        match step {
            Step::Io(op) => {
                if let Some(record) = entry.join.issuing() {
                    (self.half.incarnation, self.half.issued) = (record.incarnation, record.sequence);
                    self.half.wish = Wish::Joining;
                }
                if let Some(sequence) = entry.join.rewriting() {
                    self.half.issued = self.half.issued.max(sequence);
                }
                Some(op)
            }
            Step::Wait(_) => None,
            Step::Done(outcome) => {
                self.entered(now, outcome);
                None
            }
        }
    }

    /// An operation of the entry ended.
    pub(super) fn entry_done(&mut self, done: &IoDone) {
        let Phase::Entering(entry) = &mut self.phase else { return };
        let rewritten = entry.join.rewriting().is_some();
        entry.join.handle_io(done);
        if rewritten && done.result.is_ok() {
            self.unknown.renewal_acknowledged(done.issued.instant, done.ended.instant);
        } else if rewritten {
            self.unknown.renewal_broken();
        }
    }

    fn entered(&mut self, now: &Now, outcome: JoinOutcome) {
        match outcome {
            JoinOutcome::Joined(joined) => self.joined(now, *joined),
            JoinOutcome::Resumed { record, issued } => {
                let target = self.wanted_promise();
                let terms = TermsInUse::resume(target, &[promise_of(&record)]);
                self.freed = self.freed.max(record.freed_generation);
                self.convictions.restore(record.convictions.iter().flatten().copied());
                self.resume(now, record.incarnation, issued, terms);
            }
            JoinOutcome::Refused(error) => self.fatal(&error.to_string()),
        }
    }

    fn joined(&mut self, now: &Now, joined: Joined) {
        let Joined { record, pages } = joined;
        let (key, boot) = (self.config.host_key, self.config.boot_id);
        let terms = TermsInUse::new(self.wanted_promise());
        self.holder = Some(Holder::new(key, boot, record.incarnation, record.sequence, terms));
        self.freed = self.freed.max(record.freed_generation);
        self.convictions.publish_anew();
        let text = format!(
            "joined as {}: slot {}, generation {}",
            record.incarnation, record.incarnation.slot, record.incarnation.generation
        );
        self.desk.note(LogLevel::Info, "joined", text);
        self.leases_after_rejoin(record.incarnation, pages);
        self.enter(now, Phase::Adopting { resting: HostState::Joining });
    }

    /// A restarted agent goes on with an incarnation of before: it looks at its own record before it writes.
    fn resume(&mut self, now: &Now, incarnation: Incarnation, issued: Sequence, terms: TermsInUse) {
        let (key, boot) = (self.config.host_key, self.config.boot_id);
        let issued = if planted!(SequenceTwice) { issued } else { issued.max(self.half.issued) };
        let mut holder = Holder::new(key, boot, incarnation, issued, terms);
        let guarded =
            self.fencer.as_ref().is_some_and(|fencer| fencer.armed && fencer.incarnation == incarnation);
        if guarded {
            holder.resume(self.half.lease_end);
        }
        self.holder = Some(holder);
        self.desk.note(LogLevel::Info, "resumed", format!("this agent was restarted within {incarnation}"));
        self.enter(now, Phase::Resuming);
    }

    /// The first scan of a restarted agent has shown nothing foreign: it goes on where the process before it stood.
    pub(super) fn resume_after_scan(&mut self, now: &Now) {
        let Some((guarded, valid, incarnation)) = self
            .holder
            .as_ref()
            .map(|holder| (holder.is_armed(), holder.is_valid(now.instant), holder.incarnation()))
        else {
            return;
        };
        if guarded && self.half.wish == Wish::Disarm && self.latched().is_none() {
            // Both copies said so before the page did, and the fencer may let go at any moment: there is no way back.
            if self.is_guarded() {
                return;
            }
            self.promise_nothing();
            self.leases_after_restart(incarnation);
            self.enter(now, Phase::Disarmed);
            self.end_if_doomed(now);
            return;
        }
        if guarded {
            self.take_promises_on_storage(incarnation);
        } else {
            self.promise_nothing();
        }
        // Also of a lease that has ended: the start tokens of before are closed by them.
        self.leases_after_restart(incarnation);
        if guarded && (!valid || self.latched().is_some()) {
            self.end(now, "the lease ran out while no agent ran");
            return;
        }
        match (guarded, self.half.wish) {
            (true, _) => self.enter(now, Phase::Held),
            (false, Wish::Disarm) => self.enter(now, Phase::Disarmed),
            (false, _) => self.enter(now, Phase::Adopting { resting: HostState::Joining }),
        }
    }

    /// Until a change of terms is through, all that may be on storage is kept: both copies, and what the page says was in
    /// use.
    fn take_promises_on_storage(&mut self, own: Incarnation) {
        let target = self.wanted_promise();
        let reading = self.watch.as_ref().and_then(|watch| watch.slot(own.slot)?.reading());
        let records = reading.into_iter().flat_map(|reading| reading.copies().valid());
        let mut promises: Vec<_> =
            records.filter(|record| record.incarnation == own).map(promise_of).collect();
        let known = !self.half.terms.lease_ttl.is_zero();
        if let Some(first) = promises.first().copied().filter(|_| known) {
            promises.push(Promise { terms: self.half.terms, ..first });
        }
        if let Some(holder) = &mut self.holder {
            holder.set_terms(TermsInUse::resume(target, &promises));
        }
    }

    /// What the own record says but for what the entry fills in.
    fn blank_record(&self, now: &Now) -> HostRecord {
        let promise = self.wanted_promise();
        self.record_with(now, &promise, Incarnation::default(), HostState::Joining, Sequence(0))
    }
}

/// Bytes of the sector at an offset, and those by which two reads of it are compared: a host record goes on being renewed.
fn sector_at(layout: &Layout, offset: u64) -> (usize, std::ops::Range<usize>) {
    let small = offset < layout.observers().start || layout.journals().contains(&offset);
    let len = if small { layout.host_record(crate::ids::Slot(0), RecordCopy::A).len } else { SECTOR_LEN };
    let is_record = layout.host_records().contains(&offset);
    (len, if is_record { super::storage_turn::PROMISE_BYTES } else { 0..len })
}
