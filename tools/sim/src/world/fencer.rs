//! The fencer's process: one beat as the daemon does it, sooner where the page or the processes changed.
//! Between two beats in which nothing changed only the beat itself differs, so quiet hosts beat as seldom as a pet needs.

use leasefence_core::fencing::{
    AgentHalf, Beat, DomainProcess, Fencer, FencerHalf, HalfReading, Hands, Marker, MarkerFound, Offer,
    RestoredPage, Step, Wish,
};
use leasefence_core::format::{HostState, RecordCopy};
use leasefence_core::time::{HolderDeadline, Instant};

use super::World;
use super::event::Event;
use super::host::FencerProcess;
use super::memory::PageMemory;
use crate::invariants::Happened;
use crate::plan::Reset;
use crate::time::{MS, nanos};

/// The daemon's beat: what changes in the page is seen within it.
const BEAT: u64 = 50 * MS;
/// While exits are awaited.
const FAST_BEAT: u64 = 10 * MS;
/// Within this an agent that runs has found a new fencer.
const OFFER: u64 = 400 * MS;

impl World {
    /// A new fencer's process; it finds its page in the service manager's store.
    pub(crate) fn start_fencer(&mut self, host: usize, boot: u32) {
        let this = &mut self.hosts[host];
        if !this.powered || this.boot != boot || this.fencer.fencer.is_some() {
            return;
        }
        let now = this.clock.now(self.at);
        // What the service manager kept: the page that the agent has, or one that no agent has seen yet.
        let lost = this.fencer.page_lost;
        let own = if lost { &this.fencer.unseen } else { &this.fencer.half };
        let written = *own != FencerHalf::default();
        // One that a fault has struck is read as it lies in memory.
        let copy = this.memory.as_mut().map(|memory| {
            memory.fencer_starts();
            memory.copy()
        });
        let agent = copy.as_ref().map_or(this.page.as_ref(), Option::as_ref);
        let restored = RestoredPage { own: written.then_some(own), agent: agent.filter(|_| !lost) };
        let marker = this.fencer.marker.unwrap_or(MarkerFound::None);
        let fencer = Fencer::start(&now, this.boot_id(host), marker, &restored);
        this.fencer = FencerProcess {
            fencer: Some(fencer),
            half: std::mem::take(&mut this.fencer.half),
            marker: this.fencer.marker,
            number: this.fencer.number,
            next_beat: u64::MAX,
            page_lost: lost,
            pages_lost: this.fencer.pages_lost,
            unseen: std::mem::take(&mut this.fencer.unseen),
            guarded: this.fencer.guarded,
            ..FencerProcess::default()
        };
        self.tell_host(host, "fencer", || format!("starts{}", if lost { " without its page" } else { "" }));
        if lost {
            let after = self.below(OFFER);
            self.queue.at(self.at + after, Event::Offer { host, boot });
        }
        self.want_beat(host, self.at);
    }

    /// The agent has found the new fencer, and offers its copy of the page.
    pub(crate) fn page_offered(&mut self, host: usize, boot: u32) {
        let this = &mut self.hosts[host];
        if this.boot != boot || this.stands_still() || !this.fencer.page_lost {
            return;
        }
        let paused = this.agent.paused_until.max(this.fencer.paused_until) > self.at;
        if this.agent.member.is_none() || this.fencer.fencer.is_none() || paused {
            self.queue.at(self.at + OFFER, Event::Offer { host, boot });
            return;
        }
        let now = this.clock.now(self.at);
        let Some(fencer) = &mut this.fencer.fencer else { return };
        let copy = this.memory.as_ref().map(PageMemory::copy);
        let Some(page) = copy.as_ref().map_or(this.page.as_ref(), Option::as_ref) else {
            // The agent has written nothing yet: it takes the new page.
            this.fencer.page_lost = false;
            this.fencer.half = std::mem::take(&mut this.fencer.unseen);
            return;
        };
        // The agent writes into the fencer's page only once it has been answered.
        let in_hand = HalfReading::Empty;
        let offer = Offer { boot_id: page.boot_id, agent: HalfReading::Good(page), in_hand };
        let how = fencer.judge_offer(&offer);
        let copy = RestoredPage { own: Some(&this.fencer.half), agent: Some(page) };
        if !fencer.take_offer(&now, how, this.fencer.marker.unwrap_or(MarkerFound::None), &copy) {
            this.fencer.half = std::mem::take(&mut this.fencer.unseen);
        }
        this.fencer.page_lost = false;
        self.tell_host(host, "fencer", || format!("the agent offers its copy of the page: {how:?}"));
        self.want_beat(host, self.at);
    }

    /// The fencer's process is gone.
    pub(crate) fn kill_fencer(&mut self, host: usize, page_kept: bool) {
        let fencer = &mut self.hosts[host].fencer;
        fencer.fencer = None;
        fencer.number += 1;
        fencer.next_beat = u64::MAX;
        // What the agent holds is then the other end of a page that nobody reads any more, until it offers its copy.
        if !page_kept {
            fencer.page_lost = true;
            fencer.pages_lost += 1;
            fencer.unseen = FencerHalf::default();
        }
    }

    /// The fencer is to beat at this time, or sooner.
    pub(crate) fn want_beat(&mut self, host: usize, at: u64) {
        let fencer = &mut self.hosts[host].fencer;
        if fencer.fencer.is_some() && fencer.next_beat > at {
            fencer.next_beat = at;
            fencer.number += 1;
            self.queue.at(at, Event::Beat { host, number: fencer.number });
        }
    }

    /// Something has changed that the daemon sees at its next beat.
    pub(crate) fn beat_soon(&mut self, host: usize) {
        let wait = self.below(BEAT);
        self.want_beat(host, self.at + wait);
    }

    pub(crate) fn fencer_wakes(&mut self, host: usize, number: u32) {
        let this = &mut self.hosts[host];
        if this.fencer.number != number || this.stands_still() {
            return;
        }
        this.fencer.next_beat = u64::MAX;
        if this.fencer.paused_until > self.at {
            let until = this.fencer.paused_until;
            self.want_beat(host, until);
            return;
        }
        self.beat(host);
        self.want_next_beat(host);
    }

    /// The agent writes its half, and may die of it.
    pub(crate) fn page_written(&mut self, host: usize, half: AgentHalf) {
        let this = &mut self.hosts[host];
        let Some((words, back_after)) = this.agent.dies_writing.take() else {
            this.memory.iter_mut().for_each(|memory| memory.write(&half));
            return self.page_is_there(host, half);
        };
        let written = this.page_before.iter().chain(&this.page);
        let finished =
            this.memory.get_or_insert_with(|| PageMemory::new(written)).write_and_die(&half, words);
        if finished {
            self.page_is_there(host, half);
        }
        self.tell_host(host, "agent", || format!("dies while it writes the page, after {words} words"));
        self.restart_agent(host, back_after);
        self.beat_soon(host);
    }

    fn page_is_there(&mut self, host: usize, half: AgentHalf) {
        self.moment_of_page(host, &half);
        self.compare_pages(host, &half);
        let this = &mut self.hosts[host];
        let urgent = this.page.as_ref().is_none_or(|before| is_urgent(before, &half));
        if half.incarnation.generation.0 > 0 {
            this.lives.note(half.incarnation, this.boot);
        }
        this.page_before = this.page.replace(half);
        self.name_runs(host);
        if urgent {
            self.beat_soon(host);
        }
    }

    /// What no agent may do: move an end that has passed, go back to an earlier sequence, take a name that was taken.
    fn compare_pages(&mut self, host: usize, half: &AgentHalf) {
        let this = &self.hosts[host];
        let now = this.clock.now(self.at).instant;
        let name = half.incarnation;
        if name.generation.0 > 0 && this.lives.boot_of(name) != Some(this.boot) {
            self.happened(&Happened::Named { host, incarnation: name });
        }
        let this = &self.hosts[host];
        let Some(before) = this.page.as_ref().filter(|page| page.incarnation == name) else { return };
        // Until the fencer guards this very arming, and the agent has seen it and said `held`, an end in the page is only
        // asked for.
        let guarded = &this.fencer.half;
        let armed = before.wish == Wish::Armed
            && before.arm_count == half.arm_count
            && guarded.armed
            && (guarded.incarnation, guarded.arm_count) == (name, half.arm_count);
        let revived =
            armed && !this.agent.resumes && before.lease_end.reached(now) && !half.lease_end.reached(now);
        let back = half.issued < before.issued;
        let says_held = |copy: &RecordCopy| {
            let record = self.file.record(name.slot, *copy);
            record.is_some_and(|record| record.incarnation == name && record.state == HostState::Held)
        };
        if revived && RecordCopy::BOTH.iter().any(says_held) {
            self.happened(&Happened::Revived { host });
        }
        if back {
            self.happened(&Happened::WentBack { host });
        }
    }

    /// The core says which step comes next; nothing here takes any time.
    fn beat(&mut self, host: usize) {
        let (mut beat, mut changed) = (Beat::default(), false);
        let resets = self.plan.hosts[host].reset == Reset::On;
        self.hosts[host].fencer.fencer.iter_mut().for_each(|fencer| fencer.resets_host(resets));
        while let Some((step, done)) = self.step(host, &mut beat) {
            match step {
                Step::Marker => self.marker_written(host, done.marker),
                Step::Kill | Step::KillFound => {
                    done.condemned.into_iter().for_each(|run| self.kill_run(run, "by the fencer"));
                }
                Step::Publish | Step::PublishScan => changed |= self.publish(host),
                Step::Page if self.hosts[host].memory.is_some() && !self.hosts[host].fencer.page_lost => {
                    self.happened(&Happened::PageRead { host });
                }
                Step::Reset => self.trigger_pulled(host),
                Step::Page | Step::Look | Step::Scan => {}
            }
        }
        self.quiesce(host);
        self.tend_watchdog(host);
        if changed {
            self.look_soon(host);
        }
    }

    fn step(&mut self, host: usize, beat: &mut Beat) -> Option<(Step, Done)> {
        let this = &mut self.hosts[host];
        let now = this.clock.now(self.at);
        let fencer = this.fencer.fencer.as_mut()?;
        let page = this.page.as_ref().filter(|_| !this.fencer.page_lost);
        let memory = this.memory.as_mut().filter(|_| !this.fencer.page_lost);
        let processes = &this.processes;
        let mut hands = WorldHands { page, memory, processes, now: now.instant, done: Done::default() };
        let step = beat.step(&now, fencer, &mut hands)?;
        let done = hands.done;
        for event in fencer.take_events() {
            self.story.tell(self.at, super::Lane::Host(host), "fencer", || event.to_string());
        }
        Some((step, done))
    }

    fn marker_written(&mut self, host: usize, marker: Option<Marker>) {
        let Some(marker) = marker else { return };
        self.hosts[host].fencer.marker = Some(MarkerFound::Marker(marker));
        if matches!(marker, Marker::Disarmed { .. }) {
            self.happened(&Happened::LetGo { host });
        }
    }

    /// Writes the half into the page. True when more than the beat has changed.
    fn publish(&mut self, host: usize) -> bool {
        let this = &mut self.hosts[host];
        let Some(fencer) = &this.fencer.fencer else { return false };
        if this.fencer.page_lost {
            this.fencer.unseen.clone_from(fencer.half());
            return false;
        }
        let (old, new) = (&mut this.fencer.half, fencer.half());
        let changed = differs(old, new);
        // One that guards the same end as before: there is nothing to judge, and it happens twenty times a second.
        let news = changed || !new.armed || new.latched.is_some() || old.lease_end != new.lease_end;
        let latched = old.latched.is_none() && new.latched.is_some();
        if latched {
            this.fencer.guarded = old.lease_end;
            this.fencer.withdrawn.clear();
        }
        if changed {
            old.clone_from(new);
        } else {
            (old.beat, old.scans, old.lease_end) = (new.beat, new.scans, new.lease_end);
        }
        self.counts.fences += u64::from(latched);
        if news {
            self.happened(&Happened::Published { host });
        }
        changed
    }

    fn want_next_beat(&mut self, host: usize) {
        let this = &self.hosts[host];
        let Some(fencer) = &this.fencer.fencer else { return };
        let mut pause = if fencer.is_in_a_hurry() { FAST_BEAT } else { self.plan.hosts[host].beat };
        let now = this.clock.now(self.at).instant;
        // One that is still there after it has passed is a planted bug's.
        if let Some(end) = fencer.next_end().filter(|end| !end.reached(now)) {
            pause = pause.min(nanos(end.left(now)));
        }
        if let Some(left) = fencer.reset_in(now) {
            pause = pause.min(nanos(left));
        }
        if this.fencer.freezes_at_last_pet
            && let Some(left) = self.until_last_pet(host)
        {
            pause = pause.min(left.max(1));
        }
        self.want_beat(host, self.at + pause.max(1));
    }
}

/// What a step has done: it is done to the world right after.
#[derive(Debug, Default)]
struct Done {
    marker: Option<Marker>,
    /// Runs that were signalled.
    condemned: Vec<usize>,
}

/// What the fencer's process reads, and what it does.
struct WorldHands<'a> {
    page: Option<&'a AgentHalf>,
    memory: Option<&'a mut PageMemory>,
    processes: &'a [DomainProcess],
    now: Instant,
    done: Done,
}

impl Hands for WorldHands<'_> {
    fn read_agent(&mut self) -> HalfReading<&AgentHalf> {
        match &mut self.memory {
            Some(memory) => memory.fencer_reads(),
            None => self.page.map_or(HalfReading::Empty, HalfReading::Good),
        }
    }

    fn write_marker(&mut self, marker: &Marker) -> bool {
        self.done.marker = Some(*marker);
        true
    }

    fn kill(&mut self, fencer: &Fencer) {
        let condemned = self.processes.iter().filter(|process| fencer.condemns(process));
        self.done.condemned = condemned.filter_map(run_of).collect();
    }

    fn publish(&mut self, _: &FencerHalf) -> bool {
        true
    }

    fn look(&mut self, _: Instant, _: bool) {}

    fn reset(&mut self) {}

    fn reset_by(&mut self, _: Option<HolderDeadline>) {}

    fn found(&self) -> (bool, &[DomainProcess]) {
        (true, self.processes)
    }

    /// A world without run files: all that runs is seen, now.
    fn searched(&self) -> Option<Instant> {
        Some(self.now)
    }
}

/// The run whose process it is.
pub(super) fn run_of(process: &DomainProcess) -> Option<usize> {
    usize::try_from(process.pid).ok()?.checked_sub(1)
}

/// What in the agent's half must be seen at the daemon's next beat; a later end may wait for the next regular one.
fn is_urgent(before: &AgentHalf, after: &AgentHalf) -> bool {
    before.wish != after.wish
        || before.arm_count != after.arm_count
        || before.incarnation != after.incarnation
        || before.tokens != after.tokens
        || before.terms != after.terms
        || after.lease_end.0.boot_ns < before.lease_end.0.boot_ns
}

fn differs(old: &FencerHalf, new: &FencerHalf) -> bool {
    let name = |process: &DomainProcess| (process.pid, process.start_time);
    old.armed != new.armed
        || old.arm_count != new.arm_count
        || old.incarnation != new.incarnation
        || old.latched != new.latched
        || old.clean != new.clean
        || old.unproven != new.unproven
        || old.terms != new.terms
        || !old.processes.iter().map(name).eq(new.processes.iter().map(name))
}
