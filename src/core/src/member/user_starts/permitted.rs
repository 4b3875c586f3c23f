//! Starts that are permitted, under an open token: until the fencer shows the process, or nothing of it can come any more.

use std::time::Duration;

use super::start::{ArrivalStep, Asked, Stage, UserStart};
use super::{StartNews, UserStarts};
use crate::fencing::{FencerHalf, StartToken};
use crate::ids::{DomainId, Term};
use crate::member::{DomainReport, StartActivity};
use crate::time::Instant;

/// A permitted start that has shown no process for so long, and of which the hook has told no end, is asked of libvirt, and
/// again after as long: libvirt may have died with it.
const ASK_AFTER: Duration = Duration::from_secs(10);

impl UserStarts {
    /// Opens the token of a start: the page must carry it before the hook is answered.
    pub(in crate::member) fn permit(
        &mut self,
        domain: DomainId,
        term: Term,
        report: Box<DomainReport>,
        now: Instant,
    ) {
        self.open_token(StartToken { domain, term, opened: now }, None, report);
    }

    /// Opens the token of a migration to this host, as [`permit`](Self::permit).
    pub(in crate::member) fn permit_arrival(
        &mut self,
        domain: DomainId,
        term: Term,
        report: Box<DomainReport>,
        now: Instant,
    ) {
        self.open_token(StartToken { domain, term, opened: now }, Some(ArrivalStep::Begun), report);
    }

    fn open_token(&mut self, token: StartToken, arrival: Option<ArrivalStep>, report: Box<DomainReport>) {
        let StartToken { domain, opened, .. } = token;
        let stage = Stage::Permitted { token, begun: false, asked: opened };
        let asked = Asked { asker: None, since: opened, kept: false, arrival, report };
        self.starts.insert(domain, UserStart { stage, asked });
    }

    /// `prepare begin` of a migration that was permitted, once. False for anything else: it is another start.
    pub(in crate::member) fn prepares_arrival(&mut self, report: Box<DomainReport>) -> bool {
        let restores = self.restored.contains(&report.domain);
        let Some(UserStart { stage, asked }) = self.starts.get_mut(&report.domain) else { return false };
        let permitted = matches!(stage, Stage::Permitted { .. });
        let expected = permitted && !restores && asked.arrival == Some(ArrivalStep::Begun);
        if expected {
            (asked.arrival, asked.report) = (Some(ArrivalStep::Prepared), report);
        }
        expected
    }

    /// Libvirt is about to run QEMU. False when no start of the domain is permitted.
    pub(in crate::member) fn begins(&mut self, domain: DomainId) -> bool {
        let Some(UserStart { stage, asked }) = self.starts.get_mut(&domain) else { return false };
        let in_order = matches!(asked.arrival, None | Some(ArrivalStep::Prepared));
        match stage {
            Stage::Permitted { begun, .. } if in_order => {
                *begun = true;
                asked.arrival = asked.arrival.map(|_| ArrivalStep::Run);
                true
            }
            _ => false,
        }
    }

    /// The permission was not given after all: nothing comes of the start. False when it is another one.
    pub(in crate::member) fn refused(&mut self, domain: DomainId, opened: Instant) -> bool {
        let is_it = matches!(
            self.starts.get(&domain).map(|start| &start.stage),
            Some(Stage::Permitted { token, begun: false, .. }) if token.opened == opened
        );
        if is_it {
            self.starts.remove(&domain);
        }
        is_it
    }

    /// The starts of which libvirt is to be asked now.
    pub(in crate::member) fn unexplained(&mut self, now: Instant) -> Vec<StartToken> {
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
    pub(in crate::member) fn activity(
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
    pub(in crate::member) fn fencer(&mut self, half: &FencerHalf) -> Vec<StartNews> {
        let news = |(domain, start): (&DomainId, &mut UserStart)| {
            let token = start.stage.token()?;
            if half.processes.iter().any(|process| token.came_up_as(process)) {
                return Some(StartNews::Runs(*domain));
            }
            match &mut start.stage {
                Stage::GivingUp { begun, proof, .. } => proof
                    .shown(half, *domain)
                    .then_some(StartNews::GivenUp { domain: *domain, begun: *begun }),
                _ => None,
            }
        };
        let news: Vec<_> = self.starts.iter_mut().filter_map(news).collect();
        for item in &news {
            let (StartNews::Runs(domain) | StartNews::GivenUp { domain, .. }) = item;
            self.starts.remove(domain);
        }
        news
    }

    /// The term under whose token a start was permitted before, whose end nobody has told.
    pub(in crate::member) fn open_term(&self, domain: DomainId) -> Option<Term> {
        self.token(domain).map(|token| token.term)
    }

    /// True once libvirt was about to run QEMU under that token.
    pub(in crate::member) fn has_begun(&self, domain: DomainId) -> bool {
        self.starts.get(&domain).is_some_and(|start| start.stage.has_begun())
    }

    fn token(&self, domain: DomainId) -> Option<StartToken> {
        self.starts.get(&domain)?.stage.token()
    }

    /// The open tokens, for the page.
    pub(in crate::member) fn tokens(&self) -> impl Iterator<Item = StartToken> {
        self.starts.values().filter_map(|start| start.stage.token())
    }

    /// The domains whose processes may show at any moment, as their definitions describe them: the fencer must know their
    /// storages ahead of need.
    pub(in crate::member) fn permitted(&self) -> impl Iterator<Item = &DomainReport> {
        let open = self.starts.values().filter(|start| start.stage.token().is_some());
        open.map(|start| &*start.asked.report)
    }
}
