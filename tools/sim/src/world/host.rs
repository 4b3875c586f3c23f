//! One host: its power, clocks, agent, fencer, watchdog, kernel and libvirt, and what they share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use leasefence_core::barrier::BarrierWalk;
use leasefence_core::fencing::{AgentHalf, DomainProcess, Fencer, FencerHalf, MarkerFound};
use leasefence_core::ids::{BootId, DomainId, Incarnation};
use leasefence_core::member::{Barriers, Command, Input, Listing, Member, RequestId};
use leasefence_core::terms::Terms;
use leasefence_core::time::HolderDeadline;

use super::clock::Clock;
use super::hooked::Asking;
use super::memory::PageMemory;
use super::moment::Moment;
use super::quiesced::Withdrawn;

/// The agent's process.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    pub(crate) member: Option<Member>,
    /// Which process: what was meant for an earlier one is lost.
    pub(crate) process: u32,
    pub(crate) inbox: VecDeque<Input>,
    /// It executes what it had decided before it was stopped.
    pub(crate) resumes: bool,
    /// Stopped before this command was executed.
    pub(crate) held: Option<Command>,
    pub(crate) paused_until: u64,
    /// Dies in the middle of its next write of the page, after so many words, and is started again so much later.
    pub(crate) dies_writing: Option<(u64, u64)>,
    /// Stops before so many more commands, for so long.
    pub(crate) pause_at: Option<(u8, u64)>,
    /// Tells the turn that is wanted from those that are out of date.
    pub(crate) number: u32,
    pub(crate) wanted_at: u64,
    /// A look at the fencer's half is under way sooner than the regular one.
    pub(crate) look_soon: bool,
    /// When libvirt's domains are listed, and what ran by the last list.
    pub(crate) listing: Listing,
    pub(crate) libvirt_answers: bool,
    pub(crate) running: Vec<DomainId>,
    /// Barriers that are under way, and which storages each has still to pass.
    pub(crate) barriers: Barriers,
    pub(crate) walks: BTreeMap<DomainId, BarrierWalk<usize>>,
}

/// The fencer's process, and what it leaves to the next one.
#[derive(Debug, Default)]
pub(crate) struct FencerProcess {
    pub(crate) fencer: Option<Fencer>,
    /// Its half of the page.
    pub(crate) half: FencerHalf,
    pub(crate) marker: Option<MarkerFound>,
    pub(crate) paused_until: u64,
    pub(crate) number: u32,
    pub(crate) next_beat: u64,
    /// The page that the agent has is not the one that this process reads.
    pub(crate) page_lost: bool,
    /// How often it has lost its page since boot.
    pub(crate) pages_lost: u32,
    /// Its half of that page.
    pub(crate) unseen: FencerHalf,
    /// Storages whose quiescence is under way.
    pub(crate) quiescing: BTreeSet<usize>,
    /// What was done to each since the latch.
    pub(crate) withdrawn: BTreeMap<usize, Withdrawn>,
    /// The end that it guarded before the one that it has latched.
    pub(crate) guarded: HolderDeadline,
    /// Stops after the last pet that the rule allows.
    pub(crate) freezes_at_last_pet: bool,
}

/// The watchdog's device.
#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    pub(crate) open: bool,
    pub(crate) last_pet: u64,
    /// When it resets the host unless it is petted.
    pub(crate) bites_at: u64,
    /// An event looks at it then, or sooner.
    pub(crate) is_looked_at: bool,
}

/// Each incarnation that a host had, in order, and in which boot: few, and looked at often.
#[derive(Debug, Default)]
pub(crate) struct Lives(Vec<(Incarnation, u32)>);

impl Lives {
    /// Notes an incarnation, and the boot that has it now.
    pub(crate) fn note(&mut self, life: Incarnation, boot: u32) {
        match self.0.iter_mut().find(|(known, _)| *known == life) {
            Some((_, known)) => *known = boot,
            None => {
                self.0.push((life, boot));
                self.0.sort_unstable();
            }
        }
    }

    /// In which boot the host had it.
    pub(crate) fn boot_of(&self, life: Incarnation) -> Option<u32> {
        self.0.iter().find(|(other, _)| *other == life).map(|(_, boot)| *boot)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Incarnation> + '_ {
        self.0.iter().map(|(life, _)| *life)
    }

    /// The highest.
    pub(crate) fn last(&self) -> Option<Incarnation> {
        self.0.last().map(|(life, _)| *life)
    }
}

/// One host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) machine: u8,
    pub(crate) terms: Terms,
    pub(crate) clock: Clock,
    pub(crate) powered: bool,
    pub(crate) boot: u32,
    pub(crate) booted_at: u64,
    /// The whole host stands still since.
    pub(crate) still_since: Option<u64>,
    pub(crate) page: Option<AgentHalf>,
    /// The half that was written before it.
    pub(crate) page_before: Option<AgentHalf>,
    /// Both as they lie in memory, once a fault has struck that.
    pub(crate) memory: Option<PageMemory>,
    pub(crate) agent: Agent,
    pub(crate) fencer: FencerProcess,
    pub(crate) watchdog: Watchdog,
    /// Runs whose process is there.
    pub(crate) guests: Vec<usize>,
    /// The same, as the fencer finds them.
    pub(crate) processes: Vec<DomainProcess>,
    /// Runs that are over, with writes in this kernel.
    pub(crate) queued: Vec<usize>,
    /// Domains that its libvirt knows, each with the disk chain with which it last ran there.
    pub(crate) known: BTreeMap<usize, u64>,
    pub(crate) data_cut: u8,
    /// Domains of which no barrier can be written here, and how many faults say so.
    pub(crate) barriers_refused: BTreeMap<usize, u8>,
    pub(crate) unkillable: u8,
    pub(crate) libvirt_hung: u8,
    pub(crate) image_locked: u8,
    pub(crate) starts_fail: u8,
    /// The next start that libvirt is asked for takes so long.
    pub(crate) start_hangs: Option<u64>,
    /// Why its agent could not go on when it last ended.
    pub(crate) refused: Option<String>,
    /// When a fault struck it last, or was over, or its agent was started again; until when a single write of its agent is under way.
    pub(crate) hindered_at: u64,
    /// What its fencer guarded when its power went, the end before that, and its clocks: a promise outlives its host.
    pub(crate) promised: Option<(FencerHalf, HolderDeadline, Clock)>,
    /// What it waits for before it stops.
    pub(crate) moment: Option<Moment>,
    /// Questions of libvirt's hook that are not answered yet.
    pub(crate) asking: BTreeMap<RequestId, Asking>,
    /// Domains that libvirt is starting for users; where it asks its hook, also for the agent itself.
    pub(crate) starting: BTreeSet<usize>,
    /// Starts that libvirt has been asked for, and has not answered yet.
    pub(crate) libvirt_starts: u32,
    /// The agent's process that ended last in this boot: a planted bug takes its stall clocks over.
    #[cfg(feature = "planted-bugs")]
    pub(crate) member_before: Option<Member>,
    /// When a late write of a lease page landed last.
    pub(crate) late_page_at: Option<u64>,
    /// Each incarnation that it had, and in which boot.
    pub(crate) lives: Lives,
}

impl Host {
    pub(crate) fn new(index: usize, machine: u8, terms: Terms) -> Self {
        Self {
            name: format!("host-{index}"),
            machine,
            terms,
            clock: Clock::default(),
            powered: false,
            boot: 0,
            booted_at: 0,
            still_since: None,
            page: None,
            page_before: None,
            memory: None,
            agent: Agent::default(),
            fencer: FencerProcess::default(),
            watchdog: Watchdog::default(),
            guests: Vec::new(),
            processes: Vec::new(),
            queued: Vec::new(),
            known: BTreeMap::new(),
            data_cut: 0,
            barriers_refused: BTreeMap::new(),
            unkillable: 0,
            libvirt_hung: 0,
            image_locked: 0,
            starts_fail: 0,
            start_hangs: None,
            refused: None,
            hindered_at: 0,
            promised: None,
            moment: None,
            asking: BTreeMap::new(),
            starting: BTreeSet::new(),
            libvirt_starts: 0,
            #[cfg(feature = "planted-bugs")]
            member_before: None,
            late_page_at: None,
            lives: Lives::default(),
        }
    }

    pub(crate) fn boot_id(&self, index: usize) -> BootId {
        let number = u128::from(self.boot) + 1 + ((index as u128 + 1) << 64);
        BootId(number.to_le_bytes())
    }

    /// The incarnation that its page names: what its guests run under.
    pub(crate) fn life(&self) -> Option<Incarnation> {
        let page = self.page.as_ref()?;
        (page.incarnation.generation.0 > 0).then_some(page.incarnation)
    }

    /// Something hinders it until then.
    pub(crate) fn hinder(&mut self, until: u64) {
        self.hindered_at = self.hindered_at.max(until);
    }

    /// True while nothing of it moves.
    pub(crate) fn stands_still(&self) -> bool {
        !self.powered || self.still_since.is_some()
    }
}
