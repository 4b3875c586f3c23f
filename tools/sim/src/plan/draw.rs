//! A plan from a seed.

use leasefence_core::fencing::StorageKind;
use leasefence_core::format::{Policy, WatchdogClass};
use leasefence_core::terms::{Preset, Timing};
use std::time::Duration;

use super::faults::Drawing;
use super::scenes::Scene;
use super::trusted::bring_fencers_back;
use super::{Class, ClusterPlan, DomainPlan, Fault, FaultKind, HostPlan, Move, Operator, Plan, Reset};
use crate::time::{MS, S, nanos};

/// What is asked for on the command line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// This many hosts; none: drawn.
    pub hosts: Option<usize>,
    /// These classes of faults; empty: drawn.
    pub classes: Vec<Class>,
    /// How long the faults go on, in nanoseconds.
    pub faults_for: Option<u64>,
    /// How long a cluster may take to be well again, in nanoseconds.
    pub heals_within: Option<u64>,
}

/// How long the faults go on, unless told otherwise.
const FAULTS_FOR: u64 = 360 * S;
/// How long a cluster may take to be well again.
const HEALS_WITHIN: u64 = 240 * S;

impl Plan {
    /// What the seed stands for, under these options.
    #[must_use]
    pub fn draw(seed: u64, options: &Options) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let classes =
            if options.classes.is_empty() { draw_classes(&mut rng) } else { options.classes.clone() };
        let edge = is_edge(&classes);
        let count = options.hosts.unwrap_or_else(|| draw_hosts(&mut rng));
        let timing = draw_timing(&mut rng, edge);
        let cluster = draw_cluster(&mut rng, count, &timing, edge);
        let mut hosts: Vec<HostPlan> =
            (0..count).map(|index| draw_host(&mut rng, index, &timing, &classes)).collect();
        if classes.contains(&Class::Identity) && rng.u8(..3) == 0 {
            // A clone of a machine: the same identity, and its own boot.
            let clone = rng.usize(..count);
            // Where there is a DMI uuid the agent refuses before it looks at the storage.
            hosts[clone].has_machine_uuid = false;
            hosts.push(HostPlan {
                spare: true,
                boot_offset: rng.u64(..S * 1_000_000),
                ..hosts[clone].clone()
            });
        }
        draw_kernels(seed, &mut hosts);
        let domains =
            (0..count + rng.usize(..=count)).map(|_| draw_domain(&mut rng, count, &cluster)).collect();
        let mended_at = options.faults_for.unwrap_or(FAULTS_FOR);
        let mut plan = Self {
            seed,
            classes,
            cluster,
            hosts,
            domains,
            faults: Vec::new(),
            left_out: Vec::new(),
            off: Vec::new(),
            unstarted: Vec::new(),
            hook: false,
            mended_at,
            heals_within: options.heals_within.unwrap_or(HEALS_WITHIN),
        };
        let scene = plan.classes.iter().copied().find(|class| class.is_scene());
        match scene {
            Some(class) => Scene { rng, plan: &mut plan }.set(class),
            None => {
                plan.faults = Drawing { rng, plan: &plan, timing }.faults();
                plan.faults.extend(draw_tears(&plan));
                plan.faults.extend(draw_survivors(&plan));
                plan.faults.extend(draw_moves(&plan));
                plan.faults.extend(super::maintenance::draw(&plan));
                plan.faults.sort_by_key(|fault| fault.at);
                bring_fencers_back(&mut plan);
            }
        }
        plan
    }
}

/// Agents that crash die at times in the middle of a write of the page, or what they wrote there is struck. Drawn apart, so that
/// what seeds stood for before is still there.
fn draw_tears(plan: &Plan) -> Vec<Fault> {
    let mut rng = fastrand::Rng::with_seed(plan.seed ^ 0x7ea2);
    let count = if plan.classes.contains(&Class::Crashes) { rng.usize(..4) } else { 0 };
    let mut draw = || {
        let longest = pick(&mut rng, [S, 4 * S, 30 * S]);
        let back_after = MS + rng.u64(..longest);
        let kind = match rng.u8(..4) {
            0 => FaultKind::PageStruck,
            _ => FaultKind::DiesWritingPage { words: rng.u8(..80), back_after },
        };
        Fault { at: rng.u64(20 * S..plan.mended_at.max(21 * S)), host: rng.usize(..plan.hosts.len()), kind }
    };
    let faults = (0..count).map(|_| draw());
    faults.filter(|fault| fault.at < plan.mended_at).collect()
}

/// Guests that cannot be killed, on hosts that rest on their own reset alone: not where their fencers die, which pull no trigger then.
fn draw_survivors(plan: &Plan) -> Vec<Fault> {
    let mut rng = fastrand::Rng::with_seed(plan.seed ^ 0x5eed_0f5e);
    if !plan.classes.contains(&Class::Guests) {
        return Vec::new();
    }
    let by_itself = |host: &usize| plan.hosts[*host].reset == Reset::On && plan.is_reset_at_last(*host);
    let resets = (0..plan.hosts.len()).filter(by_itself);
    let faults = resets.map(|host| {
        let (at, lasts) = (rng.u64(20 * S..plan.mended_at.max(21 * S)), 5 * S + rng.u64(..100 * S));
        Fault { at, host, kind: FaultKind::Unkillable { lasts } }
    });
    faults.filter(|fault| fault.at < plan.mended_at).collect()
}

/// In half of the plans orchestrators migrate domains. Drawn apart, as above.
fn draw_moves(plan: &Plan) -> Vec<Fault> {
    let mut rng = fastrand::Rng::with_seed(plan.seed ^ 0x3019_2a7e);
    let quiet = plan.classes.iter().any(|class| matches!(class, Class::Tolerated | Class::Edge));
    let count = if !quiet && rng.bool() { rng.usize(..16) } else { 0 };
    let mut draw = || {
        let (domain, how) = (rng.usize(..plan.domains.len()), Move::draw(&mut rng));
        let kind = FaultKind::Operator(Operator::Migrate { domain, how });
        Fault { at: rng.u64(20 * S..plan.mended_at.max(21 * S)), host: rng.usize(..plan.hosts.len()), kind }
    };
    let faults: Vec<_> = (0..count).map(|_| draw()).collect();
    faults.into_iter().filter(|fault| fault.at < plan.mended_at).collect()
}

/// Most seeds mix two to five classes, some all; some are of one of the special ones.
fn draw_classes(rng: &mut fastrand::Rng) -> Vec<Class> {
    match rng.u8(..20) {
        0 | 1 => return vec![Class::Tolerated],
        2 => return vec![Class::Edge],
        3 => return Class::MIXED.to_vec(),
        4 => return vec![Class::Takeover],
        5 => return vec![Class::Takeover, Class::Join],
        _ => {}
    }
    let mut classes = Class::MIXED.to_vec();
    rng.shuffle(&mut classes);
    classes.truncate(2 + rng.usize(..4));
    classes.sort_unstable();
    classes
}

/// True where clocks and latencies are at the edge of what is allowed.
fn is_edge(classes: &[Class]) -> bool {
    classes.iter().any(|class| matches!(class, Class::Edge | Class::Moments | Class::Ticks | Class::Reads))
}

/// Mostly three: what breaks breaks there, and a cluster of sixteen costs as much as thirty of three.
fn draw_hosts(rng: &mut fastrand::Rng) -> usize {
    match rng.u8(..20) {
        0..=2 => 2,
        3..=13 => 3,
        14..=16 => 4,
        17 => 5,
        18 => 6 + rng.usize(..3),
        _ if rng.bool() => 9 + rng.usize(..8),
        _ => 3,
    }
}

fn draw_timing(rng: &mut fastrand::Rng, edge: bool) -> Timing {
    match rng.u8(..10) {
        _ if edge => Preset::Fast.timing(),
        0..=4 => Preset::Fast.timing(),
        5..=7 => Timing::derive(Duration::from_secs(12)),
        8 => Timing::derive(Duration::from_secs(10 + rng.u64(..10))),
        _ => Preset::Default.timing(),
    }
}

fn draw_cluster(rng: &mut fastrand::Rng, hosts: usize, timing: &Timing, edge: bool) -> ClusterPlan {
    let drain = nanos(timing.terms.write_drain);
    let hold = |rng: &mut fastrand::Rng| if edge { drain } else { pick(rng, [0, MS, drain / 4, drain]) };
    let kind = |rng: &mut fastrand::Rng| {
        if rng.u8(..4) == 0 { StorageKind::Nfs } else { StorageKind::OneKernel }
    };
    let storages = (0..=rng.usize(..2)).map(|_| (kind(rng), hold(rng))).collect();
    let room = u16::try_from(hosts + rng.usize(..3)).unwrap_or(16);
    ClusterPlan {
        max_hosts: if rng.u8(..12) == 0 && hosts > 2 {
            room.min(u16::try_from(hosts - 1).unwrap_or(2))
        } else {
            room
        },
        pages: 1 + rng.u8(..3),
        unit: if rng.u8(..4) == 0 { 4096 } else { 512 },
        policy: Policy::ACCEPT_NONE.with(Policy::ACCEPT_SOFT).with(Policy::ACCEPT_VIRTUAL).with(Policy::TEST),
        hold: if edge { 0 } else { pick(rng, [0, MS, 20 * MS, drain / 8]) },
        storages,
        observer: rng.u8(..4) == 0,
        rank_delay: 2 * S,
    }
}

fn draw_host(rng: &mut fastrand::Rng, index: usize, timing: &Timing, classes: &[Class]) -> HostPlan {
    let edge = is_edge(classes);
    let watchdog = match rng.u8(..10) {
        0..=5 => WatchdogClass::Hardware,
        6 => WatchdogClass::Soft,
        _ => WatchdogClass::None,
    };
    let watchdog = if edge { WatchdogClass::Hardware } else { watchdog };
    let granule = Duration::from_millis(10);
    let terms = match watchdog {
        WatchdogClass::None => timing.terms,
        _ => timing.terms_with_watchdog(timing.watchdog_timeout, granule),
    };
    let bound = i32::from(terms.drift_ppm);
    let drift_ppm = if edge { if rng.bool() { bound } else { -bound } } else { rng.i32(-bound..=bound) };
    HostPlan {
        machine: u8::try_from(index).unwrap_or_default(),
        has_machine_uuid: rng.u8(..8) != 0,
        spare: false,
        boot_offset: rng.u64(..S * 1_000_000),
        drift_ppm,
        terms,
        watchdog,
        reset: Reset::Off,
        reset_takes: if edge { 500 * MS } else { rng.u64(..=500 * MS) },
        latency: if edge { MS / 10 } else { pick(rng, [MS / 2, 2 * MS, 20 * MS, 80 * MS]) },
        beat: pick(rng, [50 * MS, 100 * MS, 250 * MS]),
        boots_at: if rng.u8(..4) == 0 { rng.u64(..10 * S) } else { rng.u64(..200 * MS) },
        boot_takes: if rng.u8(..3) == 0 { 200 * MS } else { 5 * S + rng.u64(..20 * S) },
        memory_mib: pick(rng, [1_000, 100_000]),
        calls_end: 0,
        guests_stick: false,
    }
}

/// What a host's kernel makes of calls that are cut off, and whether it resets itself. Drawn apart, so that what seeds stood for before stays as it was.
fn draw_kernels(seed: u64, hosts: &mut [HostPlan]) {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x000c_a115);
    for host in hosts {
        host.calls_end = pick(&mut rng, [0, 100 * MS, 500 * MS, 1_500 * MS]);
        host.guests_stick = rng.u8(..3) == 0;
        let resets = pick(&mut rng, [Reset::Off, Reset::On, Reset::On, Reset::Refused]);
        if host.watchdog == WatchdogClass::None {
            host.reset = resets;
        }
    }
}

fn draw_domain(rng: &mut fastrand::Rng, hosts: usize, cluster: &ClusterPlan) -> DomainPlan {
    let first = rng.usize(..cluster.storages.len());
    let second = rng.usize(..cluster.storages.len());
    DomainPlan {
        host: rng.usize(..hosts),
        ha: rng.u8(..6) != 0,
        storages: [Some(first), (second != first).then_some(second)],
        starts_at: if rng.u8(..3) == 0 { 0 } else { 12 * S + rng.u64(..20 * S) },
    }
}

/// One of these.
pub(super) fn pick<T: Copy, const N: usize>(rng: &mut fastrand::Rng, from: [T; N]) -> T {
    from[rng.usize(..N)]
}
