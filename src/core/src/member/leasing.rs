//! Domain leases and recovery, as the member drives them: when they may use the storage thread, what they are told of
//! this host's domains, and what follows from what they say.

use super::Member;
use crate::format::LeasePage;
use crate::ids::{DomainId, Incarnation};

impl Member {
    pub(super) fn leases_after_rejoin(&mut self, _own: Incarnation, _pages: Vec<LeasePage>) {}

    pub(super) fn leases_after_restart(&mut self, _own: Incarnation) {}

    /// True when no lease work is under way and no want is left.
    pub(super) fn lease_work_is_over(&self) -> bool {
        true
    }

    pub(super) fn page_versions(&self) -> [u16; 16] {
        [0; 16]
    }

    /// A protected domain that runs here, by libvirt or by the fencer's scan.
    pub(super) fn a_protected_domain(&self) -> Option<DomainId> {
        let fencer = self.fencer.as_ref()?;
        fencer
            .processes
            .iter()
            .map(|process| process.domain)
            .find(|domain| !self.half.exempt.contains(domain))
    }
}

impl Member {
    pub(super) fn domain_statuses(&self) -> Vec<super::DomainStatus> {
        Vec::new()
    }

    pub(super) fn recovery_statuses(&self) -> Vec<super::RecoveryStatus> {
        Vec::new()
    }

    pub(super) fn domain_counts(&self, _incarnation: Incarnation) -> (Option<u32>, Option<u32>) {
        (None, None)
    }
}
