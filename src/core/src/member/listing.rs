//! When a driver lists libvirt's domains, and what it ends through libvirt where the fencer's list does not do: libvirt is
//! slow, and the second line only.

use std::time::Duration;

use super::DomainReport;
use crate::ids::DomainId;
use crate::time::Instant;

/// The longest between two listings: events that happen while libvirt is away are lost.
pub const LISTING_INTERVAL: Duration = Duration::from_secs(2);

/// When the next listing is due. While libvirt is away there is none; it is away at first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listing {
    listed: Option<Instant>,
    away: bool,
}

impl Default for Listing {
    fn default() -> Self {
        Self { listed: None, away: true }
    }
}

impl Listing {
    /// Libvirt told of a change: after it all is listed anew.
    pub fn changed(&mut self) {
        *self = Self { listed: None, away: false };
    }

    /// Libvirt does not answer.
    pub fn away(&mut self) {
        self.away = true;
    }

    /// True when all is to be listed now, which the caller then does; `nudged` when somebody else has a reason.
    pub fn due(&mut self, now: Instant, nudged: bool) -> bool {
        let old = self.listed.is_none_or(|at| now.since_by_faster(at) >= LISTING_INTERVAL);
        let due = (old || nudged) && !self.away;
        if due {
            self.listed = Some(now);
        }
        due
    }
}

/// True when `Command::Destroy` is to be done through libvirt too, after this many processes of the domain were killed and
/// this many could not be: libvirt says that it runs, and no process of it is known to be its.
#[must_use]
pub fn destroy_needs_libvirt(killed: usize, failed: usize) -> bool {
    killed == 0 || failed > 0
}

/// The domains that `Command::KillAll` ends through libvirt too, by libvirt's last list: what started after the fencer's
/// last scan is not in the fencer's.
pub fn guarded(reports: &[DomainReport]) -> impl Iterator<Item = DomainId> {
    reports.iter().filter(|report| report.running && !report.protection.exempt).map(|report| report.domain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Protection;

    fn at(ms: u64) -> Instant {
        Instant::default().plus(Duration::from_millis(ms))
    }

    #[test]
    fn all_is_listed_after_each_change_each_nudge_and_every_two_seconds_and_never_while_libvirt_is_away() {
        let mut listing = Listing::default();
        assert!(!listing.due(at(0), true), "it has not answered yet");
        listing.changed();
        assert!(listing.due(at(0), false));
        assert!(!listing.due(at(1999), false));
        assert!(listing.due(at(1999), true));
        assert!(!listing.due(at(3998), false));
        assert!(listing.due(at(3999), false));
        listing.changed();
        assert!(listing.due(at(4000), false));
        listing.away();
        assert!(!listing.due(at(9000), true));
    }

    #[test]
    fn libvirt_is_the_second_line_where_no_process_was_found_or_one_could_not_be_signalled() {
        assert!(destroy_needs_libvirt(0, 0) && destroy_needs_libvirt(1, 1));
        assert!(!destroy_needs_libvirt(1, 0));
    }

    #[test]
    fn guarded_is_what_runs_and_is_not_exempt() {
        let report = |domain, running, exempt| DomainReport {
            domain: DomainId([domain; 16]),
            name: String::new(),
            running,
            protection: Protection { exempt, ..Protection::default() },
            vcpus: 1,
            memory_mib: 1,
            definition_hash: 0,
            definition_version: 0,
            storages: Vec::new(),
            unanswered: false,
            doubtful: false,
        };
        let reports = [report(1, true, false), report(2, false, false), report(3, true, true)];
        assert_eq!(guarded(&reports).collect::<Vec<_>>(), [DomainId([1; 16])]);
    }
}
