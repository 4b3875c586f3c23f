//! Starts that users ask libvirt for and libvirt's hook asks this host about: from the hook's question until the fencer shows
//! the process, or nothing of it can come any more (PROTOCOL 4). It holds the start tokens; the lease is acquired, and the
//! entry ended, by the leases.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::hook::LAST_RUN_NOT_ENDED;
use super::{DomainReport, RequestId, StartActivity};
use crate::fencing::{FencerHalf, StartToken};
use crate::ids::{DomainId, Incarnation, Term};
use crate::lease::GoneProof;
use crate::time::{Instant, ObserverDeadline};

/// A permitted start that has shown no process for so long, and of which the hook has told no end, is asked of libvirt, and
/// again after as long: libvirt may have died with it.
const ASK_AFTER: Duration = Duration::from_secs(10);

/// The hook gives up after 4 s, and says no more than that. It is told why before.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_millis(3500);

/// A lease that was acquired for a start which nobody waits for any more is kept for the next try for so long: its barrier and
/// drain may take longer than a hook waits, and would begin anew.
const KEEP: Duration = Duration::from_secs(30);

/// How far a start is.
#[derive(Clone, PartialEq, Debug)]
enum Stage {
    /// Its lease is being acquired.
    Acquiring,
    /// What it was taken from may have left writes on their way: a barrier on its storages was asked for (R6).
    Barrier { term: Term, pred: Option<Incarnation>, asked: Instant },
    /// That was slow: a further `write_drain`.
    Draining { term: Term, until: Instant },
    /// It is owned here: its run, or its start, before this one has not ended yet (R6).
    Leaving,
    /// Permitted: the token stands in the page, and QEMU may be run at any moment.
    Permitted {
        token: StartToken,
        /// True once libvirt was about to run QEMU.
        begun: bool,
        /// When libvirt was last asked what became of it.
        asked: Instant,
    },
    /// Libvirt has given it up; the token stays until the fencer has shown no process since.
    GivingUp { token: StartToken, begun: bool, proof: GoneProof },
}

impl Stage {
    /// Why it is not permitted yet, for the user who started it.
    fn why_it_waits(&self) -> &'static str {
        match self {
            Self::Acquiring => "its lease is not acquired yet, the storage is slow: start it again",
            Self::Barrier { .. } | Self::Draining { .. } => {
                "it ran on a host that is gone, and its storages may still apply what that had sent: start it again in some seconds"
            }
            Self::Leaving => LAST_RUN_NOT_ENDED,
            Self::Permitted { .. } | Self::GivingUp { .. } => "it is permitted",
        }
    }
}

/// How far a migration to this host is, in libvirt's order: each step is permitted once, so that no cold start goes for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ArrivalStep {
    /// `migrate begin`.
    Begun,
    /// `prepare begin`.
    Prepared,
    /// `start begin`: QEMU is about to be run.
    Run,
}

/// One start.
#[derive(Clone, PartialEq, Debug)]
struct UserStart {
    stage: Stage,
    /// How far it is, if it is a migration to this host.
    arrival: Option<ArrivalStep>,
    /// The hook that waits for the answer; none once it was answered, or has gone.
    asker: Option<RequestId>,
    /// When it asked.
    since: Instant,
    /// True once the hook was told to try again: what was acquired for it waits for that.
    kept: bool,
    report: Box<DomainReport>,
}

/// What a start came to, by the fencer's half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StartNews {
    /// Its process shows: the token is closed.
    Runs(DomainId),
    /// Nothing of it can come any more: the token is closed. `begun`: QEMU may have run for a moment.
    GivenUp { domain: DomainId, begun: bool },
}

/// A hook whose question is overtaken, and that still waits.
pub(super) type Overtaken = Option<RequestId>;

/// A start that waited.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Asked {
    /// The hook that waits, if it still does.
    pub(super) asker: Option<RequestId>,
    /// Since when.
    pub(super) since: Instant,
    /// True when it was told to try again.
    pub(super) kept: bool,
    /// True for a migration to this host.
    pub(super) arrives: bool,
    /// What it asked for.
    pub(super) report: Box<DomainReport>,
}

/// All starts of users that are under way.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct UserStarts {
    starts: BTreeMap<DomainId, UserStart>,
    /// Domains whose next start is from a saved image.
    restored: BTreeSet<DomainId>,
}

impl UserStarts {
    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The start that follows is from a saved image.
    pub(super) fn restores(&mut self, domain: DomainId) {
        self.restored.insert(domain);
    }

    /// True when it is, asked as long as that start is not acquired.
    pub(super) fn is_restored(&self, domain: DomainId) -> bool {
        self.restored.contains(&domain)
    }

    /// The hook asks for a start whose lease must be acquired first.
    pub(super) fn acquire(&mut self, id: RequestId, report: Box<DomainReport>, now: Instant) -> Overtaken {
        self.restored.remove(&report.domain);
        self.put(id, Stage::Acquiring, report, now)
    }

    /// The hook asks for a migration to this host, whose lease must be acquired first.
    pub(super) fn acquire_arrival(&mut self, id: RequestId, report: Box<DomainReport>, now: Instant) {
        let domain = report.domain;
        // A start from a saved image that is asked for beside it stays one.
        let _none_was_there = self.put(id, Stage::Acquiring, report, now);
        if let Some(start) = self.starts.get_mut(&domain) {
            start.arrival = Some(ArrivalStep::Begun);
        }
    }

    /// True while a start of this domain is under way, whatever its kind.
    pub(super) fn knows(&self, domain: DomainId) -> bool {
        self.starts.contains_key(&domain)
    }

    /// Opens the token of a migration to this host, as [`permit`](Self::permit).
    pub(super) fn permit_arrival(
        &mut self,
        domain: DomainId,
        term: Term,
        report: Box<DomainReport>,
        now: Instant,
    ) {
        self.permit(domain, term, report, now);
        if let Some(start) = self.starts.get_mut(&domain) {
            start.arrival = Some(ArrivalStep::Begun);
        }
    }

    /// `prepare begin` of a migration that was permitted, once. False for anything else: it is another start.
    pub(super) fn prepares_arrival(&mut self, report: Box<DomainReport>) -> bool {
        let restores = self.restored.contains(&report.domain);
        let Some(start) = self.starts.get_mut(&report.domain) else { return false };
        let permitted = matches!(start.stage, Stage::Permitted { .. });
        let expected = permitted && !restores && start.arrival == Some(ArrivalStep::Begun);
        if expected {
            (start.arrival, start.report) = (Some(ArrivalStep::Prepared), report);
        }
        expected
    }

    /// A start whose domain was taken from a gone host waits for this barrier.
    pub(super) fn wait_for_barrier(
        &mut self,
        (term, pred): (Term, Option<Incarnation>),
        Asked { asker, since, kept, report, .. }: Asked,
        now: Instant,
    ) {
        let domain = report.domain;
        let stage = Stage::Barrier { term, pred, asked: now };
        self.starts.insert(domain, UserStart { stage, arrival: None, asker, since, kept, report });
    }

    /// The predecessor in whose place the start whose barrier this is would come; none when there is no such start.
    pub(super) fn barrier_of(&self, domain: DomainId, barrier: Instant) -> Option<Option<Incarnation>> {
        match self.starts.get(&domain)?.stage {
            Stage::Barrier { pred, asked, .. } if asked == barrier => Some(pred),
            _ => None,
        }
    }

    /// That barrier was acknowledged: the start may go on at this instant.
    pub(super) fn drains_until(&mut self, domain: DomainId, until: Instant) {
        if let Some(start) = self.starts.get_mut(&domain)
            && let Stage::Barrier { term, .. } = start.stage
        {
            start.stage = Stage::Draining { term, until };
        }
    }

    /// Takes a start that waits for a barrier, or for the drain after it.
    pub(super) fn take_quieting(&mut self, domain: DomainId) -> Option<Asked> {
        self.take(domain, |stage| matches!(stage, Stage::Barrier { .. } | Stage::Draining { .. }))
    }

    /// A start whose lease was acquired too late for the hook that asked: the next one finds it.
    pub(super) fn keep(&mut self, term: Term, asked: Asked, now: Instant) {
        let Asked { asker, since, kept, report, .. } = asked;
        let stage = Stage::Draining { term, until: now };
        self.starts.insert(report.domain, UserStart { stage, arrival: None, asker, since, kept, report });
    }

    /// The same start is asked for again, while what it was acquired from is not shown quiet yet: it goes on for this hook. None
    /// when it is another one: of another disk chain.
    pub(super) fn joins(
        &mut self,
        id: RequestId,
        report: Box<DomainReport>,
        now: Instant,
    ) -> Option<Overtaken> {
        let start = self.starts.get_mut(&report.domain)?;
        if start.report.definition_hash != report.definition_hash {
            return None;
        }
        (start.since, start.report) = (now, report);
        Some(start.asker.replace(id))
    }

    /// The starts for which nobody has asked again, and whose lease is given back.
    pub(super) fn forgotten(&self, now: Instant) -> Vec<DomainId> {
        let over = |(domain, start): (&DomainId, &UserStart)| {
            let waits = matches!(start.stage, Stage::Barrier { .. } | Stage::Draining { .. });
            (waits && start.asker.is_none() && now.since_by_slower(start.since) >= KEEP).then_some(*domain)
        };
        self.starts.iter().filter_map(over).collect()
    }

    /// The starts whose drain is over and that somebody waits for, and their terms.
    pub(super) fn drained(&self, now: Instant) -> Vec<(DomainId, Term)> {
        let over = |(domain, start): (&DomainId, &UserStart)| match start.stage {
            Stage::Draining { term, until } if ObserverDeadline(until).reached(now) => {
                start.asker.map(|_| (*domain, term))
            }
            _ => None,
        };
        self.starts.iter().filter_map(over).collect()
    }

    /// The hook asks for a start of a domain that is owned here and does not run any more: that must end first.
    pub(super) fn wait_for_end(
        &mut self,
        id: RequestId,
        report: Box<DomainReport>,
        now: Instant,
    ) -> Overtaken {
        self.put(id, Stage::Leaving, report, now)
    }

    /// The domains whose starts wait for such an end.
    pub(super) fn leaving(&self) -> Vec<DomainId> {
        let waits =
            |(domain, start): (&DomainId, &UserStart)| (start.stage == Stage::Leaving).then_some(*domain);
        self.starts.iter().filter_map(waits).collect()
    }

    /// The hooks that must be answered now, since they wait no longer, and why their starts are not permitted.
    pub(super) fn late(&self, now: Instant) -> Vec<(DomainId, &'static str)> {
        let late = |(domain, start): (&DomainId, &UserStart)| {
            let due = start.asker.is_some() && now.since_by_faster(start.since) >= ANSWER_WITHIN;
            due.then_some((*domain, start.stage.why_it_waits()))
        };
        self.starts.iter().filter_map(late).collect()
    }

    /// Takes the hook of a start that is told to try again.
    pub(super) fn tells_to_try_again(&mut self, domain: DomainId) -> Option<RequestId> {
        let start = self.starts.get_mut(&domain)?;
        if start.stage == Stage::Leaving {
            return self.take_leaving(domain)?.asker;
        }
        start.kept = true;
        start.asker.take()
    }

    /// Opens the token of a start: the page must carry it before the hook is answered.
    pub(super) fn permit(&mut self, domain: DomainId, term: Term, report: Box<DomainReport>, now: Instant) {
        let token = StartToken { domain, term, opened: now };
        // Libvirt may have run QEMU for the start before, whose token this one goes on with.
        let begun = match self.starts.get(&domain).map(|start| &start.stage) {
            Some(Stage::Permitted { begun, .. } | Stage::GivingUp { begun, .. }) => *begun,
            _ => false,
        };
        let stage = Stage::Permitted { token, begun, asked: now };
        let start = UserStart { stage, arrival: None, asker: None, since: now, kept: false, report };
        self.starts.insert(domain, start);
    }

    fn put(&mut self, id: RequestId, stage: Stage, report: Box<DomainReport>, since: Instant) -> Overtaken {
        let start = UserStart { stage, arrival: None, asker: Some(id), since, kept: false, report };
        let before = self.starts.insert(start.report.domain, start);
        before.and_then(|before| before.asker)
    }

    /// True while a start waits for a barrier, under a lease that was acquired for it.
    pub(super) fn is_quieting(&self, domain: DomainId) -> bool {
        let waits = |start: &UserStart| matches!(start.stage, Stage::Barrier { .. } | Stage::Draining { .. });
        self.starts.get(&domain).is_some_and(waits)
    }

    /// Whose token is open: of a start that was permitted before, and whose end nobody has told.
    pub(super) fn open_term(&self, domain: DomainId) -> Option<Term> {
        self.token(domain).map(|token| token.term)
    }

    fn token(&self, domain: DomainId) -> Option<StartToken> {
        match &self.starts.get(&domain)?.stage {
            Stage::Permitted { token, .. } | Stage::GivingUp { token, .. } => Some(*token),
            Stage::Acquiring | Stage::Barrier { .. } | Stage::Draining { .. } | Stage::Leaving => None,
        }
    }

    /// Takes a start that waits for its lease: who asked, and for what. None when there is no such start.
    pub(super) fn take_acquiring(&mut self, domain: DomainId) -> Option<Asked> {
        self.take(domain, |stage| *stage == Stage::Acquiring)
    }

    /// Takes a start that waits for an earlier process, as [`take_acquiring`](Self::take_acquiring).
    pub(super) fn take_leaving(&mut self, domain: DomainId) -> Option<Asked> {
        self.take(domain, |stage| matches!(stage, Stage::Leaving))
    }

    fn take(&mut self, domain: DomainId, is_meant: impl Fn(&Stage) -> bool) -> Option<Asked> {
        if !is_meant(&self.starts.get(&domain)?.stage) {
            return None;
        }
        let UserStart { asker, since, kept, arrival, report, .. } = self.starts.remove(&domain)?;
        Some(Asked { asker, since, kept, arrives: arrival.is_some(), report })
    }

    /// Libvirt is about to run QEMU. False when no start of the domain is permitted.
    pub(super) fn begins(&mut self, domain: DomainId) -> bool {
        let Some(start) = self.starts.get_mut(&domain) else { return false };
        let in_order = matches!(start.arrival, None | Some(ArrivalStep::Prepared));
        match &mut start.stage {
            Stage::Permitted { begun, .. } if in_order => {
                *begun = true;
                start.arrival = start.arrival.map(|_| ArrivalStep::Run);
                true
            }
            _ => false,
        }
    }

    /// The permission was not given after all: nothing comes of the start. False when it is another one.
    pub(super) fn refused(&mut self, domain: DomainId, opened: Instant) -> bool {
        let is_it = matches!(
            self.starts.get(&domain).map(|start| &start.stage),
            Some(Stage::Permitted { token, begun: false, .. }) if token.opened == opened
        );
        if is_it {
            self.starts.remove(&domain);
        }
        is_it
    }

    /// The hook tells that libvirt has cleaned up after a run or a start of the domain.
    pub(super) fn released(&mut self, domain: DomainId, now: Instant) -> Overtaken {
        self.restored.remove(&domain);
        let start = self.starts.get_mut(&domain)?;
        match &mut start.stage {
            // What it acquires is given back as soon as that is over, unless it is kept.
            Stage::Acquiring => return start.asker.take(),
            // It was told to try again: this is the end of the try before.
            Stage::Barrier { .. } | Stage::Draining { .. } if start.kept && start.asker.is_none() => {}
            // What was acquired for it is given back by whoever finds it taken.
            Stage::Leaving | Stage::Barrier { .. } | Stage::Draining { .. } => {
                return self.starts.remove(&domain).and_then(|start| start.asker);
            }
            Stage::Permitted { token, begun, .. } => {
                start.stage = Stage::GivingUp { token: *token, begun: *begun, proof: GoneProof::new(now) };
            }
            Stage::GivingUp { .. } => {}
        }
        None
    }

    /// The starts of which libvirt is to be asked now.
    pub(super) fn unexplained(&mut self, now: Instant) -> Vec<StartToken> {
        let due = |start: &mut UserStart| match &mut start.stage {
            Stage::Permitted { token, asked, .. } if now.since_by_slower(*asked) >= ASK_AFTER => {
                *asked = now;
                Some(*token)
            }
            _ => None,
        };
        self.starts.values_mut().filter_map(due).collect()
    }

    /// What libvirt says of a start, asked after that had been permitted.
    pub(super) fn activity(
        &mut self,
        domain: DomainId,
        opened: Instant,
        activity: StartActivity,
        now: Instant,
    ) {
        let same = self.token(domain).is_some_and(|token| token.opened == opened);
        if same && activity == StartActivity::OffNoJob {
            self.released(domain, now);
        }
    }

    /// The fencer's half: it closes tokens. A process of before a token was opened says nothing of that start.
    pub(super) fn fencer(&mut self, half: &FencerHalf) -> Vec<StartNews> {
        let news = |(domain, start): (&DomainId, &mut UserStart)| match &mut start.stage {
            Stage::Permitted { token, .. } | Stage::GivingUp { token, .. }
                if half.processes.iter().any(|process| token.came_up_as(process)) =>
            {
                Some(StartNews::Runs(*domain))
            }
            Stage::GivingUp { begun, proof, .. } => {
                proof.shown(half, *domain).then_some(StartNews::GivenUp { domain: *domain, begun: *begun })
            }
            Stage::Permitted { .. }
            | Stage::Leaving
            | Stage::Acquiring
            | Stage::Barrier { .. }
            | Stage::Draining { .. } => None,
        };
        let news: Vec<_> = self.starts.iter_mut().filter_map(news).collect();
        for item in &news {
            let (StartNews::Runs(domain) | StartNews::GivenUp { domain, .. }) = item;
            self.starts.remove(domain);
        }
        news
    }

    /// The own lease has ended: nothing is permitted any more. Tokens stay until they are closed.
    pub(super) fn lost(&mut self) -> Vec<RequestId> {
        let mut askers = Vec::new();
        self.starts.retain(|_, start| match start.stage {
            Stage::Acquiring | Stage::Barrier { .. } | Stage::Draining { .. } | Stage::Leaving => {
                askers.extend(start.asker.take());
                false
            }
            Stage::Permitted { .. } | Stage::GivingUp { .. } => true,
        });
        askers
    }

    /// The open tokens, for the page.
    pub(super) fn tokens(&self) -> impl Iterator<Item = StartToken> {
        self.starts.keys().filter_map(|domain| self.token(*domain))
    }

    /// The domains whose processes may show at any moment, as their definitions describe them: the fencer must know their
    /// storages ahead of need.
    pub(super) fn permitted(&self) -> impl Iterator<Item = &DomainReport> {
        let open = self
            .starts
            .values()
            .filter(|start| matches!(start.stage, Stage::Permitted { .. } | Stage::GivingUp { .. }));
        open.map(|start| &*start.report)
    }
}
