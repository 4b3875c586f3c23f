//! Start tokens that a restarted agent finds in the page: starts that its former process permitted.
//!
//! Libvirt carries on with a start whose caller has died, so such a token is closed only when the fencer shows the
//! domain's process, or when libvirt has said for a while that it does not run and the fencer then shows no process. It never
//! forgets one without proof.

use std::collections::BTreeSet;
use std::time::Duration;

use super::proof::{GoneProof, shows};
use crate::fencing::{FencerHalf, StartToken};
use crate::ids::DomainId;
use crate::time::{Instant, ObserverDeadline};

/// How long libvirt must say that the domain does not run: a start that it had accepted shows by then.
const START_SHOWS: Duration = Duration::from_secs(10);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Found {
    token: StartToken,
    /// Since when libvirt says without a break that it does not run.
    idle_since: Option<Instant>,
    proof: Option<GoneProof>,
}

/// All of them that are still open.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct FoundTokens {
    open: Vec<Found>,
}

impl FoundTokens {
    pub(super) fn new(tokens: &[StartToken]) -> Self {
        let found = |token: &StartToken| Found { token: *token, idle_since: None, proof: None };
        Self { open: tokens.iter().map(found).collect() }
    }

    /// Libvirt's full list of the domains that run here.
    pub(super) fn listed(&mut self, running: &BTreeSet<DomainId>, now: Instant) {
        for found in &mut self.open {
            if running.contains(&found.token.domain) {
                (found.idle_since, found.proof) = (None, None);
                continue;
            }
            let since = *found.idle_since.get_or_insert(now);
            if found.proof.is_none() && ObserverDeadline(since.plus(START_SHOWS)).reached(now) {
                found.proof = Some(GoneProof::new(now));
            }
        }
    }

    /// The fencer's half. True when a token was closed by it.
    pub(super) fn fencer(&mut self, half: &FencerHalf) -> bool {
        let before = self.open.len();
        self.open.retain_mut(|found| {
            let domain = found.token.domain;
            let gone = found.proof.as_mut().is_some_and(|proof| proof.shown(half, domain));
            !gone && !shows(half, domain)
        });
        self.open.len() != before
    }

    /// Libvirt goes on with a start of this domain, if one is open: what it said before closes it no more.
    pub(super) fn goes_on(&mut self, domain: DomainId) -> bool {
        let mut open = false;
        for found in self.open.iter_mut().filter(|found| found.token.domain == domain) {
            (found.idle_since, found.proof, open) = (None, None, true);
        }
        open
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn is_open(&self, domain: DomainId) -> bool {
        self.open.iter().any(|found| found.token.domain == domain)
    }

    pub(super) fn to_page(&self) -> Vec<StartToken> {
        self.open.iter().map(|found| found.token).collect()
    }
}
