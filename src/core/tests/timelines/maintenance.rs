//! Disarming, arming again, a clean stop, and an operator's word.

use std::time::Duration;

use leasefence_core::fencing::Wish;
use leasefence_core::format::{HostState, WatchdogClass};
use leasefence_core::member::Request;

use crate::disk::Path;
use crate::world::World;

#[test]
fn a_disarmed_host_is_not_fenced_and_never_expires() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    let before = world.incarnation(0);
    let request = world.ask(0, Request::Disarm);
    world.until(10, "disarmed", |world| world.reply(0, request).is_some());
    assert_eq!((world.state(0), world.hosts[0].is_disarmed()), ("disarmed", true), "{}", world.story());
    world.run(1_000);
    assert!(world.status(1).maintenance.is_some_and(|line| line.contains("host-0")));
    // Its agent is gone for a minute: nobody calls it expired, nobody kills its guest.
    world.hosts[0].kill_agent();
    world.run(60_000);
    assert_eq!((world.evidence(1, before), world.runs_on(1)), (None, vec![0]), "{}", world.story());
    // A restarted agent finds itself disarmed.
    world.start_agent(0);
    world.run(5_000);
    assert_eq!((world.state(0), world.incarnation(0)), ("disarmed", before), "{}", world.story());
    let request = world.ask(0, Request::Arm);
    world.until(10, "armed", |world| world.reply(0, request).is_some());
    world.run(3_000);
    assert_eq!((world.state(0), world.hosts[0].is_disarmed(), world.incarnation(0)), ("held", false, before));
    assert_eq!(world.runs_on(1), [0]);
}

/// The device that a record speaks of is let go in maintenance: no `held` may speak of it afterwards (R12).
#[test]
fn the_first_held_after_maintenance_carries_the_watchdog_that_there_is_then() {
    let mut world = World::new(1);
    world.hosts[0].watchdog_class = WatchdogClass::Hardware.code();
    world.boot(0);
    world.until(60, "held", |world| world.state(0) == "held");
    world.run(2_000);
    let slot = world.slot(0);
    let held = |world: &World| {
        let copies = world.copies(slot).into_iter().flatten();
        let held = copies.filter(|record| record.state == HostState::Held);
        held.map(|record| record.watchdog_class).collect::<Vec<_>>()
    };
    assert_eq!(held(&world), [WatchdogClass::Hardware; 2]);
    let disarm = world.ask(0, Request::Disarm);
    world.until(10, "disarmed", |world| world.reply(0, disarm).is_some());
    world.run(1_000);
    world.hosts[0].watchdog_class = WatchdogClass::None.code();
    world.hosts[0].kill_agent();
    world.start_agent(0);
    world.until(10, "it goes on", |world| world.state(0) == "disarmed");
    let arm = world.ask(0, Request::Arm);
    while held(&world).len() < 2 {
        world.run(1);
        let all_none = held(&world).iter().all(|class| *class == WatchdogClass::None);
        assert!(all_none && world.at < 200_000_000_000, "{:?}\n{}", held(&world), world.story());
    }
    assert!(world.reply(0, arm).is_some_and(|(done, _)| done));
}

#[test]
fn the_fencer_lets_go_only_after_both_copies_were_read_back_twice_write_drain_apart() {
    let mut world = World::held(1);
    let request = world.ask(0, Request::Disarm);
    world.until(10, "both copies say so", |world| {
        world
            .copies(world.slot(0))
            .iter()
            .all(|copy| copy.as_ref().is_some_and(|r| r.state.as_str() == "disarmed"))
    });
    let both = world.at;
    assert!(!world.hosts[0].is_disarmed(), "{}", world.story());
    world.until(10, "let go", |world| world.hosts[0].is_disarmed());
    assert!(
        world.at - both >= 1_000_000_000,
        "write_drain is 1 s: {} ns\n{}",
        world.at - both,
        world.story()
    );
    world.until(10, "told", |world| world.reply(0, request).is_some());
}

#[test]
fn the_fencer_does_not_let_go_while_one_copy_still_says_held() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(3_000);
    world.path(0, Path::LosesCopyB);
    world.ask(0, Request::Disarm);
    world.run(15_000);
    assert!(!world.hosts[0].is_disarmed(), "{}", world.story());
    assert_eq!(world.runs_on(1), [0], "renewals of the other copy go on\n{}", world.story());
}

#[test]
fn no_record_says_disarmed_while_a_write_of_one_that_says_held_may_still_land() {
    let mut world = World::held(1);
    world.path(0, Path::LandsLate(Duration::from_millis(100)));
    world.run(700);
    world.path(0, Path::Works(Duration::from_millis(2)));
    let slot = world.slot(0);
    let request = world.ask(0, Request::Disarm);
    // unknown_hold is 20 s.
    for _ in 0..150 {
        world.run(100);
        let weaker = world.copies(slot).iter().flatten().any(|record| record.state.as_str() == "disarmed");
        assert!(!weaker, "{}", world.story());
    }
    world.until(60, "disarmed", |world| world.reply(0, request).is_some_and(|(done, _)| done));
}

#[test]
fn a_release_is_refused_while_a_protected_domain_runs_and_is_evidence_afterwards() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(3_000);
    let before = world.incarnation(0);
    let refused = world.ask(0, Request::Release);
    world.run(500);
    assert!(!world.reply(0, refused).expect("at once").0);
    world.user_stops(0, 1);
    world.run(8_000);
    let released = world.ask(0, Request::Release);
    world.until(15, "released", |world| world.reply(0, released).is_some());
    assert!(world.reply(0, released).expect("just seen").0, "{}", world.story());
    world.run(2_000);
    assert_eq!(world.evidence(1, before), Some("released"), "{}", world.story());
}

#[test]
fn a_release_in_the_middle_of_a_recovery_never_calls_a_running_domain_gone() {
    for after in (0..400).step_by(9) {
        let mut world = World::held(3);
        world.user_starts(0, 1);
        world.run(5_000);
        world.hosts[0].power_off();
        world.until(30, "a verdict", |world| world.last(1, "verdict").is_some());
        world.run(after);
        let requests = [world.ask(1, Request::Release), world.ask(2, Request::Release)];
        // The world checks after each step that nobody is called gone whose domain runs.
        world.run(30_000);
        for (index, request) in [1, 2].into_iter().zip(requests) {
            let reply = world.reply(index, request);
            assert!(reply.is_some(), "{after} ms after the verdict\n{}", world.story());
        }
    }
}

#[test]
fn a_release_out_of_maintenance_writes_no_held_record_on_its_way() {
    let mut world = World::held(1);
    let request = world.ask(0, Request::Disarm);
    world.until(10, "disarmed", |world| world.reply(0, request).is_some());
    // The outcome of a write of the own record is unknown: the release has to wait.
    world.path(0, Path::LandsLate(Duration::from_millis(100)));
    world.run(700);
    world.path(0, Path::Works(Duration::from_millis(2)));
    let slot = world.slot(0);
    let request = world.ask(0, Request::Release);
    let mut held = 0;
    for _ in 0..100 {
        world.run(100);
        held += world.copies(slot).iter().flatten().filter(|record| record.state.as_str() == "held").count();
    }
    assert_eq!(held, 0, "nobody guards this host\n{}", world.story());
    world.until(60, "released", |world| world.reply(0, request).is_some_and(|(done, _)| done));
}

/// A host that was asked to disarm, right after its page lets the fencer go.
fn about_to_be_let_go() -> World {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(5_000);
    world.ask(0, Request::Disarm);
    let wish = |world: &World| world.hosts[0].page.as_ref().map(|page| page.wish);
    world.until(10, "asked to let go", |world| wish(world) == Some(Wish::Disarm));
    assert!(!world.hosts[0].is_disarmed());
    world
}

#[test]
fn an_agent_restarted_while_the_fencer_is_asked_to_let_go_never_holds_unguarded() {
    let mut world = about_to_be_let_go();
    let before = world.incarnation(0);
    world.hosts[0].kill_agent();
    world.hosts[0].fencer_stopped = true;
    world.run(200);
    world.start_agent(0);
    world.run(1_000);
    // The fencer goes on, and reads what the page said then or says now.
    world.hosts[0].fencer_stopped = false;
    world.run(5_000);
    assert_eq!((world.state(0), world.hosts[0].is_disarmed()), ("disarmed", true), "{}", world.story());
    world.path(0, Path::Cut);
    world.run(30_000);
    assert_eq!((world.evidence(1, before), world.runs_on(1)), (None, vec![0]), "{}", world.story());
}

#[test]
fn a_fencer_that_has_let_go_leaves_no_lease_that_could_end() {
    let mut world = about_to_be_let_go();
    world.hosts[0].agent_stopped = true;
    world.run(9_000);
    assert!(world.hosts[0].is_disarmed());
    world.hosts[0].agent_stopped = false;
    world.run(3_000);
    assert_eq!((world.state(0), world.runs_on(1)), ("disarmed", vec![0]), "{}", world.story());
}

/// As [`about_to_be_let_go`]: the fencer lets go, and the agent, which was stopped for `ms`, has not looked at its half since.
fn let_go_unseen(ms: u64) -> World {
    let mut world = about_to_be_let_go();
    (world.hosts[0].agent_stopped, world.hosts[0].half_unseen) = (true, true);
    world.run(ms);
    assert!(world.hosts[0].is_disarmed());
    world
}

/// Host 1 is told that host 0 is off.
fn confirmed_by_mistake(world: &mut World) {
    world.tolerates_two_writers = true;
    let confirm = Request::Confirm { host: "host-0".to_owned(), reason: "a mistake".to_owned() };
    let request = world.ask(1, confirm);
    world.until(5, "confirmed", |world| world.reply(1, request).is_some_and(|(done, _)| done));
}

/// Host 0 reads that it is convicted before it looks at its fencer's half again; its guest is killed, and it comes back.
fn reads_that_and_fences(world: &mut World) {
    world.until(5, "it has read that", |world| world.count(0, "lease-end") > 0);
    world.run(500);
    world.hosts[0].half_unseen = false;
    world.until(10, "killed", |world| !world.runs_on(1).contains(&0));
    world.until(30, "it rejoins", |world| world.state(0) == "held" && world.generation(0).0 == 2);
}

#[test]
fn an_end_that_has_passed_ends_nothing_before_the_fencer_was_looked_at_that_may_have_let_go() {
    let mut world = let_go_unseen(9_000);
    world.hosts[0].agent_stopped = false;
    world.run(200);
    world.hosts[0].half_unseen = false;
    world.run(3_000);
    assert_eq!((world.state(0), world.runs_on(1)), ("disarmed", vec![0]), "{}", world.story());
    let request = world.ask(0, Request::Arm);
    world.until(10, "armed", |world| world.reply(0, request).is_some_and(|(done, _)| done));
    world.run(3_000);
    assert_eq!((world.state(0), world.runs_on(1)), ("held", vec![0]), "{}", world.story());
}

#[test]
fn a_suspend_after_the_fencer_has_let_go_ends_nothing_whoever_sees_it_first() {
    let mut world = let_go_unseen(1_000);
    world.hosts[0].suspended_ns = 3_600_000_000_000;
    world.hosts[0].agent_stopped = false;
    world.run(200);
    world.hosts[0].half_unseen = false;
    world.run(10_000);
    assert_eq!((world.state(0), world.runs_on(1)), ("disarmed", vec![0]), "{}", world.story());
}

#[test]
fn a_host_convicted_while_its_fencer_lets_go_unseen_is_armed_and_fences() {
    let mut world = let_go_unseen(7_000);
    confirmed_by_mistake(&mut world);
    world.hosts[0].agent_stopped = false;
    reads_that_and_fences(&mut world);
}

#[test]
fn an_agent_restarted_after_its_fencer_has_let_go_unseen_reads_a_conviction_and_fences() {
    let mut world = let_go_unseen(9_000);
    confirmed_by_mistake(&mut world);
    world.hosts[0].kill_agent();
    world.start_agent(0);
    reads_that_and_fences(&mut world);
}

#[test]
fn a_host_convicted_while_its_fencer_cannot_let_go_fences() {
    let mut world = about_to_be_let_go();
    world.hosts[0].marker_broken = true;
    world.hosts[0].agent_stopped = true;
    world.run(6_000);
    confirmed_by_mistake(&mut world);
    world.hosts[0].agent_stopped = false;
    world.until(5, "killed", |world| !world.runs_on(1).contains(&0));
    assert!(!world.hosts[0].is_disarmed(), "{}", world.story());
    world.hosts[0].marker_broken = false;
    world.until(30, "it rejoins", |world| world.state(0) == "held" && world.generation(0).0 == 2);
}

#[test]
fn a_lease_file_replaced_while_the_fencer_lets_go_unseen_fences() {
    for restarted in [false, true] {
        let mut world = let_go_unseen(1_000);
        if restarted {
            world.hosts[0].kill_agent();
            world.start_agent(0);
            world.until(5, "it goes on", |world| world.count(0, "resumed") > 0);
            world.run(100);
        }
        world.path(0, Path::Replaced);
        world.hosts[0].agent_stopped = false;
        world.until(5, "it has read that", |world| world.count(0, "lease-end") > 0);
        world.run(500);
        world.hosts[0].half_unseen = false;
        world.until(10, "killed", |world| world.runs_on(1).is_empty());
        world.until(10, "it ends itself", |world| world.count(0, "exit") > 0);
    }
}

/// A host between maintenance and its lease starts nothing: what it took would be owned, and run nowhere.
#[test]
fn a_host_whose_arming_waits_takes_no_domain_for_recovery() {
    // One for which it is not the first to try, and the first starts nothing.
    let second_in_line = |number: u8| {
        let mut world = World::held(3);
        world.user_starts(0, number);
        world.run(5_000);
        world.hosts[2].libvirt_away = true;
        world.run(2_000);
        world.hosts[0].power_off();
        world.until(30, "seen", |world| world.told(1, "recovery", "this host is number"));
        world.told(1, "recovery", "number 2 of 2").then_some((world, number))
    };
    let (mut world, number) = (1..=20).find_map(second_in_line).expect("there is one");
    let request = world.ask(1, Request::Disarm);
    world.until(10, "disarmed", |world| world.reply(1, request).is_some());
    world.hosts[1].marker_broken = true;
    let request = world.ask(1, Request::Arm);
    world.run(20_000);
    assert!(world.reply(1, request).is_none(), "{}", world.story());
    assert!(!world.told(1, "recovery", "its lease is acquired"), "{}", world.story());
    world.hosts[1].marker_broken = false;
    world.until(30, "it runs", |world| world.runs_on(number) == [1]);
}

#[test]
fn a_suspend_in_maintenance_kills_nothing() {
    let mut world = World::held(2);
    world.user_starts(0, 1);
    world.run(3_000);
    let request = world.ask(0, Request::Disarm);
    world.until(10, "disarmed", |world| world.reply(0, request).is_some());
    world.hosts[0].suspended_ns = 3_600_000_000_000;
    world.run(10_000);
    assert_eq!((world.state(0), world.runs_on(1)), ("disarmed", vec![0]), "{}", world.story());
}

#[test]
fn a_host_convicted_while_its_agent_was_away_in_maintenance_fences() {
    let mut world = World::held(2);
    world.tolerates_two_writers = true;
    world.user_starts(0, 1);
    world.run(3_000);
    let request = world.ask(0, Request::Disarm);
    world.until(10, "disarmed", |world| world.reply(0, request).is_some());
    world.hosts[0].kill_agent();
    world.run(10_000);
    let confirm = Request::Confirm { host: "host-0".to_owned(), reason: "a mistake".to_owned() };
    let request = world.ask(1, confirm);
    world.until(5, "confirmed", |world| world.reply(1, request).is_some_and(|(done, _)| done));
    world.start_agent(0);
    world.until(10, "killed", |world| !world.runs_on(1).contains(&0));
    world.until(30, "it rejoins", |world| world.state(0) == "held" && world.generation(0).0 == 2);
}

#[test]
fn a_live_host_is_not_confirmed_by_one_that_has_not_read_lately() {
    let mut world = World::held(2);
    world.run(3_000);
    world.path(1, Path::Cut);
    world.run(6_500);
    assert_eq!(world.state(1), "held");
    let confirm = Request::Confirm { host: "host-0".to_owned(), reason: "it looks dead".to_owned() };
    let request = world.ask(1, confirm);
    world.run(200);
    let (done, text) = world.reply(1, request).expect("at once");
    assert!(!done && text.contains("a host that writes is not off"), "{text}\n{}", world.story());
}
