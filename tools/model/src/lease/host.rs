//! One host of the model: the core's own lease machine, what it waits for from the storage, and what runs there. It is
//! driven as a member drives it: a write is noted as unknown before it leaves, and every event is taken at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use leasefence_core::fencing::{DomainProcess, FencerHalf, UnknownWrite};
use leasefence_core::format::RecordCopy;
use leasefence_core::ids::{Generation, Incarnation, Sequence, Slot, Term};
use leasefence_core::lease::{LeaseContext, LeasePolicy, Leases, LeasesConfig};
use leasefence_core::marks::{Mark, Marks};
use leasefence_core::storage::{IoDone, IoError, IoId};
use leasefence_core::time::{Instant, Now};
use leasefence_core::unknown::{UnknownRules, UnknownWrites};

use super::sectors::Sector;
use super::{DOMAIN, boot_of, layout};
use crate::fingerprint::fingerprint;

/// How often entries are looked at for a drop: the model lets it pass when it likes.
const DROP_INTERVAL: Duration = Duration::from_secs(3600);

/// Nothing but the drop interval passes in this model: what else waits, waits for ever or not at all.
const POLICY: LeasePolicy = LeasePolicy {
    forgive_after: Duration::MAX,
    hold_at_deaths: u8::MAX,
    longest_back_off: Duration::ZERO,
    reread_interval: Duration::MAX,
    drop_interval: DROP_INTERVAL,
    tries: 1,
    first_back_off: Duration::ZERO,
};

/// The hold is over when the model says so.
const RULES: UnknownRules =
    UnknownRules { hold: Duration::ZERO, drain: Duration::ZERO, longest_gap: Duration::MAX };

/// The lease machine, with its fingerprint.
#[derive(Debug)]
pub(super) struct Mind {
    pub(super) leases: Leases,
    print: u128,
}

/// What a host waits for from the storage.
#[derive(Clone, Debug)]
pub(super) enum Waits {
    Nothing,
    /// A write of an own copy.
    Write(RecordCopy, Sector),
    /// A read of the page: the others' sectors that it has passed.
    Scan(Vec<Option<[Sector; 2]>>),
}

/// What the domain does here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Process {
    None,
    /// The lease is acquired: it may be started.
    Permitted,
    /// Libvirt says that it ends; its process is there still.
    Ending,
    Running,
}

/// Why it asked for the lease last.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Asked {
    Recovery,
    User,
}

#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) slot: u16,
    pub(super) generation: u32,
    /// Its machine is off, or its incarnation otherwise gone for everybody.
    pub(super) dead: bool,
    /// None while it is dead or rejoins.
    pub(super) mind: Option<Arc<Mind>>,
    /// Both copies of what a rejoin writes.
    pub(super) rejoining: Option<Sector>,
    pub(super) waits: Waits,
    pub(super) unknown: UnknownWrites,
    pub(super) process: Process,
    pub(super) asked: Asked,
    /// The term of the top that its last whole scan showed.
    pub(super) seen_top: Term,
    /// A restarted agent has own entries to settle.
    pub(super) unsettled: bool,
    /// How often the drop interval has passed.
    pub(super) drops: u8,
}

impl Mind {
    fn new(leases: Leases) -> Self {
        let mut mind = Self { leases, print: 0 };
        mind.finish();
        mind
    }

    /// Own sequences count for nothing but their order, and that is what storage and writes are compared by.
    fn finish(&mut self) {
        let mut canonical = self.leases.clone();
        canonical.each_mark(&mut |mark| {
            if let Mark::Sequence(sequence) = mark {
                *sequence = Sequence(0);
            }
        });
        self.print = fingerprint(&canonical);
    }
}

impl std::hash::Hash for Mind {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        self.print.hash(hasher);
    }
}

impl Host {
    /// A host whose sector was written by its first generation.
    pub(super) fn new(slot: u16, hosts: u16) -> Self {
        let mut host = Self {
            slot,
            generation: 1,
            dead: false,
            mind: None,
            rejoining: None,
            waits: Waits::Nothing,
            unknown: UnknownWrites::new(RULES),
            process: Process::None,
            asked: Asked::User,
            seen_top: Term(0),
            unsettled: false,
            drops: 0,
        };
        let page = leasefence_core::format::LeasePage::new(host.me(), boot_of(host.me()), Sequence(1));
        host.mind = Some(Arc::new(Mind::new(Leases::after_rejoin(host.config(hosts), vec![page]))));
        host
    }

    fn config(&self, hosts: u16) -> LeasesConfig {
        let me = self.me();
        LeasesConfig { layout: layout(hosts), me, boot_id: boot_of(me), policy: POLICY, seed: 1 }
    }

    /// Its incarnation.
    pub(super) fn me(&self) -> Incarnation {
        Incarnation { slot: Slot(self.slot), generation: Generation(self.generation) }
    }

    pub(super) fn is_up(&self) -> bool {
        self.mind.is_some()
    }

    pub(super) fn leases(&self) -> Option<&Leases> {
        self.mind.as_deref().map(|mind| &mind.leases)
    }

    /// True when it owns the lease, acknowledged.
    pub(super) fn owns(&self) -> bool {
        self.leases().is_some_and(|leases| leases.owns(DOMAIN))
    }

    pub(super) fn runs(&self) -> bool {
        matches!(self.process, Process::Running | Process::Ending)
    }

    /// True when nothing is under way that a request would wait behind.
    pub(super) fn is_idle(&self) -> bool {
        self.is_up() && matches!(self.waits, Waits::Nothing)
    }

    /// Its clocks.
    pub(super) fn now(&self) -> Now {
        let instant = Instant { boot_ns: 1 << 40, raw_ns: 1 << 40 };
        Now { instant: instant.plus(DROP_INTERVAL * u32::from(self.drops)), ..Now::default() }
    }

    /// Calls the lease machine with what it may rely on.
    pub(super) fn call<R>(
        &mut self,
        gone: &dyn Fn(Incarnation) -> bool,
        hosts: u16,
        call: impl FnOnce(&mut Leases, &LeaseContext<'_>) -> R,
    ) -> Option<R> {
        let now = self.now();
        let mind = self.mind.take()?;
        let mut leases = Arc::try_unwrap(mind).map_or_else(|shared| shared.leases.clone(), |own| own.leases);
        let context = LeaseContext {
            now: &now,
            may_write: true,
            unknown: &self.unknown,
            gone,
            vacant: &|_| false,
            hosts,
        };
        let result = call(&mut leases, &context);
        self.mind = Some(Arc::new(Mind { leases, print: 0 }));
        Some(result)
    }

    /// After the last call of a step.
    pub(super) fn finish(&mut self) {
        if let Some(mind) = &mut self.mind
            && let Some(mind) = Arc::get_mut(mind)
        {
            mind.finish();
        }
    }

    /// The end of an operation.
    pub(super) fn done(&self, result: Result<Vec<u8>, ()>) -> IoDone {
        let now = self.now();
        let result = result.map_err(|()| IoError::Failed("timed out".to_owned()));
        IoDone { id: IoId(0), issued: now, ended: now, result }
    }

    /// What the fencer says, in a scan that began after everything so far.
    pub(super) fn fencer_halves(&self) -> [FencerHalf; 2] {
        let process = DomainProcess { domain: DOMAIN, ..DomainProcess::default() };
        let processes = if self.runs() { vec![process] } else { Vec::new() };
        let beat = self.now().instant.plus(Duration::from_secs(1));
        [1, 3].map(|scans| FencerHalf { beat, scans, processes: processes.clone(), ..FencerHalf::default() })
    }

    /// Libvirt's list of what runs here.
    pub(super) fn listed(&self) -> BTreeSet<leasefence_core::ids::DomainId> {
        if self.process == Process::Running { BTreeSet::from([DOMAIN]) } else { BTreeSet::new() }
    }

    /// The whole machine dies; what it was writing may still land.
    pub(super) fn die(&mut self) {
        self.dead = true;
        (self.mind, self.rejoining, self.waits) = (None, None, Waits::Nothing);
        self.unknown = UnknownWrites::new(RULES);
        (self.process, self.unsettled) = (Process::None, false);
        (self.asked, self.seen_top) = (Asked::User, Term(0));
    }

    /// Both copies of a rejoin are acknowledged.
    pub(super) fn joined(&mut self, hosts: u16, page: leasefence_core::format::LeasePage) {
        self.mind = Some(Arc::new(Mind::new(Leases::after_rejoin(self.config(hosts), vec![page]))));
    }

    /// The agent dies and comes back; the domain goes on running. What was being written is unknown.
    pub(super) fn restart_agent(&mut self, hosts: u16) {
        let Some(leases) = self.leases() else { return };
        let listed = leases.own_leases();
        self.mind = Some(Arc::new(Mind::new(Leases::after_restart(self.config(hosts), &listed))));
        let page: Vec<UnknownWrite> = self.unknown.to_page();
        self.unknown = UnknownWrites::new(RULES);
        let len = leasefence_core::format::SECTOR_LEN;
        self.unknown.restore(&page, self.now().instant, |_| (len, 0..len));
        (self.waits, self.unsettled) = (Waits::Nothing, true);
        if self.process == Process::Permitted {
            self.process = Process::None;
        }
    }

    /// Nothing that was unknown can land any more: renewals were acknowledged for long enough, and two reads agree.
    pub(super) fn settle_unknown(&mut self, own: impl Fn(u64) -> Vec<u8>) {
        let now = self.now();
        for _ in 0..2 {
            self.unknown.renewal_acknowledged(now.instant, now.instant);
        }
        for _ in 0..8 {
            if let leasefence_core::storage::Step::Io(leasefence_core::storage::IoOp::Read {
                offset, ..
            }) = self.unknown.poll(now.instant)
            {
                let done = self.done(Ok(own(offset)));
                self.unknown.handle_io(offset, &done);
            }
        }
    }
}
