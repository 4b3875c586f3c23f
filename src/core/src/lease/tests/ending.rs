//! How an own entry ends, what bounds failing starts, and what a restarted agent settles.

use std::collections::BTreeSet;
use std::time::Duration;

use super::lab::*;
use crate::fencing::{DomainProcess, FencerHalf, OwnLease};
use crate::format::{LeaseBase, LeaseEntry, LeaseFlags, LeaseState, RecordCopy};
use crate::ids::Term;
use crate::lease::{DomainSpec, EndReason, HoldRule, LeaseEvent, LeasePolicy, Leases, ended};
use crate::member::StopReason;

const HOLD: HoldRule = HoldRule { failures: 6, deaths: 2 };

/// The fencer's half after so many scans, showing these domains' processes.
fn half(lab: &Lab, scans: u64, shown: &[u8]) -> FencerHalf {
    let processes =
        shown.iter().map(|n| DomainProcess { domain: domain(*n), scan: scans, ..DomainProcess::default() });
    FencerHalf { beat: lab.now.instant, scans, processes: processes.collect(), ..FencerHalf::default() }
}

/// Gives the host the halves of `scans` further scans, a quarter of a second apart.
pub(super) fn scans(lab: &mut Lab, host: &mut Host, from: u64, count: u64, shown: &[u8]) {
    for scan in from..from + count {
        lab.pass(Duration::from_millis(250));
        let half = half(lab, scan, shown);
        lab.with(host, |ctx, leases| leases.fencer(ctx, &half));
    }
}

pub(super) fn running(domains: &[u8]) -> BTreeSet<crate::ids::DomainId> {
    domains.iter().map(|n| domain(*n)).collect()
}

/// A host that owns domain 1 under term 1 and was seen to run it.
pub(super) fn owner(lab: &mut Lab) -> Host {
    let mut host = lab.host(who(0, 1));
    won(lab.acquire(&mut host, plain(1)));
    host.leases.listed(&running(&[1]), lab.now.instant);
    lab.run(&mut host);
    host
}

#[test]
fn the_table_of_how_an_own_entry_ends() {
    use EndReason::{Crashed, MigratedAway, NeverRan, Saved, Stopped};
    let plain = LeaseFlags::PROTECTED;
    let ha = plain.set(LeaseFlags::HA, true);
    for (reason, base, flags, state, failures) in [
        (NeverRan, LeaseBase::Recoverable, ha, LeaseState::Orphan, 1),
        (NeverRan, LeaseBase::Saved, ha, LeaseState::Saved, 0),
        (NeverRan, LeaseBase::Stopped, ha, LeaseState::Stopped, 0),
        (NeverRan, LeaseBase::None, ha, LeaseState::Stopped, 0),
        (Stopped, LeaseBase::Recoverable, ha, LeaseState::Stopped, 0),
        (Saved, LeaseBase::Recoverable, ha, LeaseState::Saved, 0),
        (Crashed, LeaseBase::Stopped, ha, LeaseState::Orphan, 0),
        (Crashed, LeaseBase::Stopped, plain, LeaseState::Stopped, 0),
        (MigratedAway { destination_seen: true }, LeaseBase::None, ha, LeaseState::Orphan, 0),
        (MigratedAway { destination_seen: false }, LeaseBase::None, ha, LeaseState::Stopped, 0),
    ] {
        let own = LeaseEntry { base, flags, pred: Some(who(2, 1)), ..entry(1, LeaseState::Own, 5) };
        let end = ended(&own, reason, HOLD, 0);
        assert_eq!((end.state, end.failures), (state, failures), "{reason:?} from {base:?}");
        assert_eq!((end.term, end.want_term, end.pred), (Term(5), Term(0), None), "always at its own term");
    }
}

#[test]
fn twice_as_many_failing_starts_as_hosts_put_a_domain_on_hold() {
    let own = LeaseEntry { base: LeaseBase::Recoverable, failures: 5, ..entry(1, LeaseState::Own, 5) };
    let hold = HoldRule::new(&LeasePolicy::default(), 3);
    assert!(ended(&own, EndReason::NeverRan, hold, 0).flags.contains(LeaseFlags::HOLD));
    let fewer = LeaseEntry { failures: 4, ..own };
    assert!(!ended(&fewer, EndReason::NeverRan, hold, 0).flags.contains(LeaseFlags::HOLD));
}

#[test]
fn a_stopped_domain_stays_own_until_the_fencer_shows_no_process_of_it() {
    let mut lab = Lab::new(3);
    let mut host = owner(&mut lab);
    host.leases.stopped(domain(1), StopReason::Shutdown, lab.now.instant);
    scans(&mut lab, &mut host, 10, 4, &[1]);
    lab.run(&mut host);
    assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Own, "its process is still there");
    scans(&mut lab, &mut host, 14, 1, &[]);
    let seen = lab.run(&mut host);
    assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Stopped);
    assert!(seen.iter().any(|event| matches!(event, LeaseEvent::Ended { domain: d, .. } if *d == domain(1))));
    assert!(!host.leases.owns(domain(1)));
}

#[test]
fn only_a_scan_that_began_after_the_stop_proves_anything() {
    // The half that is read first says that scan 10 has ended: scan 11 may have begun before the stop.
    let mut lab = Lab::new(3);
    let mut host = owner(&mut lab);
    let before = half(&lab, 30, &[]);
    lab.pass(Duration::from_millis(1));
    host.leases.stopped(domain(1), StopReason::Shutdown, lab.now.instant);
    lab.with(&mut host, |ctx, leases| leases.fencer(ctx, &before));
    scans(&mut lab, &mut host, 10, 2, &[]);
    assert!(host.leases.owns(domain(1)));
    scans(&mut lab, &mut host, 12, 1, &[]);
    assert!(!host.leases.owns(domain(1)));
}

#[test]
fn a_process_whose_domain_is_not_known_may_be_its() {
    let mut lab = Lab::new(3);
    let mut host = owner(&mut lab);
    host.leases.stopped(domain(1), StopReason::Shutdown, lab.now.instant);
    scans(&mut lab, &mut host, 10, 5, &[0]);
    assert!(host.leases.owns(domain(1)));
}

#[test]
fn a_crashed_ha_domain_is_an_orphan_and_so_is_one_of_a_host_that_shuts_down() {
    for reason in [StopReason::Crashed, StopReason::HostShutdown] {
        let mut lab = Lab::new(3);
        let mut host = owner(&mut lab);
        host.leases.stopped(domain(1), reason, lab.now.instant);
        scans(&mut lab, &mut host, 10, 3, &[]);
        lab.quiesce(&mut host);
        assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Orphan, "{reason:?}");
    }
}

#[test]
fn until_its_end_is_acknowledged_the_page_goes_on_to_say_that_a_domain_ran() {
    let mut lab = Lab::new(3);
    let mut host = owner(&mut lab);
    let listed = host.leases.own_leases();
    host.leases.stopped(domain(1), StopReason::Shutdown, lab.now.instant);
    scans(&mut lab, &mut host, 10, 3, &[]);
    assert!(!host.leases.owns(domain(1)));
    assert_eq!(host.leases.own_leases(), listed, "an agent restarted here finds `own` on storage");
    lab.run(&mut host);
    assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Stopped);
    assert_eq!(host.leases.own_leases(), []);
}

#[test]
fn a_reason_counts_only_if_the_domain_was_seen_running_under_this_term() {
    let mut lab = Lab::new(3);
    lab.put(who(1, 1), 2, &[entry(1, LeaseState::Orphan, 3)]);
    let mut host = lab.host(who(0, 1));
    won(lab.acquire(&mut host, plain(1)));
    host.leases.stopped(domain(1), StopReason::Shutdown, lab.now.instant);
    scans(&mut lab, &mut host, 10, 3, &[]);
    lab.quiesce(&mut host);
    let mine = lab.says(0, 1).unwrap();
    assert_eq!((mine.state, mine.failures), (LeaseState::Orphan, 1), "by base: the reason is an older one");
}

#[test]
fn a_domain_that_vanished_without_a_word_is_given_its_event_and_then_counts_as_crashed() {
    let mut lab = Lab::new(3);
    let mut host = owner(&mut lab);
    host.leases.listed(&running(&[]), lab.now.instant);
    scans(&mut lab, &mut host, 10, 3, &[]);
    assert!(host.leases.owns(domain(1)), "the event with the reason may be under way");
    lab.pass(Duration::from_secs(6));
    host.leases.listed(&running(&[]), lab.now.instant);
    scans(&mut lab, &mut host, 13, 3, &[]);
    lab.quiesce(&mut host);
    assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Orphan);
}

#[test]
fn after_the_latch_own_entries_stay() {
    let mut lab = Lab::new(3);
    let mut host = owner(&mut lab);
    host.leases.stopped(domain(1), StopReason::Shutdown, lab.now.instant);
    host.may_write = false;
    scans(&mut lab, &mut host, 10, 5, &[]);
    lab.run(&mut host);
    host.may_write = true;
    scans(&mut lab, &mut host, 15, 5, &[]);
    lab.run(&mut host);
    assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Own, "only a rejoin changes them");
}

#[test]
fn ten_minutes_running_forgive_failures_and_deaths() {
    let mut lab = Lab::new(3);
    lab.put(who(1, 1), 2, &[LeaseEntry { failures: 2, deaths: 1, ..entry(1, LeaseState::Own, 3) }]);
    lab.gone.insert(who(1, 1));
    let mut host = lab.host(who(0, 1));
    won(lab.acquire(&mut host, recovery(1)));
    host.leases.started(domain(1), lab.now.instant);
    lab.pass(Duration::from_secs(599));
    lab.run(&mut host);
    assert_eq!(lab.says(0, 1).map(|e| (e.failures, e.deaths)), Some((2, 2)));
    lab.pass(Duration::from_secs(1));
    lab.run(&mut host);
    let mine = lab.says(0, 1).unwrap();
    assert_eq!((mine.failures, mine.deaths, mine.flags.contains(LeaseFlags::HOLD)), (0, 0, false));
}

#[test]
fn the_entry_follows_what_libvirt_says_of_its_domain_once_it_runs() {
    let mut lab = Lab::new(3);
    let mut host = owner(&mut lab);
    let spec = DomainSpec { ha: false, priority: 7, definition_hash: 99, ..DomainSpec::default() };
    host.leases.update(domain(1), &spec);
    lab.run(&mut host);
    let mine = lab.says(0, 1).unwrap();
    assert_eq!((mine.priority, mine.definition_hash, mine.flags.contains(LeaseFlags::HA)), (7, 99, false));
    assert_eq!((mine.state, mine.term), (LeaseState::Own, Term(1)));
}

/// A restarted agent of incarnation 0.1, whose page listed domain 1 like this.
pub(super) fn restarted(lab: &Lab, ran: bool) -> Host {
    let lease = OwnLease { domain: domain(1), term: Term(1), ran, outgoing: false };
    let mut host = lab.host(who(0, 1));
    host.leases = Leases::after_restart(lab.config(who(0, 1)), &[lease]);
    host
}

#[test]
fn a_restarted_agent_keeps_its_own_entries_until_the_fencer_has_scanned_and_libvirt_has_answered() {
    let mut lab = Lab::new(3);
    lab.put(who(0, 1), 5, &[entry(1, LeaseState::Own, 1)]);
    let mut host = restarted(&lab, true);
    lab.run(&mut host);
    assert!(host.leases.owns(domain(1)));
    scans(&mut lab, &mut host, 10, 5, &[]);
    assert!(host.leases.owns(domain(1)), "libvirt has not answered");
    host.leases.listed(&running(&[]), lab.now.instant);
    assert!(host.leases.owns(domain(1)));
    scans(&mut lab, &mut host, 15, 1, &[]);
    lab.quiesce(&mut host);
    assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Orphan, "it ran; nobody knows how it ended");
}

#[test]
fn a_restarted_agent_takes_a_running_domain_over() {
    let mut lab = Lab::new(3);
    lab.put(who(0, 1), 5, &[entry(1, LeaseState::Own, 1)]);
    let mut host = restarted(&lab, false);
    lab.run(&mut host);
    host.leases.listed(&running(&[1]), lab.now.instant);
    scans(&mut lab, &mut host, 10, 5, &[1]);
    lab.run(&mut host);
    let lease = OwnLease { domain: domain(1), term: Term(1), ran: true, outgoing: false };
    assert_eq!(host.leases.own_leases(), [lease]);
    assert_eq!(lab.says(0, 1).unwrap().state, LeaseState::Own);
}

#[test]
fn what_never_ran_when_the_agent_was_restarted_goes_by_base() {
    let mut lab = Lab::new(3);
    lab.put(who(0, 1), 5, &[LeaseEntry { base: LeaseBase::Recoverable, ..entry(1, LeaseState::Own, 1) }]);
    let mut host = restarted(&lab, false);
    lab.run(&mut host);
    host.leases.listed(&running(&[]), lab.now.instant);
    scans(&mut lab, &mut host, 10, 3, &[]);
    lab.quiesce(&mut host);
    assert_eq!(lab.says(0, 1).map(|e| (e.state, e.failures)), Some((LeaseState::Orphan, 1)));
}

#[test]
fn a_restarted_agent_clears_its_wants() {
    let mut lab = Lab::new(3);
    lab.put(
        who(0, 1),
        5,
        &[want(1, 7), LeaseEntry { want_term: Term(8), ..entry(2, LeaseState::Stopped, 3) }],
    );
    let mut host = restarted(&lab, false);
    lab.run(&mut host);
    assert_eq!(lab.says(0, 1), None);
    assert_eq!(lab.says(0, 2), Some(entry(2, LeaseState::Stopped, 3)));
}

#[test]
fn a_restarted_agent_reads_a_sector_only_when_no_write_to_it_is_unknown() {
    //   before the restart: own 4 issued, not acknowledged
    //   after it: the sector is not touched ... own 4 lands late ... over: it is read, and 4 is not forgotten
    let mut lab = Lab::new(3);
    lab.put(who(0, 1), 5, &[LeaseEntry { want_term: Term(4), ..entry(1, LeaseState::Orphan, 3) }]);
    let mut host = restarted(&lab, false);
    let place = lab.layout.lease_page(0, who(0, 1).slot, RecordCopy::A);
    let note = crate::fencing::UnknownWrite { offset: place.offset, issued: lab.now.instant };
    host.unknown.restore(&[note], lab.now.instant, |_| (place.len, 0..place.len));
    assert_eq!(lab.next(&mut host), None);
    lab.put_copy(
        who(0, 1),
        6,
        &[LeaseEntry { base: LeaseBase::Recoverable, ..entry(1, LeaseState::Own, 4) }],
        RecordCopy::A,
    );
    lab.settle_unknown(&mut host);
    lab.run(&mut host);
    assert!(host.leases.owns(domain(1)));
    host.leases.listed(&running(&[]), lab.now.instant);
    scans(&mut lab, &mut host, 10, 3, &[]);
    lab.quiesce(&mut host);
    assert_eq!(lab.says(0, 1).map(|e| (e.state, e.term)), Some((LeaseState::Orphan, Term(4))));
}

#[test]
fn a_start_token_from_before_the_restart_is_closed_by_proof_only() {
    let mut lab = Lab::new(3);
    lab.put(who(0, 1), 5, &[LeaseEntry { base: LeaseBase::Recoverable, ..entry(1, LeaseState::Own, 1) }]);
    let token = crate::fencing::StartToken { domain: domain(1), term: Term(1), opened: lab.now.instant };
    let mut host = restarted(&lab, false);
    host.leases.adopt_tokens(&[token]);
    lab.run(&mut host);
    host.leases.listed(&running(&[]), lab.now.instant);
    scans(&mut lab, &mut host, 10, 5, &[]);
    assert_eq!(
        (host.leases.tokens(), host.leases.owns(domain(1))),
        (vec![token], true),
        "libvirt may carry it on"
    );
    lab.pass(Duration::from_secs(10));
    host.leases.listed(&running(&[]), lab.now.instant);
    scans(&mut lab, &mut host, 15, 4, &[]);
    lab.quiesce(&mut host);
    assert_eq!((host.leases.tokens(), host.leases.owns(domain(1))), (vec![], false));
    // Shown by the fencer, it is closed at once.
    let mut other = restarted(&lab, false);
    other.leases.adopt_tokens(&[token]);
    scans(&mut lab, &mut other, 20, 1, &[1]);
    assert_eq!(other.leases.tokens(), []);
}
