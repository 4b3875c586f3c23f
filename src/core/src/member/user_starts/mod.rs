//! Starts that users ask libvirt for and libvirt's hook asks this host about: from the hook's question until the fencer shows
//! the process, or nothing of it can come any more (PROTOCOL 4). It holds the start tokens; the lease is acquired, and the
//! entry ended, by the leases.

mod permitted;
mod start;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use start::Asked;
pub(super) use waiting::ANSWER_WITHIN;

use super::RequestId;
use crate::ids::DomainId;
use crate::lease::GoneProof;
use crate::time::Instant;
use start::{Stage, UserStart};

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

    /// True while a start of this domain is under way, whatever its kind.
    pub(super) fn knows(&self, domain: DomainId) -> bool {
        self.starts.contains_key(&domain)
    }

    /// True while a migration of this domain to this host is under way and no process of it shows.
    pub(super) fn arrives(&self, domain: DomainId) -> bool {
        self.starts.get(&domain).is_some_and(|start| start.asked.arrives())
    }

    /// The start that follows is from a saved image.
    pub(super) fn restores(&mut self, domain: DomainId) {
        self.restored.insert(domain);
    }

    /// True when it is, asked as long as that start is not acquired.
    pub(super) fn is_restored(&self, domain: DomainId) -> bool {
        self.restored.contains(&domain)
    }

    fn put(&mut self, stage: Stage, asked: Asked) -> Overtaken {
        let before = self.starts.insert(asked.report.domain, UserStart { stage, asked });
        before.and_then(|before| before.asked.asker)
    }

    /// The hook tells that libvirt has cleaned up after a run or a start of the domain.
    pub(super) fn released(&mut self, domain: DomainId, now: Instant) -> Overtaken {
        self.restored.remove(&domain);
        let UserStart { stage, asked } = self.starts.get_mut(&domain)?;
        match stage {
            // What it acquires is given back as soon as that is over, unless it is kept.
            Stage::Acquiring => return asked.asker.take(),
            // It was told to try again: this is the end of the try before.
            Stage::Barrier { .. } if asked.kept && asked.asker.is_none() => {}
            // What was acquired for it is given back by whoever finds it taken.
            Stage::Leaving | Stage::Barrier { .. } => {
                return self.starts.remove(&domain).and_then(|start| start.asked.asker);
            }
            Stage::Permitted { token, begun, .. } => {
                *stage = Stage::GivingUp { token: *token, begun: *begun, proof: GoneProof::new(now) };
            }
            Stage::GivingUp { .. } => {}
        }
        None
    }

    /// The own lease has ended: nothing is permitted any more. Tokens stay until they are closed.
    pub(super) fn lost(&mut self) -> Vec<RequestId> {
        let mut askers = Vec::new();
        self.starts.retain(|_, start| {
            let is_open = start.stage.token().is_some();
            if !is_open {
                askers.extend(start.asked.asker.take());
            }
            is_open
        });
        askers
    }
}
