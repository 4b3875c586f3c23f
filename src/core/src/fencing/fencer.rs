//! The fencer's decisions: what is guarded, when a lease has ended, what must be killed, what is proven. The process
//! around it (or the simulator) reads the page, scans, kills, and writes what this says; nothing here touches anything.
//!
//! One beat: `handle_page` → `publish` (write `half()`) → kill what is `condemned` → `handle_scan` → `publish`. The order
//! matters once: a latch is published before the reading of the agent's half that counts for CLEAN.

use std::time::Duration;

use crate::fencing::state::{End, Guard, LeaseName, State};
use crate::fencing::{
    AgentHalf, ArmedMarker, DomainProcess, EndCause, Event, FencerHalf, Marker, QuiesceTarget, Refusal,
    StartToken, Unproven, Wish,
};
use crate::ids::{BootId, DomainId, Term};
use crate::planted::planted;
use crate::terms::PET_INTERVAL;
use crate::time::{HolderDeadline, Instant, Now};

/// The longest ttl that any configuration may have: an end beyond it is refused whatever the page says the ttl is.
const LONGEST_TTL: Duration = Duration::from_secs(15 * 60);
/// The most events kept until somebody takes them.
const MOST_EVENTS: usize = 64;
/// As many entries as a list of the page has at most: each list here has room for them from the start, so that nothing is
/// allocated between arming and the proof (R7).
pub(super) const MOST: usize = 1024;

/// What a look at the agent's half of the page found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageView<'a> {
    /// There is no page, or the agent has never written its half, or no slot of it is whole.
    Unreadable,
    /// The newest whole slot.
    Good(&'a AgentHalf),
}

/// The state machine.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Fencer {
    pub(super) boot_id: BootId,
    pub(super) state: State,
    pub(super) half: FencerHalf,
    /// The arming that waits for its marker.
    pub(super) arming: Option<Guard>,
    /// True while a disarming waits for its marker.
    pub(super) disarming: bool,
    /// True while the marker does not say that this lease is guarded, though it is: a fencer that was started found another
    /// marker than its page. Were the page lost as well, the marker alone would speak.
    pub(super) marker_owed: bool,
    pub(super) tokens: Vec<StartToken>,
    /// Tokens whose process was seen: (domain, term, opened).
    pub(super) seen_starts: Vec<(DomainId, Term, Instant)>,
    pub(super) exempt: Vec<DomainId>,
    pub(super) quiesce: Vec<QuiesceTarget>,
    /// Domains all of whose storages stand there.
    pub(super) covered: Vec<DomainId>,
    /// What writers that are no domain's have open, by device number.
    pub(super) written: Vec<u64>,
    /// There are more of these than can be kept.
    pub(super) too_many_writers: bool,
    /// Storages shown quiet since the latch, and when that was begun.
    pub(super) quiet: Vec<(QuiesceTarget, Instant)>,
    /// True when the agent's half, as last read, lists domain leases of its own.
    pub(super) owns: bool,
    /// The start of the last complete scan that showed no protected process, whoever has searched for what no file shows.
    pub(super) clear_scan: Option<Instant>,
    /// True when the last scan rests on a search for what libvirt's files do not show.
    pub(super) searched: bool,
    /// How long the watchdog's device holds after a pet; zero without one.
    pub(super) watchdog: Duration,
    /// True when this host resets itself where it has no proof.
    pub(super) resets: bool,
    /// When the reset was last tried, since the latch.
    pub(super) reset_tried: Option<Instant>,
    pub(super) last_refusal: Option<Refusal>,
    pub(super) events: Vec<Event>,
    /// Room for [`End::seen`], made when it was armed; empty.
    spare: Vec<DomainId>,
}

impl Fencer {
    pub(super) fn in_state(boot_id: BootId, state: State, half: FencerHalf) -> Self {
        let mut fencer = Self {
            boot_id,
            state,
            half,
            arming: None,
            disarming: false,
            marker_owed: false,
            tokens: Vec::with_capacity(MOST),
            seen_starts: Vec::with_capacity(MOST),
            exempt: Vec::with_capacity(MOST),
            quiesce: Vec::with_capacity(MOST),
            covered: Vec::with_capacity(MOST),
            written: Vec::with_capacity(MOST),
            too_many_writers: false,
            quiet: Vec::with_capacity(MOST),
            owns: false,
            clear_scan: None,
            searched: false,
            watchdog: Duration::ZERO,
            resets: false,
            reset_tried: None,
            last_refusal: None,
            events: Vec::with_capacity(MOST_EVENTS),
            spare: Vec::with_capacity(MOST),
        };
        fencer.half.processes.reserve(MOST);
        fencer.show_state();
        fencer
    }

    /// Takes a look at the agent's half, and the clock: call it at least every [`PET_INTERVAL`], and at
    /// [`Self::next_end`].
    pub fn handle_page(&mut self, now: &Now, view: PageView<'_>) {
        self.half.beat = now.instant;
        // A page of another boot means nothing.
        let view = match view {
            PageView::Good(half) if half.boot_id == self.boot_id && !self.waits_for_copy() => view,
            _ => PageView::Unreadable,
        };
        self.arming = None;
        self.disarming = false;
        self.latch_if_over(now);
        match (&self.state, view) {
            (State::Armed(_), PageView::Good(half)) => self.guard(now, half),
            (State::Armed(_), PageView::Unreadable) => self.bear_without_page(now),
            (State::Ended(_), PageView::Good(half)) => self.after_the_end(now, half),
            (State::NeverArmed | State::Disarmed { .. }, PageView::Good(half)) => {
                self.before_arming(now, half);
            }
            (_, PageView::Unreadable) => self.page_unreadable(),
        }
        self.say_when_unproven(now.instant);
        self.show_state();
    }

    /// The lease is over when its end has passed by the faster clock, or the host was suspended since it was armed (R4).
    fn latch_if_over(&mut self, now: &Now) {
        let State::Armed(guard) = &self.state else { return };
        let armed_at = Now { suspended_ns: guard.suspended_ns, ..*now };
        if now.suspended_since(&armed_at) {
            self.latch(now.instant, EndCause::Suspended);
        } else if guard.end.is_some_and(|end| end.reached(now.instant)) && !planted!(UnExpires) {
            self.latch(now.instant, EndCause::Passed);
        }
    }

    fn latch(&mut self, at: Instant, cause: EndCause) {
        let State::Armed(guard) = &self.state else { return };
        let (lease, arm_count) = (guard.lease, guard.arm_count);
        let latched = guard.end.map_or(HolderDeadline(at), |end| end.min(HolderDeadline(at)));
        let mut seen = std::mem::take(&mut self.spare);
        let protected = self.half.processes.iter().filter(|process| self.protects(process));
        protected.for_each(|process| note_seen(&mut seen, process.domain));
        let ran = self.owns || !self.tokens.is_empty() || !seen.is_empty();
        self.quiet.clear();
        self.arming = None;
        self.disarming = false;
        self.reset_tried = None;
        self.state = State::Ended(End {
            lease,
            arm_count,
            latched,
            at,
            cause,
            published: false,
            tokens_read: None,
            ran,
            seen,
            unquiet: at,
            stirred: true,
            forced: false,
            obstacle: Unproven::ProcessLeft,
            said: None,
            clean: None,
        });
        self.note(Event::Latched(lease.incarnation, cause));
        self.show_state();
    }

    /// Armed, and the agent's half can be read.
    fn guard(&mut self, now: &Now, half: &AgentHalf) {
        let State::Armed(guard) = &mut self.state else { return };
        guard.bad_since = None;
        if !guard.lease.fits(half) {
            // A new generation is taken only after CLEAN: until then the old lease goes on to its end.
            self.refuse(half, Refusal::NotClean);
            return;
        }
        guard.lease = LeaseName::of(half);
        self.take_lists(half);
        self.take_end(now, half);
        self.take_wish(now, half);
    }

    /// Of one incarnation a new end counts only if at most now + ttl. That the old one has not passed was looked at first.
    /// An earlier end is always taken: a planned fence. The echo of the terms goes with the end: where one is refused, the end
    /// that is guarded was made by the terms before, and a shorter ttl in the echo would promise what is not so (PROTOCOL 5).
    fn take_end(&mut self, now: &Now, half: &AgentHalf) {
        if !within_ttl(now, half) {
            if planted!(TtlLoweredAtAck) {
                self.half.terms = half.terms;
            }
            self.refuse(half, Refusal::BeyondTtl);
            return;
        }
        self.half.terms = half.terms;
        if let State::Armed(guard) = &mut self.state {
            guard.end = Some(half.lease_end);
        }
        if half.lease_end.reached(now.instant) {
            self.latch(now.instant, EndCause::CutShort);
        }
    }

    fn take_wish(&mut self, now: &Now, half: &AgentHalf) {
        let State::Armed(guard) = &self.state else { return };
        if half.arm_count == guard.arm_count {
            self.disarming = half.wish == Wish::Disarm;
        } else if half.wish == Wish::Armed && within_ttl(now, half) {
            self.arming = Some(Guard { arm_count: half.arm_count, ..*guard });
        }
    }

    /// Armed, and no slot of the agent's half is whole: borne for one pet interval, which is part of the inequality that
    /// bounds the fence budget; then the lease is taken for expired.
    fn bear_without_page(&mut self, now: &Now) {
        let State::Armed(guard) = &mut self.state else { return };
        let since = *guard.bad_since.get_or_insert(now.instant);
        if now.instant.since_by_faster(since) >= PET_INTERVAL {
            self.latch(now.instant, EndCause::PageLost);
        }
    }

    fn page_unreadable(&mut self) {
        if let State::Ended(end) = &mut self.state {
            end.tokens_read = None;
        }
    }

    fn after_the_end(&mut self, now: &Now, half: &AgentHalf) {
        let State::Ended(end) = &mut self.state else { return };
        let (lease, is_clean) = (end.lease, end.clean.is_some() || planted!(GenerationWithoutClean));
        if lease.fits(half) {
            end.tokens_read = end.published.then_some(now.instant);
            end.lease = LeaseName::of(half);
            end.ran |= !half.tokens.is_empty() || !half.own.is_empty();
            // Until CLEAN nothing can be exempted: what ran under the lease ends with it. Nor can a storage be taken off the list,
            // and what was covered stays so.
            self.take_starts(half);
            self.take_voids(half);
            half.quiesce.iter().for_each(|target| add(&mut self.quiesce, target));
            half.covered.iter().for_each(|domain| add(&mut self.covered, domain));
            return;
        }
        end.tokens_read = None;
        if !is_clean {
            self.refuse(half, Refusal::NotClean);
        } else if lease.precedes(half) {
            self.take_lists(half);
            self.begin_arming(now, half);
        } else {
            self.refuse(half, Refusal::NotNewer);
        }
    }

    /// An exemption that the agent has found void, or that was taken back, ends also after the latch: nobody can tell what the domain
    /// writes on other hosts' storage but by its end (R6). A list that names more exempts no more.
    fn take_voids(&mut self, half: &AgentHalf) {
        self.exempt.retain(|domain| half.exempt.contains(domain));
        let State::Ended(end) = &mut self.state else { return };
        for process in &self.half.processes {
            // One that is killed before the next look shows in none: what it wrote, and where, is owed all the same.
            if !exempts(&self.exempt, process.domain) && end.seen.binary_search(&process.domain).is_err() {
                note_seen(&mut end.seen, process.domain);
                end.ran = true;
                end.stirred = true;
            }
        }
    }

    fn before_arming(&mut self, now: &Now, half: &AgentHalf) {
        self.take_lists(half);
        self.half.terms = half.terms;
        if let State::Disarmed { arm_count, lease } = self.state {
            if half.arm_count == arm_count {
                return;
            }
            // A new incarnation begins with zero protected domains, wherever it begins (R10).
            if !lease.fits(half) && !self.is_clear() && half.wish == Wish::Armed {
                self.refuse(half, Refusal::DomainsRun);
                return;
            }
        }
        self.begin_arming(now, half);
    }

    fn is_clear(&self) -> bool {
        self.clear_scan.is_some()
            && self.searched
            && self.tokens.is_empty()
            && !self.half.processes.iter().any(|p| self.protects(p))
    }

    fn begin_arming(&mut self, now: &Now, half: &AgentHalf) {
        if half.wish != Wish::Armed || half.incarnation.generation.0 == 0 || half.arm_count == 0 {
            return;
        }
        if !within_ttl(now, half) {
            self.refuse(half, Refusal::BeyondTtl);
        } else if half.lease_end.reached(now.instant) {
            self.refuse(half, Refusal::EndPassed);
        } else {
            self.half.terms = half.terms;
            self.arming = Some(Guard {
                lease: LeaseName::of(half),
                arm_count: half.arm_count,
                end: Some(half.lease_end),
                suspended_ns: now.suspended_ns,
                bad_since: None,
            });
        }
    }

    pub(super) fn take_lists(&mut self, half: &AgentHalf) {
        self.exempt.clone_from(&half.exempt);
        self.quiesce.clone_from(&half.quiesce);
        self.covered.clone_from(&half.covered);
        self.take_starts(half);
    }

    fn take_starts(&mut self, half: &AgentHalf) {
        self.tokens.clone_from(&half.tokens);
        self.owns = !half.own.is_empty();
        let tokens = &self.tokens;
        self.seen_starts.retain(|seen| tokens.iter().any(|t| (t.domain, t.term, t.opened) == *seen));
    }

    /// The marker that must be written now; then call [`Self::marker_written`]. Until then nothing is armed, or let go.
    #[must_use]
    pub fn marker_wanted(&self) -> Option<Marker> {
        if let Some(guard) = &self.arming {
            return Some(self.armed_marker(guard.lease, guard.arm_count, guard.suspended_ns));
        }
        match &self.state {
            State::Armed(guard) if self.disarming => {
                Some(Marker::Disarmed { boot_id: self.boot_id, arm_count: guard.arm_count })
            }
            State::Armed(guard) if self.marker_owed => {
                Some(self.armed_marker(guard.lease, guard.arm_count, guard.suspended_ns))
            }
            // Whatever the clocks say later: what has ended is not guarded again.
            State::Ended(end) if self.marker_owed => Some(self.armed_marker(end.lease, end.arm_count, 0)),
            _ => None,
        }
    }

    fn armed_marker(&self, lease: LeaseName, arm_count: u32, suspended_ns: u64) -> Marker {
        Marker::Armed(ArmedMarker {
            boot_id: self.boot_id,
            arm_count,
            file_id: lease.file_id,
            incarnation: lease.incarnation,
            suspended_ns,
        })
    }

    /// The marker that was wanted lies in its place.
    pub fn marker_written(&mut self) {
        self.marker_owed = false;
        if let Some(guard) = self.arming.take() {
            self.state = State::Armed(guard);
            self.half.armed_since_boot = true;
            self.last_refusal = None;
            self.quiet.clear();
            self.spare.reserve(MOST);
            self.note(Event::Armed(guard.lease.incarnation, guard.arm_count));
        } else if let State::Armed(guard) = self.state
            && self.disarming
        {
            self.disarming = false;
            self.state = State::Disarmed { arm_count: guard.arm_count, lease: guard.lease };
            self.note(Event::Disarmed(guard.arm_count));
        }
        self.show_state();
    }

    /// What is to be published in the fencer's half of the page. After it was written, call [`Self::published`].
    #[must_use]
    pub fn half(&self) -> &FencerHalf {
        &self.half
    }

    /// The half was written to the page: a latch in it can be seen by the agent from now on.
    pub fn published(&mut self) {
        if let State::Ended(end) = &mut self.state {
            end.published = true;
        }
    }

    /// True while every protected process must be killed as soon as it is seen.
    #[must_use]
    pub fn kills(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// True when this process must be killed now. An unknown domain (zero) is protected; an exempt one is left alone.
    #[must_use]
    pub fn condemns(&self, process: &DomainProcess) -> bool {
        self.kills() && self.protects(process)
    }

    pub(super) fn protects(&self, process: &DomainProcess) -> bool {
        !exempts(&self.exempt, process.domain)
    }

    /// The storages that must be shown quiet when the lease ends.
    #[must_use]
    pub fn storages(&self) -> &[QuiesceTarget] {
        &self.quiesce
    }

    /// True while a proof is owed: ended, and not CLEAN yet.
    #[must_use]
    pub fn owes_proof(&self) -> bool {
        matches!(&self.state, State::Ended(end) if end.clean.is_none())
    }

    /// True while a fencer that was restarted without its page waits for the agent's copy: at most one pet interval.
    #[must_use]
    pub fn waits_for_copy(&self) -> bool {
        matches!(&self.state, State::Armed(guard) if guard.end.is_none())
    }

    /// The lease end to wake up at.
    #[must_use]
    pub fn next_end(&self) -> Option<HolderDeadline> {
        match &self.state {
            State::Armed(guard) => guard.end,
            _ => None,
        }
    }

    /// Takes the next event for the log.
    pub fn take_events(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.drain(..)
    }

    pub(super) fn note(&mut self, event: Event) {
        if self.events.len() < MOST_EVENTS {
            self.events.push(event);
        }
    }

    fn refuse(&mut self, half: &AgentHalf, refusal: Refusal) {
        if half.wish == Wish::Armed && self.last_refusal != Some(refusal) {
            self.last_refusal = Some(refusal);
            self.note(Event::Refused(half.incarnation, refusal));
        }
    }

    /// Brings the published half in line with the state.
    pub(super) fn show_state(&mut self) {
        let half = &mut self.half;
        (half.latched, half.clean) = (None, None);
        match &self.state {
            State::NeverArmed => half.armed = false,
            State::Disarmed { arm_count, .. } => (half.armed, half.arm_count) = (false, *arm_count),
            State::Armed(guard) => {
                (half.armed, half.armed_since_boot, half.arm_count) = (true, true, guard.arm_count);
                half.incarnation = guard.lease.incarnation;
                half.lease_end = guard.end.unwrap_or_default();
            }
            State::Ended(end) => {
                (half.armed, half.armed_since_boot, half.arm_count) = (true, true, end.arm_count);
                half.incarnation = end.lease.incarnation;
                half.lease_end = if planted!(PetKeepsOldEnd) { half.lease_end } else { end.latched };
                (half.latched, half.clean) = (Some(end.latched), end.clean);
            }
        }
        if !self.owes_proof() {
            (self.half.unproven, self.half.unproven_reason) = (false, None);
        }
    }
}

/// Whether the list exempts this domain; an unknown one never is.
pub(super) fn exempts(exempt: &[DomainId], domain: DomainId) -> bool {
    domain != DomainId::default() && exempt.contains(&domain)
}

fn add<T: Clone + PartialEq>(list: &mut Vec<T>, item: &T) {
    if !list.contains(item) {
        list.push(item.clone());
    }
}

/// In order, each once.
pub(super) fn note_seen(seen: &mut Vec<DomainId>, domain: DomainId) {
    if let Err(at) = seen.binary_search(&domain) {
        seen.insert(at, domain);
    }
}

/// True when the end that the agent publishes is at most now + ttl, on both clocks.
pub(super) fn within_ttl(now: &Now, half: &AgentHalf) -> bool {
    let latest = now.instant.plus(half.terms.lease_ttl.min(LONGEST_TTL));
    let within = half.lease_end.0.boot_ns <= latest.boot_ns && half.lease_end.0.raw_ns <= latest.raw_ns;
    within || planted!(EndBeyondTtl)
}
