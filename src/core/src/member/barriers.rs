//! The barriers that a driver has under way: at most one a domain, since storage that hangs must not collect threads.

use std::collections::BTreeMap;

use crate::ids::DomainId;
use crate::time::Instant;

/// Of a domain whose barrier was asked for again meanwhile, the mark and the chain it is to be of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Barriers(BTreeMap<DomainId, Option<(Instant, u64)>>);

impl Barriers {
    /// `Command::Barrier` asks for one of this mark and disk chain. True when it is to be written now; false while an earlier one of
    /// the domain still waits for its storage: this one waits for that.
    pub fn asked(&mut self, domain: DomainId, asked: Instant, chain_hash: u64) -> bool {
        if let Some(again) = self.0.get_mut(&domain) {
            *again = Some((asked, chain_hash));
            return false;
        }
        self.0.insert(domain, None);
        true
    }

    /// One was written, or failed. The mark and the chain of which another must be written now, if it was asked for again: the one that
    /// ended is no answer then, since it was issued too early. Without that its outcome is the answer.
    pub fn ended(&mut self, domain: DomainId) -> Option<(Instant, u64)> {
        let again = self.0.get_mut(&domain).and_then(Option::take);
        if again.is_none() {
            self.0.remove(&domain);
        }
        again
    }

    /// The driver could not begin to write it.
    pub fn given_up(&mut self, domain: DomainId) {
        self.0.remove(&domain);
    }

    /// True when none is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_that_was_issued_before_it_was_asked_for_again_is_no_answer() {
        let (domain, mut barriers) = (DomainId([1; 16]), Barriers::default());
        let at = |ns| Instant { boot_ns: ns, raw_ns: ns };
        assert!(barriers.asked(domain, at(1), 1));
        assert!(!barriers.asked(domain, at(2), 2), "no second one waits beside it");
        assert!(!barriers.asked(domain, at(3), 3));
        assert!(barriers.asked(DomainId([2; 16]), at(1), 1), "another domain's");
        assert_eq!(barriers.ended(domain), Some((at(3), 3)), "the latest mark and chain");
        assert_eq!(barriers.ended(domain), None);
        assert!(barriers.asked(domain, at(4), 4));
        barriers.given_up(domain);
        assert!(barriers.asked(domain, at(5), 5));
    }
}
