//! What the agent's process knows of the page: what it wrote there last, and what it last saw of the fencer's half. The
//! driver reads and writes; what follows from it, whether a start may go on and which processes a kill means, is said here.

use std::time::Duration;

use crate::fencing::{AgentHalf, DomainProcess, FencerHalf, HalfReading};
use crate::ids::DomainId;
use crate::time::Instant;

/// Between two reads of the fencer's half, each of which becomes an `Input::Fencer`.
pub const FENCER_INTERVAL: Duration = Duration::from_millis(50);

/// The page as this process has seen it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sight {
    own: Option<AgentHalf>,
    seen: Option<FencerHalf>,
    bad_reads: u64,
}

impl Sight {
    /// The half was written to the page.
    pub fn wrote(&mut self, half: AgentHalf) {
        self.own = Some(half);
    }

    /// The fencer handed out another page than before: what is to be written there before anything else, if this process has
    /// written a half already. The fencer, which latches an end that it never accepted, says the rest.
    pub fn page_replaced(&mut self) -> Option<AgentHalf> {
        self.seen = None;
        self.own.clone()
    }

    /// Takes a read of the fencer's half. What it returns goes to the member as `Input::Fencer`; none when there is nothing
    /// to be trusted: the beat that was seen last then grows old by itself.
    pub fn looked(&mut self, found: HalfReading<FencerHalf>) -> Option<&FencerHalf> {
        match found {
            HalfReading::Good(half) => self.seen = Some(half),
            HalfReading::Empty => {}
            HalfReading::Bad => {
                self.bad_reads = self.bad_reads.saturating_add(1);
                return None;
            }
        }
        self.seen.as_ref()
    }

    /// Whether a start that has its token in the page may go on; `found` must have been read after that write. Had the fencer
    /// latched an end before it could see the token, the start would come too late to be counted: so its half must show
    /// no latch, and the lease's end must not have come (PROTOCOL 4). A fencer that does not beat would not end what is
    /// started.
    pub fn permits_start(&mut self, now: Instant, found: HalfReading<FencerHalf>) -> bool {
        let Some(own) = self.own.as_ref().filter(|half| !half.lease_end.reached(now)) else { return false };
        let patience = own.terms.longest_gap();
        let beats = |half: &FencerHalf| now.since_by_faster(half.beat) <= patience;
        self.looked(found).is_some_and(|half| half.armed && half.latched.is_none() && beats(half))
    }

    /// The processes that a kill by the agent means, of those that the fencer has found: all of one domain; all that are not
    /// exempt when none is named. Where `found` cannot be trusted, what was seen before it counts: a process is named by
    /// pid and start time, so that nothing else is hit.
    pub fn to_kill(
        &mut self,
        domain: Option<DomainId>,
        found: HalfReading<FencerHalf>,
    ) -> impl Iterator<Item = &DomainProcess> {
        self.looked(found);
        let exempt = self.own.as_ref().map(|half| half.exempt.as_slice()).unwrap_or_default();
        let meant = move |id: DomainId| domain.map_or_else(|| !exempt.contains(&id), |domain| domain == id);
        let processes = self.seen.iter().flat_map(|half| &half.processes);
        processes.filter(move |process| meant(process.domain))
    }

    /// What this process wrote last.
    #[must_use]
    pub fn own(&self) -> Option<&AgentHalf> {
        self.own.as_ref()
    }

    /// The fencer's half as last seen.
    #[must_use]
    pub fn seen(&self) -> Option<&FencerHalf> {
        self.seen.as_ref()
    }

    /// How often the fencer's half was unreadable.
    #[must_use]
    pub fn bad_reads(&self) -> u64 {
        self.bad_reads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Terms;
    use crate::time::HolderDeadline;

    fn at(seconds: u64) -> Instant {
        Instant::default().plus(Duration::from_secs(seconds))
    }

    /// The lease runs until 10 s, of a ttl of 8 s, under a fencer that beat at 9 s.
    fn armed() -> (Sight, FencerHalf) {
        let end = HolderDeadline(at(10));
        let terms = Terms { lease_ttl: Duration::from_secs(8), ..Terms::default() };
        let mut sight = Sight::default();
        sight.wrote(AgentHalf { lease_end: end, terms, ..AgentHalf::default() });
        (sight, FencerHalf { armed: true, lease_end: end, beat: at(9), ..FencerHalf::default() })
    }

    fn process(domain: u8) -> DomainProcess {
        DomainProcess { domain: DomainId([domain; 16]), pid: u32::from(domain) + 100, ..Default::default() }
    }

    #[test]
    fn a_start_goes_on_only_before_the_leases_end() {
        let (mut sight, half) = armed();
        assert!(sight.permits_start(at(9), HalfReading::Good(half.clone())));
        assert!(!sight.permits_start(at(10), HalfReading::Good(half)), "its process would outlive the kill");
    }

    #[test]
    fn nothing_is_started_under_a_fencer_that_does_not_beat() {
        let (mut sight, half) = armed();
        // A quarter of the ttl is 2 s.
        let half = FencerHalf { beat: at(6), ..half };
        assert!(sight.permits_start(at(8), HalfReading::Good(half.clone())));
        assert!(
            !sight.permits_start(at(9), HalfReading::Good(half)),
            "nobody would end it at the lease's end"
        );
    }

    #[test]
    fn a_latch_that_came_just_before_the_token_denies_the_start() {
        let (mut sight, half) = armed();
        sight.looked(HalfReading::Good(half.clone()));
        let latched = FencerHalf { latched: Some(HolderDeadline(at(5))), ..half };
        assert!(
            !sight.permits_start(at(6), HalfReading::Good(latched)),
            "the fencer may not have seen the token"
        );
    }

    #[test]
    fn a_half_that_cannot_be_read_denies_the_start_whatever_was_seen_before() {
        let (mut sight, half) = armed();
        sight.looked(HalfReading::Good(half.clone()));
        assert!(!sight.permits_start(at(9), HalfReading::Bad), "it may be latched");
        assert_eq!(sight.looked(HalfReading::Bad), None);
        assert_eq!((sight.bad_reads(), sight.seen()), (2, Some(&half)));
    }

    #[test]
    fn before_anything_was_written_nothing_is_started() {
        let (_, half) = armed();
        assert!(!Sight::default().permits_start(at(1), HalfReading::Good(half)));
    }

    #[test]
    fn a_kill_of_one_domain_means_its_processes_and_a_kill_of_all_leaves_the_exempt() {
        let (mut sight, half) = armed();
        sight
            .wrote(AgentHalf { exempt: vec![DomainId([2; 16])], ..sight.own().cloned().unwrap_or_default() });
        // Zero: a process whose domain nobody knows.
        let half = FencerHalf { processes: [0, 1, 2].map(process).into(), ..half };
        let one: Vec<_> = sight.to_kill(Some(DomainId([2; 16])), HalfReading::Good(half)).copied().collect();
        assert_eq!(one, [process(2)]);
        let all: Vec<_> = sight.to_kill(None, HalfReading::Bad).copied().collect();
        assert_eq!(all, [process(0), process(1)], "what was seen before a bad read still counts");
    }

    #[test]
    fn into_another_page_goes_what_was_written_last_and_the_old_pages_fencer_says_nothing_any_more() {
        let (mut sight, half) = armed();
        sight.looked(HalfReading::Good(half));
        assert_eq!(sight.page_replaced(), sight.own().cloned());
        assert_eq!(sight.looked(HalfReading::Empty), None);
        assert_eq!(Sight::default().page_replaced(), None);
    }
}
