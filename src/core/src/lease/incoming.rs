//! The domains that are about to come in by a live migration: acquired as `incoming`, and not owned yet. It remembers; it never
//! writes.

use std::collections::BTreeMap;

use crate::ids::{DomainId, Term};

/// The incoming entries of an incarnation.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct IncomingDomains {
    domains: BTreeMap<DomainId, Term>,
}

impl IncomingDomains {
    pub(super) fn insert(&mut self, domain: DomainId, term: Term) {
        self.domains.insert(domain, term);
    }

    pub(super) fn remove(&mut self, domain: DomainId) -> Option<Term> {
        self.domains.remove(&domain)
    }

    pub(super) fn term(&self, domain: DomainId) -> Option<Term> {
        self.domains.get(&domain).copied()
    }
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for IncomingDomains {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.domains.values_mut().for_each(|term| term.each_mark(f));
    }
}
