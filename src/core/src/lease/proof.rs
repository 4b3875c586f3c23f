//! The fencer's word that a domain has no process: the proof behind every end of an own entry and every closed token.
//!
//! It judges halves of the page; it never reads one.

use crate::fencing::FencerHalf;
use crate::ids::DomainId;
use crate::planted::planted;
use crate::time::Instant;

/// Waits for a scan of the host's processes that began after an instant and shows no process of a domain.
///
/// A half says only how many scans have ended: the one after the first half beaten after the instant may have begun before
/// it, so the next but one counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GoneProof {
    asked: Instant,
    target: Option<u64>,
}

impl GoneProof {
    /// A proof for what is so from this instant on.
    #[must_use]
    pub fn new(asked: Instant) -> Self {
        Self { asked, target: None }
    }

    /// Takes a half. True once such a scan has shown no process of the domain; a process whose domain is not known
    /// may be its.
    pub fn shown(&mut self, half: &FencerHalf, domain: DomainId) -> bool {
        if planted!(ReleaseBeforeStop) {
            return true;
        }
        let target = match self.target {
            Some(target) => target,
            None if half.beat.boot_ns > self.asked.boot_ns && half.beat.raw_ns > self.asked.raw_ns => {
                self.target = Some(half.scans.saturating_add(2));
                return false;
            }
            None => return false,
        };
        half.scans >= target && !shows(half, domain) && !shows(half, DomainId::default())
    }
}

/// True while the fencer's last scan shows a process of the domain.
#[must_use]
pub fn shows(half: &FencerHalf, domain: DomainId) -> bool {
    half.processes.iter().any(|process| process.domain == domain)
}

#[cfg(feature = "model-check")]
impl crate::marks::Marks for GoneProof {
    fn each_mark(&mut self, f: &mut dyn FnMut(crate::marks::Mark<'_>)) {
        self.asked.each_mark(f);
    }
}
