//! The whole of a host's part in the protocol: one state machine that the agent (and the simulator) drives.
//!
//! `handle(now, input)` takes what happened, `poll_command(now)` hands out what to do, `wake_at()` says when to come
//! back. It composes slot, renewal, watch, lease and recovery, and owns the order in which they may use the storage
//! thread. It performs nothing itself.

mod arming;
mod barriers;
mod cluster;
mod command;
mod convictions;
mod denials;
mod desk;
mod domains;
mod drill;
mod ending;
mod fence_requests;
mod freeing;
mod hook;
mod input;
mod judgement;
mod leasing;
mod listing;
mod migration;
mod page;
mod pass;
mod phase;
mod record;
mod requests;
mod sight;
mod starting;
mod startup;
mod status;
mod status_of;
mod storage_turn;
mod user_starts;
mod weaken;

use std::time::Duration;

pub use barriers::Barriers;
pub use cluster::ClusterAsk;
pub use command::{Command, LogLevel, Note, Reply};
pub use input::{
    DomainReport, HookOperation, HookQuestion, Input, LeaseMedium, MemberConfig, Protection, Request,
    RequestId, StartFailure, StopReason,
};
pub use listing::{LISTING_INTERVAL, Listing, destroy_needs_libvirt, guarded};
pub use migration::{MigrationNews, MigrationStep};
pub use sight::{FENCER_INTERVAL, Sight};
pub use starting::{StartActivity, StartGate, StartOutcome, StartStep, Starting};
pub use status::{ClusterStatus, DomainStatus, HostStatus, MemberStatus, OwnStatus, RecoveryStatus};

use crate::evidence::Evidence;
use crate::fencing::{AgentHalf, FencerHalf};
use crate::format::{Header, HostState};
use crate::ids::{Generation, Incarnation};
use crate::renewal::Holder;
use crate::seeded::Seeded;
use crate::storage::Step;
use crate::time::{HolderDeadline, Instant, Now};
use crate::unknown::{UnknownRules, UnknownWrites};
use crate::watch::Watch;
use cluster::Cluster;
use convictions::Convictions;
use desk::Desk;
use domains::Domains;
use fence_requests::FenceRequests;
use freeing::Freeing;
use leasing::Leasing;
use pass::Pass;
use phase::Phase;
use storage_turn::InFlight;

/// The longest that a member sleeps while it waits for something by looking (a procedure's wait, a domain without a
/// lease): its deadlines are exact. While it only holds its lease it sleeps until the next of them.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// A host's part in the protocol.
#[derive(Clone, Debug)]
pub struct Member {
    config: MemberConfig,
    desk: Desk,
    phase: Phase,
    /// Since when the phase is what it is.
    phase_since: Instant,
    in_flight: Option<InFlight>,
    header: Option<Header>,
    watch: Option<Watch>,
    holder: Option<Holder>,
    pass: Pass,
    unknown: UnknownWrites,
    /// The agent's half of the page as it should be, and as it was last published.
    half: AgentHalf,
    published: Option<AgentHalf>,
    fencer: Option<FencerHalf>,
    convictions: Convictions,
    fence_requests: FenceRequests,
    cluster: Cluster,
    /// The last reading of the clocks.
    last: Now,
    warnings: Vec<String>,
    /// Why the path to the lease file is no more what it was; nothing is written any more.
    replaced: Option<String>,
    draws: Seeded,
    /// When the lease path was opened.
    started: Instant,
    /// Carried on in the own record for ever.
    freed: Generation,
    /// Why the incarnation must end as soon as the fencer guards it.
    doomed: Option<String>,
    /// An operator wants a disarmed host to be armed again, and who.
    arm_wanted: bool,
    arm_request: Option<RequestId>,
    /// What keeps a joining host from being armed.
    hindrance: Option<String>,
    leasing: Option<Box<Leasing>>,
    domains: Domains,
    freeing: Option<Freeing>,
    /// Free memory here; none while libvirt cannot start anything.
    free_memory_mib: Option<u32>,
}

impl Member {
    /// A member that waits for [`Input::Opened`]. It is made once the fencer has handed out a page: before anything else it
    /// is told the fencer's half, if that can be read.
    #[must_use]
    pub fn new(mut config: MemberConfig) -> Self {
        // A page of another boot means nothing.
        config.page = config.page.filter(|page| page.boot_id == config.boot_id);
        let rules = UnknownRules {
            hold: config.unknown_hold,
            drain: config.terms.write_drain,
            longest_gap: config.terms.longest_gap(),
        };
        let half = config.page.clone().unwrap_or_default();
        let (seed, domains) = (config.seed, Domains::found(&half));
        Self {
            half: AgentHalf { boot_id: config.boot_id, ..half },
            unknown: UnknownWrites::new(rules),
            config,
            desk: Desk::default(),
            phase: Phase::Opening,
            phase_since: Instant::default(),
            in_flight: None,
            header: None,
            watch: None,
            holder: None,
            pass: Pass::default(),
            published: None,
            fencer: None,
            convictions: Convictions::default(),
            fence_requests: FenceRequests::default(),
            cluster: Cluster::default(),
            last: Now::default(),
            warnings: Vec::new(),
            replaced: None,
            draws: Seeded::new(seed),
            started: Instant::default(),
            freed: Generation(0),
            doomed: None,
            arm_wanted: false,
            arm_request: None,
            hindrance: None,
            leasing: None,
            domains,
            freeing: None,
            free_memory_mib: None,
        }
    }

    /// With the bug of this name planted: goes on with the stall clocks of the process before. To be called right after
    /// [`new`](Self::new); nothing happens else.
    #[cfg(feature = "planted-bugs")]
    pub fn keep_stall_clocks_of(&mut self, before: &Self) {
        if crate::planted::planted!(StallKeptOverRestart) {
            self.watch.clone_from(&before.watch);
        }
    }

    /// Takes what happened. Poll for commands afterwards, until there is none.
    pub fn handle(&mut self, now: &Now, input: Input) {
        self.notice_suspend(now);
        match input {
            Input::Opened(medium) => self.opened(now, medium),
            Input::Io(done) => self.io_done(now, &done),
            Input::Fencer(half) => {
                self.note_processes(&half);
                self.fencer = Some(half);
                self.watch_own_end(now);
                self.fencer_seen(now);
            }
            Input::Request(id, request) => self.request(now, id, request),
            Input::Tick => {}
            Input::Domains(reports) => self.domains_listed(now, reports),
            Input::LibvirtAway(why) => self.libvirt_away(why),
            Input::Stopped { domain, reason } => self.domain_stopped(now, domain, reason),
            Input::Barrier { domain, asked, result } => self.barrier_done(now, domain, asked, &result),
            Input::StartEnded { domain, term, result } => self.start_done(now, domain, term, &result),
            Input::Capacity { memory_mib } => self.free_memory_mib = Some(memory_mib),
            Input::CpusRun(domains) => self.cpus_run(now, &domains),
            Input::Resumed(domain) => self.domain_resumed(now, domain),
            Input::Migration { domain, news } => self.migration_told(now, domain, news),
            Input::Hook(id, question) => self.hook_asks(now, id, question),
            Input::StartRefused { domain, opened } => self.start_refused(now, domain, opened),
            Input::Activity { domain, opened, activity } => {
                self.start_activity(now, domain, opened, activity);
            }
        }
        self.turn(now);
    }

    /// The next command; execute each before polling for the next.
    pub fn poll_command(&mut self, now: &Now) -> Option<Command> {
        if let Some(command) = self.desk.pop() {
            return Some(command);
        }
        self.storage_turn(now);
        self.desk.pop()
    }

    /// When to send [`Input::Tick`], if nothing else happens before; none while only an input can change anything. The
    /// fencer's half is not among what is woken for: the driver gives it as often as the fencer beats.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        let now = self.last.instant;
        let mut wait = match self.phase {
            Phase::Opening | Phase::Over => return None,
            Phase::Held if self.only_deadlines_count() => self.next_deadline_in(now),
            _ => LONGEST_SLEEP,
        };
        if self.in_flight.is_none() {
            wait = wait.min(self.pass_due_in(now));
        }
        if let Some(end) = self.holder.as_ref().filter(|holder| holder.is_armed()).and_then(Holder::lease_end)
        {
            let left = end.left(now);
            wait = if left.is_zero() { wait } else { wait.min(left) };
        }
        Some(now.plus(wait))
    }

    /// True while nothing is waited for by looking.
    fn only_deadlines_count(&self) -> bool {
        let terms_settled = self.holder.as_ref().is_some_and(|holder| holder.terms().is_settled());
        terms_settled && self.domains.settled && self.freeing.is_none()
    }

    /// Time until something beside passes and the lease's end is due: lease work, a recovery, the read that ends an unknown
    /// write, the end of a fence request or of one to the whole cluster. One whose moment has come was looked at just now.
    fn next_deadline_in(&self, now: Instant) -> Duration {
        let leasing = self.leasing.as_ref();
        let unknown = match self.unknown.poll(now) {
            Step::Wait(until) => Some(until),
            Step::Io(_) | Step::Done(()) => None,
        };
        let due = [
            unknown,
            leasing.and_then(|leasing| leasing.due),
            leasing.and_then(|leasing| leasing.recoveries.wake_at(now)),
            self.fence_requests.next_end(),
            self.cluster.own.next_end(),
        ];
        let quiet = leasing.into_iter().flat_map(|leasing| leasing.leases.quiet_due());
        let left = due.into_iter().flatten().chain(quiet).map(|due| HolderDeadline(due).left(now));
        left.filter(|left| !left.is_zero()).min().unwrap_or(Duration::MAX)
    }

    /// The own incarnation, once there is one.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.holder.as_ref().map(Holder::incarnation)
    }

    /// Why an incarnation is gone, and since when this host could say so; none: it is not known to be gone. Also for
    /// earlier lives of a slot: a verdict is about the life that was there when it was asked for (PROTOCOL 3).
    #[must_use]
    pub fn evidence(&self, incarnation: Incarnation) -> Option<(Evidence, Now)> {
        self.watch.as_ref()?.evidence(incarnation)
    }

    /// True while this host may come to a lease without anybody's help: a start that is denied now may be asked for again then.
    #[must_use]
    pub fn is_on_its_way(&self) -> bool {
        let maintenance = |resting: &HostState| *resting == HostState::Disarmed;
        match &self.phase {
            Phase::Adopting { resting } | Phase::Arming { resting, .. } => !maintenance(resting),
            Phase::Opening | Phase::Header(_) | Phase::Choosing | Phase::Entering(_) | Phase::Resuming => {
                true
            }
            Phase::Held | Phase::Weakening(_) | Phase::Disarmed | Phase::Ending(_) | Phase::Over => false,
        }
    }

    /// Moves on what time and the fencer decide. Called after every input.
    fn turn(&mut self, now: &Now) {
        self.last = *now;
        self.close_fence_requests(now);
        self.close_cluster_ask(now);
        self.watch_own_end(now);
        match self.phase {
            Phase::Choosing => self.choose_entry(now),
            Phase::Adopting { .. } => self.adopt(now),
            Phase::Arming { .. } => self.wait_for_echo(now),
            Phase::Held => self.advance_terms(now),
            Phase::Weakening(_) => self.weaken_turn(now),
            Phase::Ending(_) => self.ending_turn(now),
            // No scan comes any more where its sector was lost.
            Phase::Resuming if self.doomed.is_some() => self.resume_after_scan(now),
            Phase::Opening | Phase::Header(_) | Phase::Resuming | Phase::Disarmed | Phase::Over => {}
            Phase::Entering(_) => self.reconsider_entry(now),
        }
        self.starts_turn(now);
        self.migrations_turn(now);
        self.domain_turn(now);
        self.lease_turn(now);
        self.publish();
    }

    /// A change of `BOOTTIME - MONOTONIC` is a suspend: the lease ends at once (R4).
    fn notice_suspend(&mut self, now: &Now) {
        let first = self.last == Now::default();
        // Without a lease there is none to end: domains of a host in maintenance are left alone. A fencer that was asked to let go
        // has seen the suspend itself, unless it had let go before.
        let armed = self.holder.as_ref().is_some_and(Holder::is_armed);
        if !first && armed && !self.fencer_decides() && now.suspended_since(&self.last) {
            self.end(now, "the host was suspended");
        }
        if first {
            self.last = *now;
        }
    }

    /// True while the own lease is valid, armed, and not latched by the fencer: what evidence and leases rest on.
    fn lease_is_live(&self, now: Instant) -> bool {
        let holds = matches!(self.phase, Phase::Held | Phase::Weakening(_));
        holds && self.holder.as_ref().is_some_and(|holder| holder.is_valid(now)) && self.latched().is_none()
    }

    /// The end that the fencer has latched for the own incarnation.
    fn latched(&self) -> Option<HolderDeadline> {
        let fencer = self.fencer.as_ref()?;
        fencer.latched.filter(|_| Some(fencer.incarnation) == self.incarnation())
    }

    /// True when the fencer has not gone round its loop for a quarter of the ttl: then nothing is renewed.
    fn fencer_is_silent(&self, now: Instant) -> bool {
        let in_use = self.holder.as_ref().map(|holder| holder.in_use().terms.longest_gap());
        let configured = self.config.terms.longest_gap();
        let patience = in_use.map_or(configured, |in_use| in_use.min(configured));
        self.fencer.as_ref().is_none_or(|fencer| now.since_by_faster(fencer.beat) > patience)
    }

    /// True when the fencer would not act at the own lease's end: it guards another incarnation, or nothing. Once it has
    /// been asked to let go, that is as it should be.
    fn is_abandoned(&self) -> bool {
        let armed = self.holder.as_ref().is_some_and(Holder::is_armed);
        armed && !self.is_guarded() && !self.phase.lets_go()
    }

    fn enter(&mut self, now: &Now, phase: Phase) {
        self.phase = phase;
        self.phase_since = now.instant;
        self.pass.hurry();
    }

    /// A number that differs from all others of this member, spread over 64 bits.
    fn draw(&mut self) -> u64 {
        self.draws.draw()
    }
}
