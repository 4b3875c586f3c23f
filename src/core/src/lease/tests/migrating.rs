//! Incoming entries: what they may stand beside, what they keep from others, and what becomes of their writes.

use super::lab::*;
use crate::fencing::OwnLease;
use crate::format::{LeaseEntry, LeaseFlags, LeaseState};
use crate::ids::{DomainId, Term};
use crate::lease::{
    AcquireKind, AcquireOutcome, AcquireRequest, Conflict, Destination, DomainSpec, LeaseEvent, Leases,
    Standing,
};

fn incoming(n: u8) -> AcquireRequest {
    let spec = DomainSpec { ha: true, ..DomainSpec::default() };
    AcquireRequest { domain: domain(n), kind: AcquireKind::Incoming(spec) }
}

fn retake(n: u8) -> AcquireRequest {
    AcquireRequest { domain: domain(n), kind: AcquireKind::Retake }
}

/// Host 0 runs domain 1 under term 4.
fn lab() -> Lab {
    let mut lab = Lab::new(3);
    lab.put(who(0, 1), 2, &[entry(1, LeaseState::Own, 4)]);
    lab
}

#[test]
fn a_migration_is_acquired_beside_its_live_source_above_its_term() {
    let mut lab = lab();
    let mut host = lab.host(who(1, 1));
    let got = won(lab.acquire(&mut host, incoming(1)));
    assert_eq!((got.state, got.term, got.pred), (LeaseState::Incoming, Term(5), None));
    assert_eq!(lab.says(1, 1), Some(got));
    assert_eq!((host.leases.incoming(domain(1)), host.leases.owns(domain(1))), (Some(Term(5)), false));
}

/// Catches: a destination that names the chain of its source's entry, which may be of before a snapshot.
#[test]
fn it_names_the_chain_that_comes_in_and_its_sources_version_of_that() {
    for (comes_in, version) in [(7, 5), (8, 0)] {
        let mut lab = Lab::new(3);
        let source = LeaseEntry { definition_hash: 7, definition_version: 5, ..entry(1, LeaseState::Own, 4) };
        lab.put(who(0, 1), 2, &[source]);
        let mut host = lab.host(who(1, 1));
        let spec = DomainSpec { ha: true, definition_hash: comes_in, ..DomainSpec::default() };
        let got =
            won(lab
                .acquire(&mut host, AcquireRequest { domain: domain(1), kind: AcquireKind::Incoming(spec) }));
        assert_eq!((got.definition_hash, got.definition_version), (comes_in, version));
    }
}

#[test]
fn its_want_says_that_it_is_a_migrations() {
    let mut lab = lab();
    let mut host = lab.host(who(1, 1));
    host.leases.acquire(incoming(1));
    lab.run_through_write(&mut host, 2);
    let want = lab.says(1, 1).expect("a want");
    assert_eq!((want.state, want.want_term), (LeaseState::Empty, Term(5)));
    assert!(want.flags.contains(LeaseFlags::WANT_INCOMING));
}

/// Catches: a migration that comes in beside anything but the one owner that lives.
#[test]
fn nothing_else_than_the_live_sources_own_may_stand_there() {
    let cases = [
        (entry(1, LeaseState::Incoming, 5), Some(Conflict::Incoming)),
        (entry(1, LeaseState::Own, 5), Some(Conflict::Own)),
        (want(1, 5), Some(Conflict::Want)),
    ];
    for (other, conflict) in cases {
        let mut lab = lab();
        lab.put(who(2, 1), 2, &[other]);
        let mut host = lab.host(who(1, 1));
        host.leases.acquire(incoming(1));
        lab.run(&mut host);
        for _ in 0..20 {
            lab.pass(std::time::Duration::from_secs(60));
            lab.run(&mut host);
        }
        assert_eq!(host.leases.incoming(domain(1)), None, "{conflict:?}");
        assert_eq!(lab.says(1, 1), None, "no want is left");
    }
    // A source that is gone, or has stopped, has nothing to send.
    for (state, gone) in [(LeaseState::Own, true), (LeaseState::Orphan, false), (LeaseState::Stopped, false)]
    {
        let mut lab = Lab::new(3);
        lab.put(who(0, 1), 2, &[entry(1, state, 4)]);
        if gone {
            lab.gone.insert(who(0, 1));
        }
        let mut host = lab.host(who(1, 1));
        let got = lab.acquire(&mut host, incoming(1));
        assert!(matches!(got, AcquireOutcome::NotRecoverable(_)), "{state:?}: {got:?}");
    }
}

/// Catches: a source that ends, and whose domain is stopped or taken, between the two scans.
#[test]
fn a_source_that_ends_between_the_scans_sends_nothing() {
    let mut lab = lab();
    let mut host = lab.host(who(1, 1));
    host.leases.acquire(incoming(1));
    lab.run_through_write(&mut host, 2);
    lab.put(who(0, 1), 3, &[entry(1, LeaseState::Stopped, 4)]);
    lab.run(&mut host);
    assert_eq!((host.leases.incoming(domain(1)), lab.says(1, 1)), (None, None));
}

/// Catches: an entry that blocks the domain for ever, though nobody was let in under it.
#[test]
fn an_incoming_whose_write_is_unknown_lets_nobody_in_and_is_erased_once_that_is_over() {
    for fate in [Fate::Fails, Fate::LandsUnacknowledged] {
        let mut lab = lab();
        let mut host = lab.host(who(1, 1));
        host.leases.acquire(incoming(1));
        lab.run_through_write(&mut host, 2);
        let write = lab.run_to_write(&mut host, 1);
        lab.finish(&mut host, &write, fate);
        assert_eq!(outcome(&lab.run(&mut host)), AcquireOutcome::Unknown);
        assert_eq!(host.leases.incoming(domain(1)), None);
        lab.settle_unknown(&mut host);
        lab.run(&mut host);
        assert_eq!(lab.says(1, 1), None, "{fate:?}");
    }
}

/// Catches: a destination that has given up and takes the domain again under the same term, so that its source, which has not
/// looked in between, goes on waiting for the attempt that has failed.
#[test]
fn each_attempt_of_a_host_to_let_a_domain_in_has_a_term_of_its_own() {
    let mut lab = lab();
    let mut host = lab.host(who(1, 1));
    for term in 5..8 {
        assert_eq!(won(lab.acquire(&mut host, incoming(1))).term, Term(term));
        lab.with(&mut host, |ctx, leases| leases.erase_incoming(ctx, domain(1)));
        lab.run(&mut host);
        assert_eq!(lab.says(1, 1), None);
    }
    // Also one whose write came to nothing as far as is known: its source may have seen it.
    host.leases.acquire(incoming(1));
    lab.run_through_write(&mut host, 2);
    let write = lab.run_to_write(&mut host, 1);
    lab.finish(&mut host, &write, Fate::LandsUnacknowledged);
    assert_eq!(outcome(&lab.run(&mut host)), AcquireOutcome::Unknown);
    lab.settle_unknown(&mut host);
    lab.run(&mut host);
    assert_eq!(won(lab.acquire(&mut host, incoming(1))).term, Term(9));
    // What an agent that is started again finds there, it remembers as well.
    let mut host = lab.restarted(who(1, 1));
    lab.run(&mut host);
    lab.with(&mut host, |ctx, leases| leases.erase_incoming(ctx, domain(1)));
    lab.run(&mut host);
    assert_eq!(won(lab.acquire(&mut host, incoming(1))).term, Term(10));
}

/// What comes in here, and what the source's leases are told.
fn arrived(lab: &mut Lab) -> Host {
    let mut host = lab.host(who(1, 1));
    won(lab.acquire(&mut host, incoming(1)));
    lab.with(&mut host, |ctx, leases| leases.arrived(ctx, domain(1)));
    host
}

#[test]
fn once_it_runs_it_is_own_at_the_same_term_and_that_is_written_until_it_is_known() {
    let mut lab = lab();
    let mut host = arrived(&mut lab);
    let write = lab.run_to_write(&mut host, 1);
    lab.finish(&mut host, &write, Fate::Fails);
    lab.run(&mut host);
    assert_eq!(lab.says(1, 1).map(|entry| entry.state), Some(LeaseState::Incoming));
    assert!(host.leases.owns(domain(1)) && host.leases.runs(domain(1)));
    lab.settle_unknown(&mut host);
    lab.run(&mut host);
    let own = lab.says(1, 1).expect("own");
    assert_eq!((own.state, own.term), (LeaseState::Own, Term(5)));
}

#[test]
fn one_that_fails_is_erased_at_once() {
    let mut lab = lab();
    let mut host = lab.host(who(1, 1));
    won(lab.acquire(&mut host, incoming(1)));
    lab.with(&mut host, |ctx, leases| leases.erase_incoming(ctx, domain(1)));
    lab.run(&mut host);
    assert_eq!(lab.says(1, 1), None);
}

/// Catches: a recovery, a start or another migration beside a destination that lives.
#[test]
fn a_live_incoming_blocks_all_others_also_when_its_source_is_gone_or_has_stopped() {
    for state in [LeaseState::Own, LeaseState::Stopped, LeaseState::Orphan] {
        let mut lab = lab();
        let mut host = lab.host(who(1, 1));
        won(lab.acquire(&mut host, incoming(1)));
        lab.put(who(0, 1), 3, &[entry(1, state, 4)]);
        lab.gone.insert(who(0, 1));
        for request in [recovery(1), plain(1), incoming(1)] {
            let mut other = lab.host(who(2, 1));
            let got = lab.acquire(&mut other, request);
            let busy = AcquireOutcome::Busy { who: who(1, 1), conflict: Conflict::Incoming };
            assert_eq!(got, busy, "{state:?} {request:?}");
        }
    }
}

/// Catches: two entries of one term, once a late write of the dead destination says `own`.
#[test]
fn a_gone_incoming_keeps_its_term_from_recoveries_and_from_the_source_that_takes_its_domain_again() {
    let mut lab = lab();
    lab.put(who(1, 1), 2, &[entry(1, LeaseState::Incoming, 5)]);
    lab.gone.insert(who(1, 1));
    let mut source = lab.restarted(who(0, 1));
    let retaken = won(lab.acquire(&mut source, retake(1)));
    assert_eq!((retaken.state, retaken.term), (LeaseState::Own, Term(6)));
    assert!(retaken.flags.contains(LeaseFlags::HA) && source.leases.owns(domain(1)));
    assert_eq!(source.leases.own_leases()[0].term, Term(6));
    lab.gone.insert(who(0, 1));
    let mut other = lab.host(who(2, 1));
    assert_eq!(won(lab.acquire(&mut other, recovery(1))).term, Term(7));
}

/// Catches: an own entry that is written as ended while its process is there all the time.
#[test]
fn a_retake_of_unknown_outcome_stays_own_at_the_higher_term() {
    let mut lab = lab();
    lab.put(who(1, 1), 2, &[entry(1, LeaseState::Incoming, 5)]);
    lab.gone.insert(who(1, 1));
    let mut source = lab.restarted(who(0, 1));
    source.leases.acquire(retake(1));
    lab.run_through_write(&mut source, 2);
    let write = lab.run_to_write(&mut source, 1);
    lab.finish(&mut source, &write, Fate::Fails);
    assert_eq!(outcome(&lab.run(&mut source)), AcquireOutcome::Unknown);
    assert!(source.leases.owns(domain(1)) && !source.leases.is_written(domain(1)));
    lab.settle_unknown(&mut source);
    lab.run(&mut source);
    let own = lab.says(0, 1).expect("own");
    assert_eq!((own.state, own.term, own.want_term), (LeaseState::Own, Term(6), Term(0)));
    assert_eq!(source.leases.own_leases()[0].term, Term(6));
}

fn standing(lab: &mut Lab, source: &mut Host) -> Option<Standing> {
    let since = lab.now.instant;
    source.leases.scan_page(0);
    let events = lab.run(source);
    let scan = events.into_iter().find_map(|event| match event {
        LeaseEvent::Scanned(scan) => Some(scan),
        _ => None,
    });
    let scan = scan.expect("it was read");
    lab.with(source, |ctx, leases: &mut Leases| leases.standing(&scan, domain(1), since, ctx.gone))
}

#[test]
fn how_a_source_stands_goes_by_what_its_destination_has_written() {
    let above = who(1, 1);
    let destination = Destination { who: above, term: Term(5) };
    let table = [
        (None, false, Standing::Top),
        (Some((LeaseState::Incoming, 5)), false, Standing::Arriving { destination, is_last: true }),
        (Some((LeaseState::Incoming, 5)), true, Standing::BelowTheGone),
        (Some((LeaseState::Own, 5)), false, Standing::Overtaken(destination)),
        (Some((LeaseState::Own, 5)), true, Standing::Overtaken(destination)),
        (Some((LeaseState::Stopped, 5)), false, Standing::Overtaken(destination)),
        (Some((LeaseState::Orphan, 5)), true, Standing::Overtaken(destination)),
        (Some((LeaseState::Orphan, 3)), false, Standing::Top),
    ];
    for (other, gone, expected) in table {
        let mut lab = lab();
        if let Some((state, term)) = other {
            lab.put(above, 2, &[entry(1, state, term)]);
        }
        if gone {
            lab.gone.insert(above);
        }
        let mut source = lab.restarted(who(0, 1));
        assert_eq!(standing(&mut lab, &mut source), Some(expected), "{other:?} gone {gone}");
    }
    let mut lab = lab();
    lab.damage(2, crate::format::RecordCopy::A);
    lab.damage(2, crate::format::RecordCopy::B);
    let mut source = lab.restarted(who(0, 1));
    assert_eq!(standing(&mut lab, &mut source), Some(Standing::Unknown(crate::ids::Slot(2))));
}

#[test]
fn a_restarted_agent_keeps_what_comes_in() {
    let mut lab = lab();
    let mut host = lab.host(who(1, 1));
    won(lab.acquire(&mut host, incoming(1)));
    let mut again = lab.restarted(who(1, 1));
    let kept: Option<Term> = again.leases.incoming(DomainId([1; 16]));
    assert_eq!((kept, again.leases.owns(domain(1))), (Some(Term(5)), false));
    // And nothing else takes it meanwhile.
    let got = lab.acquire(&mut again, plain(1));
    assert_eq!(got, AcquireOutcome::Busy { who: who(1, 1), conflict: Conflict::Incoming });
}

/// Catches: a source that stands still for good, since its list was written under the term before it was taken again.
#[test]
fn a_restarted_agent_knows_what_was_being_sent_under_an_older_term_too() {
    let mut lab = lab();
    let listed = OwnLease { domain: domain(1), term: Term(3), ran: true, outgoing: true };
    let again = lab.restarted_with(who(0, 1), &[listed]);
    assert!(again.leases.is_outgoing(domain(1)));
}
