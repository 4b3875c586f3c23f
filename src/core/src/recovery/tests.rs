//! Timelines of recoveries: from the news of a death to a running domain, or back.

use std::time::Duration;

use super::{
    GoneHost, Recoveries, RecoveryAction, RecoveryPolicy, Stage, StartBarrier, Survey, Survivor, back_off,
    preference,
};
use crate::fencing::{DomainProcess, FencerHalf};
use crate::format::{LeaseEntry, LeaseFlags, LeaseState, RecordCopy};
use crate::ids::{HostKey, Incarnation, Term};
use crate::lease::tests::lab::*;
use crate::lease::{DomainSpec, LeaseContext, LeaseEvent, Leases};
use crate::member::StartFailure;
use crate::time::Instant;

const DRAIN: Duration = Duration::from_secs(2);
const QUICK: Duration = Duration::from_millis(100);

/// A host with its leases and recoveries, fed as a member feeds them.
struct Node {
    host: Host,
    recoveries: Recoveries,
    done: Vec<RecoveryAction>,
    scans: u64,
    /// No barrier that an entry's end needs is acknowledged.
    path_cut: bool,
    /// Its lease is held.
    holds: bool,
}

fn key(slot: u16) -> HostKey {
    HostKey([u8::try_from(slot).unwrap() + 1; 16])
}

impl Node {
    fn new(lab: &Lab, me: Incarnation) -> Self {
        let recoveries = Recoveries::new(RecoveryPolicy::default(), lab.layout, me);
        Self { host: lab.host(me), recoveries, done: Vec::new(), scans: 0, path_cut: false, holds: true }
    }

    fn with<T>(
        &mut self,
        lab: &Lab,
        f: impl FnOnce(&LeaseContext<'_>, &mut Leases, &mut Recoveries) -> T,
    ) -> T {
        let recoveries = &mut self.recoveries;
        lab.with(&mut self.host, |ctx, leases| f(ctx, leases, recoveries))
    }

    /// A scan: who is gone, and who is left.
    fn survey(&mut self, lab: &mut Lab, survivors: &[u16]) {
        let survivor = |slot: &u16| Survivor { incarnation: who(*slot, 1), host_key: key(*slot) };
        let gone = |incarnation: &Incarnation| GoneHost {
            incarnation: *incarnation,
            evidence: "expired",
            stall_start: Some(lab.now.instant),
        };
        let survey = Survey {
            survivors: survivors.iter().map(survivor).collect(),
            gone: lab.gone.iter().map(gone).collect(),
            page_versions: Vec::new(),
            write_drain: DRAIN,
            free_memory_mib: Some(4096),
        };
        self.with(lab, |ctx, leases, recoveries| recoveries.survey(ctx, leases, survey));
        self.turn(lab);
    }

    /// All that can happen without time or an answer from outside.
    fn turn(&mut self, lab: &mut Lab) {
        for _ in 0..10 {
            for event in lab.run(&mut self.host) {
                if let LeaseEvent::Barrier { domain, asked } = event
                    && !self.path_cut
                {
                    self.with(lab, |ctx, leases, _| {
                        leases.barrier(ctx, domain, asked, &Ok(QUICK), Duration::ZERO);
                        leases.quiet_turn(ctx);
                    });
                }
                self.with(lab, |ctx, leases, recoveries| recoveries.handle_lease_event(ctx, leases, &event));
            }
            let holds = self.holds;
            while let Some(action) =
                self.with(lab, |ctx, leases, recoveries| recoveries.poll(ctx, leases, holds))
            {
                self.done.push(action);
            }
        }
    }

    /// Time passes in steps of a quarter of a second.
    fn pass(&mut self, lab: &mut Lab, duration: Duration) {
        let end = lab.now.instant.plus(duration);
        while lab.now.instant.boot_ns < end.boot_ns {
            lab.pass(Duration::from_millis(250));
            self.turn(lab);
        }
    }

    fn barrier(&mut self, lab: &mut Lab, n: u8, result: &Result<Duration, String>) {
        let stage = self.recoveries.get(domain(n)).map(|recovery| recovery.stage.clone());
        let Some(Stage::Barrier(StartBarrier::Asked(since))) = stage else {
            panic!("no barrier is waited for: {stage:?}")
        };
        self.barrier_of(lab, n, since, result);
    }

    /// The answer to the barrier that was asked for at this instant.
    fn barrier_of(&mut self, lab: &mut Lab, n: u8, asked: Instant, result: &Result<Duration, String>) {
        self.with(lab, |ctx, leases, recoveries| recoveries.barrier(ctx, leases, domain(n), asked, result));
        self.turn(lab);
    }

    fn start_ended(&mut self, lab: &mut Lab, n: u8, result: &Result<(), StartFailure>) {
        let term = self.recoveries.get(domain(n)).unwrap().entry.term;
        self.with(lab, |ctx, leases, recoveries| {
            recoveries.start_ended(ctx, leases, domain(n), term, result);
        });
        self.turn(lab);
    }

    /// The fencer goes on to scan.
    fn fencer(&mut self, lab: &mut Lab, scans: u64, shown: &[u8]) {
        for _ in 0..scans {
            lab.pass(Duration::from_millis(1));
            self.scans += 1;
            let process = |n: &u8| DomainProcess { domain: domain(*n), ..DomainProcess::default() };
            let half = FencerHalf {
                beat: lab.now.instant,
                scans: self.scans,
                processes: shown.iter().map(process).collect(),
                ..FencerHalf::default()
            };
            self.with(lab, |ctx, leases, recoveries| {
                leases.fencer(ctx, &half);
                recoveries.fencer(ctx, leases, &half);
            });
        }
        self.turn(lab);
    }

    fn stage(&self, n: u8) -> Option<&'static str> {
        self.recoveries.get(domain(n)).map(|recovery| recovery.stage.as_str())
    }

    /// What was asked for, but for the notes and for when.
    fn asked(&mut self) -> Vec<RecoveryAction> {
        let done = std::mem::take(&mut self.done);
        let timeless = |action| match action {
            RecoveryAction::Barrier { domain, .. } => barrier(domain.0[0]),
            other => other,
        };
        done.into_iter().filter(|action| !matches!(action, RecoveryAction::Note(_))).map(timeless).collect()
    }
}

fn start(n: u8, term: u32) -> RecoveryAction {
    RecoveryAction::Start { domain: domain(n), term: Term(term), definition_hash: 0 }
}

fn barrier(n: u8) -> RecoveryAction {
    RecoveryAction::Barrier { domain: domain(n), asked: Instant::default() }
}

/// Domain 1 was owned by host 2, which has just died; host 0 is the only survivor.
fn after_a_death() -> (Lab, Node) {
    let mut lab = Lab::new(3);
    lab.put(who(2, 1), 2, &[entry(1, LeaseState::Own, 3)]);
    lab.gone.insert(who(2, 1));
    let node = Node::new(&lab, who(0, 1));
    (lab, node)
}

/// As [`after_a_death`], and host 0 was asked to start the domain.
fn starting() -> (Lab, Node) {
    let (mut lab, mut node) = after_a_death();
    node.survey(&mut lab, &[0]);
    node.barrier(&mut lab, 1, &Ok(QUICK));
    assert_eq!(node.stage(1), Some("starting"));
    node.asked();
    (lab, node)
}

#[test]
fn a_death_is_followed_by_acquire_barrier_token_and_start_in_this_order() {
    let (mut lab, mut node) = after_a_death();
    node.survey(&mut lab, &[0]);
    assert_eq!(lab.says(0, 1).map(|e| (e.state, e.term)), Some((LeaseState::Own, Term(4))));
    assert_eq!(node.asked(), [barrier(1)], "own is acknowledged; no start before the barrier");
    assert_eq!(node.recoveries.tokens(), []);
    node.barrier(&mut lab, 1, &Ok(QUICK));
    assert_eq!(node.asked(), [RecoveryAction::Publish, start(1, 4)]);
    assert_eq!(
        node.recoveries.tokens()[0].domain,
        domain(1),
        "the token is in the page that is published first"
    );
    node.start_ended(&mut lab, 1, &Ok(()));
    assert_eq!(node.stage(1), Some("running"));
    assert!(node.host.leases.own_leases()[0].ran);
    assert_eq!(node.recoveries.tokens().len(), 1, "open until the fencer shows its process");
    node.fencer(&mut lab, 1, &[1]);
    assert_eq!(node.recoveries.tokens(), []);
    assert_eq!(node.asked(), [RecoveryAction::Publish]);
}

#[test]
fn the_barrier_is_issued_only_after_own_is_acknowledged() {
    let (mut lab, mut node) = after_a_death();
    let survey = |node: &mut Node, lab: &Lab| {
        let survivors = vec![Survivor { incarnation: who(0, 1), host_key: key(0) }];
        let gone = vec![GoneHost { incarnation: who(2, 1), evidence: "expired", stall_start: None }];
        let survey =
            Survey { survivors, gone, write_drain: DRAIN, free_memory_mib: Some(1), ..Survey::default() };
        node.with(lab, |ctx, leases, recoveries| recoveries.survey(ctx, leases, survey));
    };
    survey(&mut node, &lab);
    // The scan of the page, then S1 to S3 and copy A of S4.
    let mut writes = 0;
    while writes < 4 {
        while let Some(action) = node.with(&lab, |ctx, leases, recoveries| recoveries.poll(ctx, leases, true))
        {
            assert!(!matches!(action, RecoveryAction::Barrier { .. }), "before write {writes}");
        }
        let op = lab.next(&mut node.host);
        for event in events(&mut node.host) {
            node.with(&lab, |ctx, leases, recoveries| recoveries.handle_lease_event(ctx, leases, &event));
        }
        let Some(op) = op else { continue };
        writes += usize::from(matches!(op, crate::storage::IoOp::Write { .. }));
        if writes < 4 {
            lab.finish(&mut node.host, &op, Fate::Done);
        }
    }
    node.turn(&mut lab);
    assert_eq!(node.asked(), [barrier(1)]);
}

#[test]
fn no_acknowledged_barrier_no_start() {
    let (mut lab, mut node) = after_a_death();
    node.survey(&mut lab, &[0]);
    node.asked();
    node.barrier(&mut lab, 1, &Err("I/O error".into()));
    assert!(node.asked().iter().all(|action| !matches!(action, RecoveryAction::Start { .. })));
    let mine = lab.says(0, 1).unwrap();
    assert_eq!((mine.state, mine.failures, mine.term), (LeaseState::Orphan, 1, Term(4)), "given back");
}

#[test]
fn a_barrier_that_is_never_answered_is_given_up() {
    let (mut lab, mut node) = after_a_death();
    node.survey(&mut lab, &[0]);
    node.pass(&mut lab, Duration::from_secs(31));
    assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Orphan);
}

#[test]
fn a_slow_barrier_waits_a_further_write_drain() {
    let (mut lab, mut node) = after_a_death();
    node.survey(&mut lab, &[0]);
    node.asked();
    node.barrier(&mut lab, 1, &Ok(DRAIN / 4 + Duration::from_millis(1)));
    node.pass(&mut lab, DRAIN - Duration::from_millis(250));
    assert_eq!(node.asked(), []);
    node.pass(&mut lab, Duration::from_millis(250));
    assert_eq!(node.asked(), [RecoveryAction::Publish, start(1, 4)]);
}

#[test]
fn a_slow_own_renewal_since_the_stall_start_waits_a_further_write_drain() {
    for (before, waits) in [(true, false), (false, true)] {
        let (mut lab, mut node) = after_a_death();
        let slow = DRAIN / 4 + Duration::from_millis(1);
        node.survey(&mut lab, &[0]);
        let at = if before { Instant::default() } else { lab.now.instant };
        node.recoveries.renewal_took(slow, at);
        node.asked();
        node.barrier(&mut lab, 1, &Ok(QUICK));
        assert_eq!(node.asked().is_empty(), waits, "slow before the stall start: {before}");
    }
}

#[test]
fn a_failed_start_is_given_back_as_an_orphan_once_its_token_is_closed() {
    let (mut lab, mut node) = starting();
    node.start_ended(&mut lab, 1, &Err(StartFailure::Failed("no such image".into())));
    assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Own, "its token is open");
    node.fencer(&mut lab, 2, &[]);
    assert_eq!((node.recoveries.tokens().len(), lab.says(0, 1).unwrap().state), (1, LeaseState::Own));
    node.fencer(&mut lab, 1, &[]);
    assert_eq!(node.recoveries.tokens(), []);
    let mine = lab.says(0, 1).unwrap();
    assert_eq!((mine.state, mine.failures), (LeaseState::Orphan, 1), "an orphan, not stopped: others try");
}

#[test]
fn a_failed_start_is_given_back_only_once_its_storages_are_quiet_and_keeps_no_place_meanwhile() {
    let (mut lab, mut node) = starting();
    node.path_cut = true;
    node.start_ended(&mut lab, 1, &Err(StartFailure::Failed("killed by a hook".into())));
    node.fencer(&mut lab, 3, &[]);
    node.pass(&mut lab, Duration::from_secs(60));
    assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Own, "its CPUs may have run for a moment");
    assert!(node.recoveries.is_quiet() && node.recoveries.tokens().is_empty());
    assert!(node.asked().iter().all(|action| !matches!(action, RecoveryAction::Barrier { .. })));
}

#[test]
fn the_answer_to_an_earlier_barrier_is_none() {
    let (mut lab, mut node) = after_a_death();
    let earlier = lab.now.instant;
    node.survey(&mut lab, &[0]);
    node.asked();
    node.barrier_of(&mut lab, 1, earlier, &Ok(QUICK));
    assert_eq!((node.stage(1), node.asked()), (Some("barrier"), vec![]));
}

#[test]
fn a_failed_start_whose_process_is_still_shown_stays_own() {
    let (mut lab, mut node) = starting();
    node.start_ended(&mut lab, 1, &Err(StartFailure::Failed("timed out".into())));
    node.fencer(&mut lab, 10, &[1]);
    assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Own);
    assert_eq!(node.recoveries.tokens().len(), 1);
}

#[test]
fn an_image_lock_is_tried_again_each_second_without_counting_as_a_failure() {
    let (mut lab, mut node) = starting();
    for _ in 0..5 {
        node.start_ended(&mut lab, 1, &Err(StartFailure::ImageLocked));
        assert!(node.recoveries.get(domain(1)).unwrap().reason.contains("locked"), "said in status");
        node.fencer(&mut lab, 3, &[]);
        assert_eq!(node.recoveries.tokens(), [], "closed between two tries");
        node.pass(&mut lab, Duration::from_secs(1));
        assert!(node.asked().contains(&start(1, 4)), "under the same term");
    }
    node.start_ended(&mut lab, 1, &Ok(()));
    assert_eq!(lab.says(0, 1).map(|e| (e.state, e.failures)), Some((LeaseState::Own, 0)));
}

#[test]
fn an_image_that_stays_locked_beyond_twice_the_lease_time_is_a_failure() {
    let (mut lab, mut node) = starting();
    node.start_ended(&mut lab, 1, &Err(StartFailure::ImageLocked));
    node.fencer(&mut lab, 3, &[]);
    node.pass(&mut lab, Duration::from_secs(211));
    node.start_ended(&mut lab, 1, &Err(StartFailure::ImageLocked));
    node.fencer(&mut lab, 3, &[]);
    assert_eq!(lab.says(0, 1).map(|e| (e.state, e.failures)), Some((LeaseState::Orphan, 1)));
}

#[test]
fn every_survivor_computes_the_same_preference_and_a_failure_moves_on_to_the_next() {
    let survivors = [0, 1, 2].map(|slot| Survivor { incarnation: who(slot, 1), host_key: key(slot) });
    let mut turned = survivors;
    turned.reverse();
    let order = preference(domain(1), &survivors, 0);
    assert_eq!(order, preference(domain(1), &turned, 0));
    let firsts: Vec<_> = (0..3).map(|failures| preference(domain(1), &survivors, failures)[0]).collect();
    assert_eq!(firsts, order, "three failures try three hosts");
    let spread: std::collections::BTreeSet<_> =
        (1..20).map(|n| preference(domain(n), &survivors, 0)[0].incarnation).collect();
    assert_eq!(spread.len(), 3, "domains spread over the hosts");
}

#[test]
fn the_first_tries_at_once_and_the_others_after_a_delay_by_rank() {
    let survivors = [0, 1].map(|slot| Survivor { incarnation: who(slot, 1), host_key: key(slot) });
    let first = preference(domain(1), &survivors, 0)[0].incarnation;
    let second = if first == who(0, 1) { who(1, 1) } else { who(0, 1) };
    let (mut lab, _) = after_a_death();
    let mut node = Node::new(&lab, second);
    node.survey(&mut lab, &[0, 1]);
    assert_eq!(node.stage(1), Some("waiting"));
    let mut other = Node::new(&lab, first);
    other.survey(&mut lab, &[0, 1]);
    assert_eq!(other.stage(1), Some("barrier"));
    node.pass(&mut lab, Duration::from_secs(3));
    assert_eq!(node.asked(), [], "the first has it");
    assert!(matches!(node.stage(1), None | Some("left_to_peer")));
}

#[test]
fn the_second_tries_when_the_first_does_not_come() {
    let survivors = [0, 1].map(|slot| Survivor { incarnation: who(slot, 1), host_key: key(slot) });
    let first = preference(domain(1), &survivors, 0)[0].incarnation;
    let second = if first == who(0, 1) { who(1, 1) } else { who(0, 1) };
    let (mut lab, _) = after_a_death();
    let mut node = Node::new(&lab, second);
    node.survey(&mut lab, &[0, 1]);
    node.pass(&mut lab, Duration::from_secs(3));
    assert_eq!(node.asked(), [barrier(1)]);
}

#[test]
fn highest_priority_goes_first_and_the_limiter_lets_four_at_once() {
    let mut lab = Lab::new(3);
    let owned: Vec<_> = (1..=6).map(|n| LeaseEntry { priority: n, ..entry(n, LeaseState::Own, 1) }).collect();
    lab.put(who(2, 1), 2, &owned);
    lab.gone.insert(who(2, 1));
    let mut node = Node::new(&lab, who(0, 1));
    node.survey(&mut lab, &[0]);
    let under_way: Vec<_> = (1..=6).filter(|n| node.stage(*n) == Some("barrier")).collect();
    assert_eq!(under_way, [3, 4, 5, 6]);
    assert_eq!(lab.says(0, 2), None);
    node.barrier(&mut lab, 6, &Ok(QUICK));
    node.start_ended(&mut lab, 6, &Ok(()));
    assert_eq!(node.stage(2), Some("barrier"), "a place is free again");
}

#[test]
fn what_has_no_room_here_waits() {
    let mut lab = Lab::new(3);
    lab.put(who(2, 1), 2, &[LeaseEntry { memory_mib: 4097, ..entry(1, LeaseState::Own, 1) }]);
    lab.gone.insert(who(2, 1));
    let mut node = Node::new(&lab, who(0, 1));
    node.survey(&mut lab, &[0]);
    assert_eq!(node.stage(1), Some("waiting"));
    assert!(node.recoveries.get(domain(1)).unwrap().reason.contains("no room"));
}

#[test]
fn orphans_of_hosts_that_live_are_recovered_too() {
    let mut lab = Lab::new(3);
    lab.put(who(1, 1), 2, &[entry(1, LeaseState::Orphan, 3)]);
    let mut node = Node::new(&lab, who(0, 1));
    node.survey(&mut lab, &[0]);
    assert_eq!(node.asked(), [barrier(1)]);
    assert_eq!(lab.says(0, 1).unwrap().pred, None);
}

#[test]
fn only_ha_domains_that_nobody_stopped_are_recovered() {
    let mut lab = Lab::new(3);
    let plain = LeaseEntry { flags: LeaseFlags::PROTECTED, ..entry(1, LeaseState::Own, 3) };
    let entries = [plain, entry(2, LeaseState::Stopped, 3), entry(3, LeaseState::Saved, 3)];
    lab.put(who(2, 1), 2, &entries);
    lab.gone.insert(who(2, 1));
    let mut node = Node::new(&lab, who(0, 1));
    node.survey(&mut lab, &[0]);
    node.pass(&mut lab, Duration::from_secs(10));
    assert_eq!((node.asked(), node.recoveries.status()), (vec![], vec![]));
}

#[test]
fn a_held_domain_is_shown_and_left_until_it_is_resumed() {
    let mut lab = Lab::new(3);
    let flags = entry(1, LeaseState::Own, 3).flags.set(LeaseFlags::HOLD, true);
    lab.put(who(2, 1), 2, &[LeaseEntry { flags, deaths: 2, ..entry(1, LeaseState::Own, 3) }]);
    lab.gone.insert(who(2, 1));
    let mut node = Node::new(&lab, who(0, 1));
    node.survey(&mut lab, &[0]);
    node.pass(&mut lab, Duration::from_secs(20));
    assert_eq!((node.asked(), node.stage(1)), (vec![], Some("held")));
    assert!(node.with(&lab, |ctx, _, recoveries| recoveries.resume(ctx, domain(1))));
    node.turn(&mut lab);
    assert_eq!(node.asked(), [barrier(1)]);
    assert_eq!(lab.says(0, 1).map(|e| e.deaths), Some(0));
}

#[test]
fn failures_are_waited_for_twice_as_long_each_time_at_most_300_seconds() {
    let longest = Duration::from_secs(300);
    let waits = [0, 1, 2, 8, 9, 200].map(|failures| back_off(failures, longest).as_secs());
    assert_eq!(waits, [0, 2, 4, 256, 300, 300]);
}

#[test]
fn a_failed_start_is_tried_again_after_its_back_off() {
    let (mut lab, mut node) = starting();
    node.start_ended(&mut lab, 1, &Err(StartFailure::Failed("no such image".into())));
    node.fencer(&mut lab, 3, &[]);
    node.asked();
    node.pass(&mut lab, Duration::from_millis(1500));
    assert_eq!(node.asked(), []);
    node.pass(&mut lab, Duration::from_secs(2));
    assert_eq!(node.asked(), [barrier(1)]);
    assert_eq!(lab.says(0, 1).map(|e| (e.term, e.failures)), Some((Term(5), 1)));
}

#[test]
fn a_recovered_domain_that_crashes_here_is_recovered_again() {
    let (mut lab, mut node) = starting();
    node.start_ended(&mut lab, 1, &Ok(()));
    node.fencer(&mut lab, 1, &[1]);
    node.asked();
    let now = lab.now.instant;
    node.host.leases.stopped(domain(1), crate::member::StopReason::Crashed, now);
    node.fencer(&mut lab, 3, &[]);
    node.pass(&mut lab, Duration::from_secs(1));
    assert!(node.asked().contains(&barrier(1)));
    assert_eq!(lab.says(0, 1).map(|e| (e.state, e.term)), Some((LeaseState::Own, Term(5))));
}

#[test]
fn after_the_own_lease_nothing_starts_and_tokens_stay_until_they_are_closed() {
    let (mut lab, mut node) = starting();
    node.host.may_write = false;
    node.recoveries.lost();
    node.turn(&mut lab);
    assert_eq!(node.recoveries.tokens().len(), 1);
    node.start_ended(&mut lab, 1, &Err(StartFailure::Failed("killed".into())));
    node.fencer(&mut lab, 3, &[]);
    assert_eq!(node.recoveries.tokens(), []);
    assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Own, "only a rejoin changes it");
}

#[test]
fn a_lease_that_ends_before_the_barrier_is_answered_starts_nothing() {
    let (mut lab, mut node) = after_a_death();
    node.survey(&mut lab, &[0]);
    node.asked();
    node.host.may_write = false;
    node.barrier(&mut lab, 1, &Ok(QUICK));
    assert_eq!(node.asked(), []);
}

#[test]
fn two_survivors_that_see_a_death_recover_each_domain_once() {
    let mut lab = Lab::new(3);
    lab.put(who(2, 1), 2, &(1..=10).map(|n| entry(n, LeaseState::Own, 1)).collect::<Vec<_>>());
    lab.gone.insert(who(2, 1));
    let mut nodes = [Node::new(&lab, who(0, 1)), Node::new(&lab, who(1, 1))];
    for node in &mut nodes {
        node.survey(&mut lab, &[0, 1]);
    }
    let mut starts = Vec::new();
    for _ in 0..60 {
        for node in &mut nodes {
            node.pass(&mut lab, Duration::from_millis(250));
            for action in node.asked() {
                match action {
                    RecoveryAction::Barrier { domain: key, .. } => {
                        node.barrier(&mut lab, key.0[0], &Ok(QUICK));
                    }
                    RecoveryAction::Start { domain: key, .. } => {
                        starts.push(key.0[0]);
                        node.start_ended(&mut lab, key.0[0], &Ok(()));
                    }
                    _ => {}
                }
            }
        }
    }
    starts.sort_unstable();
    assert_eq!(starts, (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_stage_says_whether_its_token_is_open() {
    let proof = crate::lease::GoneProof::new(Instant::default());
    assert!(Stage::Starting.token_open() && Stage::GivingUp { proof }.token_open());
    assert!(!Stage::Acquiring.token_open() && !Stage::Returning.token_open());
}

#[test]
fn a_start_that_was_given_up_and_is_listed_as_running_runs() {
    let (mut lab, mut node) = starting();
    node.start_ended(&mut lab, 1, &Err(StartFailure::Failed("libvirt went away".into())));
    let running = [domain(1)].into_iter().collect();
    let now = lab.now;
    node.recoveries.listed(&mut node.host.leases, &running, &now);
    node.fencer(&mut lab, 5, &[1]);
    assert_eq!((node.stage(1), node.recoveries.tokens()), (Some("running"), vec![]));
    assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Own);
    assert!(node.host.leases.own_leases()[0].ran);
}

#[test]
fn a_hold_that_its_owner_lifts_ends_here_too() {
    let mut lab = Lab::new(3);
    let flags = entry(1, LeaseState::Orphan, 3).flags.set(LeaseFlags::HOLD, true);
    lab.put(who(1, 1), 2, &[LeaseEntry { flags, failures: 6, ..entry(1, LeaseState::Orphan, 3) }]);
    let mut node = Node::new(&lab, who(0, 1));
    node.survey(&mut lab, &[0]);
    assert_eq!(node.stage(1), Some("held"));
    lab.put(who(1, 1), 3, &[entry(1, LeaseState::Orphan, 3)]);
    node.pass(&mut lab, Duration::from_secs(6));
    assert_eq!(node.asked(), [barrier(1)]);
}

#[test]
fn an_old_definition_that_was_left_here_changes_nothing_of_what_is_recovered() {
    let (mut lab, mut node) = after_a_death();
    node.survey(&mut lab, &[0]);
    assert_eq!((node.asked(), node.stage(1)), (vec![barrier(1)], Some("barrier")));
    // Libvirt knows the domain here too, shut off, as it was before it moved away.
    let old = DomainSpec { ha: false, definition_hash: 99, vcpus: 1, ..DomainSpec::default() };
    node.host.leases.update(domain(1), &old);
    node.turn(&mut lab);
    assert_eq!(lab.says(0, 1).map(|e| (e.state, e.definition_hash)), Some((LeaseState::Own, 0)));
    node.barrier(&mut lab, 1, &Ok(QUICK));
    assert_eq!(node.asked(), [RecoveryAction::Publish, start(1, 4)]);
}

#[test]
fn an_entry_that_changed_before_the_start_is_started_all_the_same() {
    let (mut lab, mut node) = after_a_death();
    lab.put(who(2, 1), 3, &[LeaseEntry { failures: 1, ..entry(1, LeaseState::Own, 3) }]);
    node.survey(&mut lab, &[0]);
    node.pass(&mut lab, Duration::from_secs(3));
    assert_eq!(node.stage(1), Some("barrier"));
    node.host.leases.resume(domain(1));
    node.turn(&mut lab);
    node.asked();
    node.barrier(&mut lab, 1, &Ok(QUICK));
    assert_eq!(node.asked(), [RecoveryAction::Publish, start(1, 4)], "else it would be owned and never run");
}

#[test]
fn while_acquires_are_ended_nothing_is_begun() {
    let (mut lab, mut node) = after_a_death();
    node.host.leases.close();
    node.survey(&mut lab, &[0]);
    let before = node.done.len();
    node.pass(&mut lab, Duration::from_secs(30));
    assert_eq!((node.stage(1), node.done.len()), (Some("waiting"), before), "{:?}", node.done);
    node.host.leases.reopen();
    node.pass(&mut lab, Duration::from_secs(1));
    assert_eq!(node.asked(), [barrier(1)]);
}

#[test]
fn while_its_lease_is_not_held_a_host_begins_nothing_and_goes_on_with_what_is_under_way() {
    let (mut lab, mut node) = after_a_death();
    node.holds = false;
    node.survey(&mut lab, &[0]);
    node.pass(&mut lab, Duration::from_secs(30));
    assert_eq!((node.stage(1), node.asked()), (Some("waiting"), vec![]));
    node.holds = true;
    node.pass(&mut lab, Duration::from_secs(1));
    assert_eq!(node.asked(), [barrier(1)]);
    node.holds = false;
    node.barrier(&mut lab, 1, &Ok(QUICK));
    assert_eq!(
        node.asked(),
        [RecoveryAction::Publish, start(1, 4)],
        "the member refuses it, and it is given back"
    );
}

#[test]
fn a_recovery_whose_page_has_an_unknown_write_keeps_no_place_of_the_limiter() {
    let (mut lab, mut node) = after_a_death();
    let place = lab.layout.lease_page(0, who(0, 1).slot, RecordCopy::A);
    node.host.unknown.issue(place.offset, place.len, lab.now.instant);
    node.host.unknown.ended(place.offset, false);
    node.survey(&mut lab, &[0]);
    assert_eq!((node.asked(), node.stage(1)), (vec![], Some("waiting")), "others go first meanwhile");
    lab.settle_unknown(&mut node.host);
    node.pass(&mut lab, Duration::from_secs(6));
    assert_eq!(node.asked(), [barrier(1)]);
}
