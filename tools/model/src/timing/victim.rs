//! The victim: its agent, the page, its fencer, and guests that write until they are killed. The fencer beats at every
//! tick, kills whenever it likes within its contract, and hangs if it may; a watchdog resets the host on time.

use leasefence_core::fencing::{
    AgentHalf, Fencer, MarkerFound, PageView, QuiesceTarget, Quiet, RestoredPage, Scan, StorageKind, Wish,
};
use leasefence_core::ids::FileId;
use leasefence_core::marks::{Mark, Marks};
use leasefence_core::time::{HolderDeadline, Instant};

use super::agent::{Agent, Phase};
use super::disk::{BOOT, Disk, Rec, VICTIM};
use super::rules::{May, Rules};
use super::wrong;
use crate::relative::now;

/// The victim's guests.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Guests {
    /// They write.
    Running,
    /// They were killed; until then the storage may apply what it has received.
    Draining(HolderDeadline),
    /// No write of theirs can land any more.
    Gone,
}

/// The host.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Victim {
    /// None once the host was reset.
    machine: Option<Machine>,
    pub(crate) guests: Guests,
    /// Writes of the own record whose author gave them up: they may land.
    late: Vec<Rec>,
    /// True once the lease has ended.
    over: bool,
    /// True when it was valid again after that.
    pub(crate) revived: bool,
}

/// What runs on it.
#[derive(Clone, Hash, Debug)]
struct Machine {
    agent: Option<Agent>,
    page: AgentHalf,
    fencer: Fencer,
    hung: bool,
    last_pet: Instant,
}

/// What may happen on the victim, or to its writes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Act {
    Issue,
    Land,
    Acknowledge,
    Lose,
    TimeOut,
    ReadBack,
    ReadFails,
    LandLate(usize),
    Crash,
    Start { other_ttl: bool },
    Pause,
    GoOn,
    Ask,
    Beat,
    Kill { by_force: bool },
    AgentKills,
    Reset,
    Hang,
}

/// What the fencer must show quiet.
fn storage() -> QuiesceTarget {
    QuiesceTarget { kind: StorageKind::Nfs, device: 1 }
}

impl Victim {
    /// A host that has joined with this record, and arms.
    pub(crate) fn joining(rules: &Rules, joined: Rec) -> Self {
        let agent = Agent::joining(rules, joined);
        let mut page = AgentHalf {
            file_id: FileId([1; 16]),
            boot_id: BOOT,
            incarnation: VICTIM,
            arm_count: 1,
            wish: Wish::Armed,
            quiesce: vec![storage()],
            ..AgentHalf::default()
        };
        if wrong!(ArmedAfterHeld) {
            page.wish = Wish::Joining;
        }
        agent.publish(&mut page);
        let fencer = Fencer::start(&now(), BOOT, MarkerFound::None, &RestoredPage::default());
        let machine = Machine { agent: Some(agent), page, fencer, hung: false, last_pet: now().instant };
        Self {
            machine: Some(machine),
            guests: Guests::Running,
            late: Vec::new(),
            over: false,
            revived: false,
        }
    }

    /// All that may happen next.
    pub(crate) fn acts(&self, rules: &Rules, may: &May, acts: &mut Vec<Act>) {
        acts.extend((0..self.late.len()).map(Act::LandLate));
        let Some(machine) = &self.machine else { return };
        if let Some(agent) = &machine.agent {
            self.agent_acts(rules, may, machine, agent, acts);
        } else {
            acts.push(Act::Start { other_ttl: false });
            acts.extend((may.change > 0).then_some(Act::Start { other_ttl: true }));
        }
        self.host_acts(rules, may, machine, acts);
    }

    fn agent_acts(&self, rules: &Rules, may: &May, machine: &Machine, agent: &Agent, acts: &mut Vec<Act>) {
        if agent.next_record(rules, machine.fencer.half()).is_some() {
            acts.push(Act::Issue);
        }
        if let Some(write) = &agent.out {
            if !write.landed {
                acts.push(Act::Land);
            }
            if write.landed {
                acts.push(Act::Acknowledge);
            }
            if !write.landed && may.lose > 0 {
                acts.push(Act::Lose);
            }
            if may.time_out > 0 && (write.landed || self.late.len() < rules.late) {
                acts.push(Act::TimeOut);
            }
        }
        if agent.reading.is_some() {
            acts.push(Act::ReadBack);
            acts.extend((may.fail_read_back > 0).then_some(Act::ReadFails));
        }
        let fits = agent.out.is_none_or(|write| write.landed) || self.late.len() < rules.late;
        if may.crash > 0 && fits {
            acts.push(Act::Crash);
        }
        if agent.paused {
            acts.push(Act::GoOn);
        } else if may.pause > 0 {
            acts.push(Act::Pause);
        }
        if may.ask > 0 && agent.phase == Phase::Held && !agent.paused {
            acts.push(Act::Ask);
        }
    }

    fn host_acts(&self, rules: &Rules, may: &May, machine: &Machine, acts: &mut Vec<Act>) {
        let running = self.guests == Guests::Running;
        if !machine.hung {
            acts.extend(rules.lazy_fencer.then_some(Act::Beat));
            if running && machine.fencer.kills() {
                acts.extend([Act::Kill { by_force: true }, Act::Kill { by_force: false }]);
            }
            if may.hang > 0 {
                acts.push(Act::Hang);
            }
        }
        let ending = machine.agent.as_ref().is_some_and(|agent| agent.phase == Phase::Ending);
        if running && machine.hung && ending && !rules.has_watchdog() && !wrong!(RenewsWithoutFencer) {
            acts.push(Act::AgentKills);
        }
        if running && rules.has_watchdog() && self.is_due(rules) {
            acts.push(Act::Reset);
        }
    }

    /// True when the guests must be dead before time goes on.
    pub(crate) fn is_due(&self, rules: &Rules) -> bool {
        let Some(machine) = self.machine.as_ref().filter(|_| self.guests == Guests::Running) else {
            return false;
        };
        machine.dead_by(rules).is_some_and(|by| HolderDeadline(by).reached(now().instant))
    }

    /// Lets something happen.
    pub(crate) fn take(&mut self, act: Act, disk: &mut Disk, rules: &Rules) {
        if let Act::LandLate(at) = act {
            disk.land(self.late.remove(at));
        }
        let Some(machine) = &mut self.machine else { return };
        match act {
            Act::Start { other_ttl } => {
                let ttl = if other_ttl { rules.other_ttl } else { rules.ttl };
                machine.agent = Some(Agent::restarted(rules, ttl, &machine.page, disk));
            }
            Act::Crash => self.late.extend(machine.agent.take().and_then(|agent| may_land(&agent))),
            Act::Beat => machine.beat(rules),
            Act::Hang => machine.hung = true,
            Act::Kill { by_force } => {
                machine.kill(rules, by_force);
                self.guests = if by_force { drains(rules) } else { Guests::Gone };
            }
            Act::AgentKills => self.guests = drains(rules),
            Act::Reset => {
                self.late.extend(machine.agent.take().and_then(|agent| may_land(&agent)));
                self.guests = drains(rules);
                self.machine = None;
            }
            _ => self.agent_act(act, disk, rules),
        }
        self.settle(rules);
    }

    fn agent_act(&mut self, act: Act, disk: &mut Disk, rules: &Rules) {
        let Some(machine) = &mut self.machine else { return };
        let half = machine.fencer.half();
        let Some(agent) = &mut machine.agent else { return };
        match act {
            Act::Issue => {
                if let Some(rec) = agent.next_record(rules, half) {
                    agent.issue(rec);
                }
            }
            Act::Land => {
                if let Some(write) = &mut agent.out {
                    write.landed = true;
                    disk.land(write.rec);
                }
            }
            Act::Acknowledge | Act::Lose => {
                agent.written(true);
                if !rules.slow_read_back {
                    agent.read_back(disk, rules);
                }
            }
            Act::TimeOut => {
                self.late.extend(may_land(agent));
                agent.written(false);
            }
            Act::ReadBack => agent.read_back(disk, rules),
            Act::ReadFails => agent.reading = None,
            Act::Ask => agent.end(),
            _ => {}
        }
        // What it does first when it goes on is to take up what has come in.
        agent.paused = act == Act::Pause || (agent.paused && act == Act::Land);
    }

    /// What follows from anything: the agent's turn, the page, and what the invariants look at.
    fn settle(&mut self, rules: &Rules) {
        self.late.sort_unstable();
        let unknown = !self.late.is_empty();
        let Some(machine) = &mut self.machine else { return };
        machine.agent_turn(unknown);
        if !rules.lazy_fencer && !machine.hung {
            machine.beat(rules);
            machine.agent_turn(unknown);
        }
        self.over |= machine.page.lease_end.reached(now().instant);
        self.revived |= self.over && machine.agent.as_ref().is_some_and(Agent::is_valid);
    }

    /// A tick has passed, and everything is that much older.
    pub(crate) fn tick(&mut self, rules: &Rules) {
        if matches!(self.guests, Guests::Draining(until) if until.reached(now().instant)) {
            self.guests = Guests::Gone;
        }
        if let Some(machine) = self.machine.as_mut().filter(|machine| !machine.hung) {
            machine.beat(rules);
        }
        self.settle(rules);
    }

    /// In words, for a trace.
    pub(crate) fn told(&self) -> &'static str {
        let latched = |machine: &Machine| machine.fencer.half().latched.is_some();
        match (&self.machine, self.guests) {
            (None, _) => "the host is down",
            (Some(machine), Guests::Running) if latched(machine) => "the end is latched, its guests run",
            (Some(machine), Guests::Running) if !machine.fencer.half().armed => "not armed, its guests run",
            (Some(_), Guests::Running) => "armed, its guests run",
            (Some(_), Guests::Draining(_)) => "its guests are killed, the storage drains",
            (Some(_), Guests::Gone) => "its guests are gone",
        }
    }

    /// The record that its agent would issue, or has outstanding.
    pub(crate) fn record(&self, rules: &Rules) -> Option<Rec> {
        let machine = self.machine.as_ref()?;
        let agent = machine.agent.as_ref()?;
        agent.out.map(|write| write.rec).or_else(|| agent.next_record(rules, machine.fencer.half()))
    }

    /// One of the records that may land late.
    pub(crate) fn late(&self, at: usize) -> Option<Rec> {
        self.late.get(at).copied()
    }
}

/// Guests that were killed now, and whose last write the storage may hold.
fn drains(rules: &Rules) -> Guests {
    Guests::Draining(HolderDeadline(now().instant.plus(rules.ticks(rules.drain))))
}

/// The write that may still land when its author gives it up.
fn may_land(agent: &Agent) -> Option<Rec> {
    agent.out.filter(|write| !write.landed).map(|write| write.rec)
}

impl Machine {
    /// The fencer goes round its loop: it looks at the page, publishes its half, and pets.
    fn beat(&mut self, rules: &Rules) {
        self.fencer.handle_page(&now(), PageView::Good(&self.page));
        if self.fencer.marker_wanted().is_some() {
            self.fencer.marker_written();
        }
        self.fencer.published();
        if !rules.has_watchdog() || self.fencer.may_pet(now().instant, self.last_pet) {
            self.last_pet = now().instant;
        }
    }

    /// It has killed every guest, seen them exit, and shown the storage quiet.
    fn kill(&mut self, rules: &Rules, by_force: bool) {
        self.beat(rules);
        let quiet = if by_force { Quiet::Forced } else { Quiet::Acknowledged };
        self.fencer.handle_quiesced(&storage(), now().instant, quiet);
        let started = now().instant;
        let scan = Scan { started, complete: true, searched: Some(started), processes: &[] };
        self.fencer.handle_scan(&now(), &scan);
        self.fencer.published();
    }

    /// When the guests are dead at the latest: by the reset where there is a watchdog; else by the fencer's kill, or the
    /// agent's own where the fencer does not beat. None while nothing has ended, or where nobody would do it.
    fn dead_by(&self, rules: &Rules) -> Option<Instant> {
        let budget = rules.ticks(rules.budget);
        if rules.has_watchdog() {
            return self.fencer.half().armed_since_boot.then(|| self.last_pet.plus(rules.reset_after()));
        }
        if !self.hung {
            return self.fencer.half().latched.map(|latched| latched.0.plus(budget));
        }
        let agent = self.agent.as_ref().filter(|agent| agent.phase == Phase::Ending && !agent.paused)?;
        if wrong!(RenewsWithoutFencer) { None } else { agent.kills_by(budget) }
    }

    fn agent_turn(&mut self, unknown: bool) {
        let Some(agent) = self.agent.as_mut().filter(|agent| !agent.paused) else { return };
        agent.turn(self.fencer.half(), unknown || agent.out.is_some());
        agent.publish(&mut self.page);
        if agent.has_written_held {
            self.page.wish = Wish::Armed;
        }
    }
}

impl Marks for Guests {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        if let Self::Draining(until) = self {
            until.each_mark(f);
        }
    }
}

impl Marks for Machine {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.agent.each_mark(f);
        self.page.each_mark(f);
        self.fencer.each_mark(f);
        self.last_pet.each_mark(f);
    }
}

impl Marks for Victim {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.machine.each_mark(f);
        self.guests.each_mark(f);
        self.late.each_mark(f);
    }
}
