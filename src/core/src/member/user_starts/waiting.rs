//! Starts that are not permitted yet: what each waits for, and until when.

use std::time::Duration;

use super::start::{ArrivalStep, Asked, Stage, UserStart};
use super::{Overtaken, UserStarts};
use crate::ids::{DomainId, Incarnation, Term};
use crate::member::{DomainReport, RequestId};
use crate::recovery::StartBarrier;
use crate::time::Instant;

/// The hook gives up after 4 s, and says no more than that. It is told why before.
pub(in crate::member) const ANSWER_WITHIN: Duration = Duration::from_millis(3500);

/// A lease that was acquired for a start which nobody waits for any more is kept for the next try for so long: its barrier and
/// drain may take longer than a hook waits, and would begin anew.
const KEEP: Duration = Duration::from_secs(30);

impl UserStarts {
    /// The hook asks for a start whose lease must be acquired first.
    pub(in crate::member) fn acquire(
        &mut self,
        id: RequestId,
        report: Box<DomainReport>,
        now: Instant,
    ) -> Overtaken {
        self.restored.remove(&report.domain);
        self.put(Stage::Acquiring, Asked::by(id, report, now))
    }

    /// The hook asks for a migration to this host, whose lease must be acquired first. A start from a saved image that is asked
    /// for beside it stays one.
    pub(in crate::member) fn acquire_arrival(
        &mut self,
        id: RequestId,
        report: Box<DomainReport>,
        now: Instant,
    ) {
        let domain = report.domain;
        let asked = Asked { arrival: Some(ArrivalStep::Begun), ..Asked::by(id, report, now) };
        self.starts.insert(domain, UserStart { stage: Stage::Acquiring, asked });
    }

    /// The hook asks for a start of a domain that is owned here and does not run any more: that must end first.
    pub(in crate::member) fn wait_for_end(
        &mut self,
        id: RequestId,
        report: Box<DomainReport>,
        now: Instant,
    ) -> Overtaken {
        self.put(Stage::Leaving, Asked::by(id, report, now))
    }

    /// A start whose lease was acquired waits for this barrier, or only for somebody who asks for it again.
    pub(in crate::member) fn wait_for_barrier(
        &mut self,
        (term, pred): (Term, Option<Incarnation>),
        barrier: StartBarrier,
        asked: Asked,
    ) {
        let stage = Stage::Barrier { term, pred, barrier };
        self.starts.insert(asked.report.domain, UserStart { stage, asked });
    }

    /// The predecessor in whose place the start whose barrier this is would come; none when there is no such start.
    pub(in crate::member) fn barrier_of(
        &self,
        domain: DomainId,
        asked: Instant,
    ) -> Option<Option<Incarnation>> {
        match self.starts.get(&domain)?.stage {
            Stage::Barrier { pred, barrier, .. } if barrier.awaits(asked) => Some(pred),
            _ => None,
        }
    }

    /// That barrier was acknowledged: the start may go on at this instant.
    pub(in crate::member) fn drains_until(&mut self, domain: DomainId, until: Instant) {
        if let Some(UserStart { stage: Stage::Barrier { barrier, .. }, .. }) = self.starts.get_mut(&domain) {
            *barrier = StartBarrier::Draining(until);
        }
    }

    /// The same start is asked for again, while what it was acquired from is not shown quiet yet: it goes on for this hook. None
    /// when it is another one: of another disk chain.
    pub(in crate::member) fn joins(
        &mut self,
        id: RequestId,
        report: Box<DomainReport>,
        now: Instant,
    ) -> Option<Overtaken> {
        let asked = &mut self.starts.get_mut(&report.domain)?.asked;
        if asked.report.definition_hash != report.definition_hash {
            return None;
        }
        (asked.since, asked.report) = (now, report);
        Some(asked.asker.replace(id))
    }

    /// True while a start waits for a barrier, under a lease that was acquired for it.
    pub(in crate::member) fn is_quieting(&self, domain: DomainId) -> bool {
        self.starts.get(&domain).is_some_and(|start| matches!(start.stage, Stage::Barrier { .. }))
    }

    /// The starts whose barrier is passed and that somebody waits for, and their terms.
    pub(in crate::member) fn drained(&self, now: Instant) -> Vec<(DomainId, Term)> {
        let over = |(domain, start): (&DomainId, &UserStart)| match start.stage {
            Stage::Barrier { term, barrier, .. } if barrier.is_over(now) => {
                start.asked.asker.map(|_| (*domain, term))
            }
            _ => None,
        };
        self.starts.iter().filter_map(over).collect()
    }

    /// The starts for which nobody has asked again, and whose lease is given back.
    pub(in crate::member) fn forgotten(&self, now: Instant) -> Vec<DomainId> {
        let is_over = |(_, start): &(&DomainId, &UserStart)| {
            let waits = matches!(start.stage, Stage::Barrier { .. });
            waits && start.asked.asker.is_none() && now.since_by_slower(start.asked.since) >= KEEP
        };
        self.starts.iter().filter(is_over).map(|(domain, _)| *domain).collect()
    }

    /// The domains whose starts wait for the end of their last run here, and since when.
    pub(in crate::member) fn leaving(&self) -> Vec<(DomainId, Instant)> {
        let waits = |(_, start): &(&DomainId, &UserStart)| start.stage == Stage::Leaving;
        self.starts.iter().filter(waits).map(|(domain, start)| (*domain, start.asked.since)).collect()
    }

    /// The hooks that must be answered now, since they wait no longer, and why their starts are not permitted.
    pub(in crate::member) fn late(&self, now: Instant) -> Vec<(DomainId, &'static str)> {
        let late = |(domain, start): (&DomainId, &UserStart)| {
            let asked = &start.asked;
            let due = asked.asker.is_some() && now.since_by_faster(asked.since) >= ANSWER_WITHIN;
            due.then_some((*domain, start.stage.why_it_waits()))
        };
        self.starts.iter().filter_map(late).collect()
    }

    /// Takes the hook of a start that is told to try again.
    pub(in crate::member) fn tells_to_try_again(&mut self, domain: DomainId) -> Option<RequestId> {
        let start = self.starts.get_mut(&domain)?;
        if start.stage == Stage::Leaving {
            return self.take_leaving(domain)?.asker;
        }
        start.asked.kept = true;
        start.asked.asker.take()
    }

    /// Takes a start that waits for its lease: who asked, and for what. None when there is no such start.
    pub(in crate::member) fn take_acquiring(&mut self, domain: DomainId) -> Option<Asked> {
        self.take(domain, |stage| *stage == Stage::Acquiring)
    }

    /// Takes a start that waits for a barrier, or for the drain after it.
    pub(in crate::member) fn take_quieting(&mut self, domain: DomainId) -> Option<Asked> {
        self.take(domain, |stage| matches!(stage, Stage::Barrier { .. }))
    }

    /// Takes a start that waits for an earlier process, as [`take_acquiring`](Self::take_acquiring).
    pub(in crate::member) fn take_leaving(&mut self, domain: DomainId) -> Option<Asked> {
        self.take(domain, |stage| *stage == Stage::Leaving)
    }

    fn take(&mut self, domain: DomainId, is_meant: impl Fn(&Stage) -> bool) -> Option<Asked> {
        if !is_meant(&self.starts.get(&domain)?.stage) {
            return None;
        }
        self.starts.remove(&domain).map(|start| start.asked)
    }
}
