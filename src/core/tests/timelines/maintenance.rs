//! Disarming, arming again, and a clean stop.

use leasefence_core::member::Request;

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
