//! Which domains wait for an owner, as the pages last read show it. A picture that may be old: the acquire looks again.

use crate::format::{LeaseBase, LeaseEntry, LeaseFlags};
use crate::ids::{DomainId, Incarnation};
use crate::lease::{Conflict, KeyView, OwnPage, PageScan};

/// A domain whose top is recoverable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Candidate {
    pub(super) domain: DomainId,
    /// Whose entry the top is.
    pub(super) from: Incarnation,
    pub(super) top: LeaseEntry,
    /// A live incarnation stands against it.
    pub(super) taken_by: Option<(Incarnation, Conflict)>,
}

impl Candidate {
    /// True when a hold keeps it from being recovered.
    pub(super) fn held(&self) -> bool {
        self.top.flags.contains(LeaseFlags::HOLD)
    }
}

/// All HA domains of a page whose top is an orphan, or own by a gone incarnation.
pub(super) fn candidates(
    scan: &PageScan,
    own: &OwnPage,
    gone: &dyn Fn(Incarnation) -> bool,
) -> Vec<Candidate> {
    let me = own.incarnation();
    let candidate = |domain: DomainId| {
        let view = KeyView::of(scan, own, domain);
        let (from, top) = *view.top()?;
        let recoverable = view.base(gone) == LeaseBase::Recoverable && top.flags.contains(LeaseFlags::HA);
        recoverable.then(|| Candidate { domain, from, top, taken_by: view.conflict(me, gone, None) })
    };
    scan.keys(own).into_iter().filter_map(candidate).collect()
}
