//! The holder: when its lease ends, what extends it, and that nothing revives it.

use std::time::Duration;

use crate::disk::Path;
use crate::world::{World, guest};

const FAST_PATH: Path = Path::Works(Duration::from_millis(2));

#[test]
fn a_host_that_cannot_renew_kills_its_domains_at_the_leases_end_by_itself() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    let last_renewal = world.last(0, "renewal").expect("it renewed");
    world.path(0, Path::Cut);
    world.until(10, "killed", |world| !world.hosts[0].guests.contains_key(&guest(1)));
    let after = world.last(0, "killed").expect("told") - last_renewal;
    assert!((7_900..=8_100).contains(&after), "ttl is 8 s: {after}\n{}", world.story());
    world.until(10, "it runs elsewhere", |world| world.runs_on(1) == [1]);
    world.path(0, FAST_PATH);
    world.until(30, "it rejoins", |world| world.state(0) == "held");
    assert_eq!(world.generation(0).0, 2);
}

#[test]
fn a_stall_of_seven_and_a_half_seconds_is_survived() {
    let mut world = World::held(3);
    world.user_starts(0, 1);
    world.run(5_000);
    world.path(0, Path::Cut);
    world.run(7_300);
    world.path(0, FAST_PATH);
    world.run(5_000);
    assert_eq!(
        (world.state(0), world.generation(0).0, world.runs_on(1)),
        ("held", 1, vec![0]),
        "{}",
        world.story()
    );
}

#[test]
fn a_stopped_agents_incarnation_is_over_and_nothing_revives_it() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    // SIGSTOP: the fencer goes on, and acts at the end.
    world.hosts[0].agent_stopped = true;
    world.until(10, "killed", |world| !world.hosts[0].guests.contains_key(&guest(1)));
    world.run(20_000);
    assert_eq!(world.runs_on(1), [1], "{}", world.story());
    // SIGCONT: a write that was in flight is acknowledged now.
    world.hosts[0].agent_stopped = false;
    world.until(30, "it rejoins without a restart", |world| {
        world.generation(0).0 == 2 && world.state(0) == "held"
    });
    assert_eq!(world.count(0, "lease-end"), 1, "{}", world.story());
    world.run(10_000);
    assert_eq!(world.runs_on(1), [1]);
}

#[test]
fn an_agent_that_is_stopped_right_at_a_renewal_revives_nothing_either() {
    for lead in [0, 2, 3, 250] {
        let mut world = World::held(2);
        world.user_starts(0, 1);
        world.run(5_000 + lead);
        world.hosts[0].agent_stopped = true;
        world.run(8_600);
        world.hosts[0].agent_stopped = false;
        world.until(30, "it rejoins", |world| world.generation(0).0 == 2 && world.state(0) == "held");
        assert_eq!(world.count(0, "lease-end"), 1, "lead {lead}\n{}", world.story());
    }
}

#[test]
fn an_agent_restarted_within_its_lease_keeps_its_generation() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    let before = world.incarnation(0);
    world.hosts[0].kill_agent();
    world.run(3_000);
    world.start_agent(0);
    world.until(3, "held again", |world| world.state(0) == "held");
    world.run(20_000);
    assert_eq!((world.incarnation(0), world.state(0)), (before, "held"), "{}", world.story());
    assert_eq!(world.runs_on(1), [0]);
    let owned = world.status(0).domains.iter().any(|domain| domain.lease == "own");
    assert!(owned, "its domain's lease goes on\n{}", world.story());
}

#[test]
fn an_agent_restarted_after_its_leases_end_gives_the_receipt_and_rejoins() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    let before = world.incarnation(0);
    world.hosts[0].kill_agent();
    world.run(8_500);
    world.start_agent(0);
    world.until(30, "it rejoins", |world| world.state(0) == "held");
    assert_eq!(world.generation(0).0, before.generation.0 + 1, "{}", world.story());
    assert!(world.last(0, "fenced").is_some(), "{}", world.story());
    assert_eq!(world.evidence(1, before), Some("fenced"));
}

#[test]
fn an_acknowledged_renewal_that_no_read_back_shows_does_not_count() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    world.path(0, Path::LosesWrites);
    world.until(9, "killed", |world| !world.hosts[0].guests.contains_key(&guest(1)));
    world.run(20_000);
    assert_eq!(world.runs_on(1), [1], "{}", world.story());
}

#[test]
fn a_write_of_unknown_outcome_that_lands_late_is_written_over_and_told() {
    let mut world = World::held(2);
    world.run(5_000);
    world.path(0, Path::LandsLate(Duration::from_millis(3_200)));
    world.run(700);
    world.path(0, FAST_PATH);
    world.run(10_000);
    assert_eq!((world.state(0), world.generation(0).0), ("held", 1), "{}", world.story());
    assert!(world.told(0, "own-record-damaged", "went back"), "{}", world.story());
}

#[test]
fn a_suspend_ends_the_lease_at_once() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(3_000);
    world.hosts[0].suspended_ns = 20_000_000;
    world.run(200);
    assert!(
        world.told(0, "lease-end", "suspended") || world.told(0, "fencer", "suspended"),
        "{}",
        world.story()
    );
    assert!(world.runs_on(1).is_empty());
}

#[test]
fn an_agent_whose_fencer_is_silent_renews_no_more_and_kills_at_the_end() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    let before = world.incarnation(0);
    world.hosts[0].fencer_stopped = true;
    world.until(12, "killed by the agent itself", |world| world.told(0, "killed", "agent"));
    world.until(15, "a peer says so", |world| world.evidence(1, before) == Some("expired"));
    world.until(5, "it runs elsewhere", |world| world.runs_on(1) == [1]);
}

#[test]
fn a_fencer_that_beats_again_in_time_lets_the_lease_go_on() {
    let mut world = World::held(2);
    world.run(3_000);
    world.hosts[0].fencer_stopped = true;
    world.run(4_000);
    world.hosts[0].start_fencer(world.at);
    world.run(10_000);
    assert_eq!((world.state(0), world.generation(0).0), ("held", 1), "{}", world.story());
}

#[test]
fn the_fencer_is_armed_before_the_first_held_is_issued() {
    // The fencer beats, and cannot arm: no `held` may lie on storage, however long the host has been joining.
    let mut world = World::new(1);
    world.boot(0);
    world.hosts[0].marker_broken = true;
    world.run(30_000);
    let held = |world: &World| {
        let mut records = world.layout().slots().flat_map(|slot| world.copies(slot)).flatten();
        records.any(|record| record.state.as_str() == "held")
    };
    assert!(!held(&world), "{}", world.story());
    world.hosts[0].marker_broken = false;
    world.until(5, "held", |world| world.state(0) == "held");
    world.run(1_000);
    assert!(held(&world) && world.hosts[0].fencer_half.armed);
}

#[test]
fn libvirt_away_at_the_start_does_not_keep_a_host_from_joining() {
    let mut world = World::new(1);
    world.hosts[0].libvirt_away = true;
    world.boot(0);
    world.until(30, "held", |world| world.state(0) == "held");
    let warned = world.status(0).warnings.iter().any(|warning| warning.contains("libvirt"));
    assert!(warned, "{:?}", world.status(0).warnings);
}

#[test]
fn a_restarted_agent_with_a_longer_ttl_keeps_the_shorter_one_until_both_copies_carry_it() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(3_000);
    world.hosts[0].kill_agent();
    world.hosts[0].terms.lease_ttl = Duration::from_secs(12);
    world.run(500);
    world.start_agent(0);
    world.until(5, "held", |world| world.state(0) == "held");
    world.until(5, "in use", |world| world.status(0).own.terms.lease_ttl == Duration::from_secs(12));
    let carried = world.copies(world.slot(0)).map(|copy| copy.map(|record| record.terms.lease_ttl.as_secs()));
    assert_eq!(carried, [Some(12), Some(12)], "{}", world.story());
    world.run(2_000);
    world.path(0, Path::Cut);
    world.until(14, "killed", |world| world.runs_on(1).is_empty());
    world.until(10, "it runs elsewhere", |world| world.runs_on(1) == [1]);
}

#[test]
fn a_restarted_agent_with_a_shorter_ttl_keeps_it_from_the_start_and_writes_it_after_the_echo() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(3_000);
    world.hosts[0].kill_agent();
    world.hosts[0].terms.lease_ttl = Duration::from_secs(5);
    world.run(500);
    world.hosts[0].fencer_stopped = true;
    world.start_agent(0);
    world.run(700);
    let carried = |world: &World| {
        world.copies(world.slot(0)).map(|copy| copy.map(|record| record.terms.lease_ttl.as_secs()))
    };
    assert_eq!(carried(&world), [Some(8), Some(8)], "the fencer has not echoed it\n{}", world.story());
    world.hosts[0].start_fencer(world.at);
    world.run(3_000);
    assert_eq!(carried(&world), [Some(5), Some(5)], "{}", world.story());
    world.path(0, Path::Cut);
    world.until(6, "killed", |world| world.runs_on(1).is_empty());
}

#[test]
fn an_agent_killed_in_the_middle_of_a_recovery_leaves_no_second_start() {
    for after in (0..60).step_by(7) {
        let mut world = World::held(2);
        world.user_starts(0, 1);
        world.run(5_000);
        world.hosts[0].power_off();
        world.until(30, "a verdict", |world| world.last(1, "verdict").is_some());
        world.run(after);
        world.hosts[1].kill_agent();
        world.run(1_000);
        world.start_agent(1);
        world.until(60, "it runs again", |world| world.runs_on(1) == [1] && world.state(1) == "held");
        world.run(10_000);
        let owned = world.status(1).domains.iter().any(|domain| domain.lease == "own");
        assert!(owned && world.runs_on(1) == [1], "killed {after} ms after the verdict\n{}", world.story());
    }
}

#[test]
fn an_agent_restarted_in_a_stall_that_outlasts_its_lease_gives_the_receipt_and_rejoins() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    let before = world.incarnation(0);
    world.path(0, Path::Cut);
    world.run(3_000);
    // A renewal is in flight: its outcome is unknown from here on. The lease still runs.
    world.hosts[0].kill_agent();
    world.path(0, FAST_PATH);
    world.start_agent(0);
    // The header is read, and then the storage stalls again.
    world.run(5);
    world.path(0, Path::Cut);
    world.run(7_000);
    assert!(!world.runs_on(1).contains(&0), "killed by the fencer\n{}", world.story());
    world.path(0, FAST_PATH);
    let waited = world.until(60, "it rejoins", |world| world.state(0) == "held");
    assert_eq!(world.generation(0).0, before.generation.0 + 1, "{}", world.story());
    assert!(world.last(0, "fenced").is_some(), "{}", world.story());
    assert!(
        waited >= 20_000,
        "that renewal may land until unknown_hold has passed: {waited} ms\n{}",
        world.story()
    );
}

#[test]
fn an_agent_killed_while_it_first_joins_goes_on_with_its_configured_terms() {
    let mut world = World::new(1);
    world.boot(0);
    let joining = |world: &World| world.layout().slots().any(|slot| world.copies(slot)[0].is_some());
    world.until(30, "a joining record", joining);
    world.hosts[0].kill_agent();
    world.run(500);
    world.start_agent(0);
    world.until(60, "held", |world| world.state(0) == "held");
}

#[test]
fn a_read_that_fails_when_a_verdict_is_due_is_made_again_after_an_interval_and_not_at_once() {
    let mut world = World::held(2);
    world.run(3_000);
    world.hosts[0].power_off();
    world.run(10_800);
    world.path(1, Path::ReadsFail);
    world.run(1_000);
    let failed = world.count(1, "scan-failed");
    assert!((2..=5).contains(&failed), "{failed} reads in 1 s\n{}", world.story());
    world.path(1, FAST_PATH);
    world.until(1, "a verdict", |world| world.last(1, "verdict").is_some());
}
