//! Timelines of one observer, in milliseconds: `holds` is what both copies say, `at` when a read starts and ends.

use std::time::Duration;

use super::*;
use crate::evidence::Verdict;
use crate::format::init::InitParameters;
use crate::format::tests::plain_record;
use crate::format::{
    Conviction, Copies, DecodeError, HostName, HostState, Policy, RecordCopy, RecordFlags, WatchdogClass,
};
use crate::ids::{BootId, ClusterId, FileId, Generation, HostKey};
use crate::terms::Terms;

/// `verdict_after` of the fast terms: (8 + 2 + 1 s) x 1.0005 / 0.9995, rounded up.
const VERDICT_AFTER: u64 = 11_012;
/// ttl + budget.
const LIVE_PATH_AFTER: u64 = 10_000;
/// After `fencing`: (2 + 1 s), stretched.
const CAP: u64 = 3_004;
const VICTIM: Slot = Slot(1);

fn now(ms: u64) -> Now {
    let ns = ms * 1_000_000;
    Now { instant: Instant { boot_ns: ns, raw_ns: ns }, suspended_ns: 0, wall_ns: ns }
}

fn at(ms: u64) -> Instant {
    now(ms).instant
}

fn header() -> Header {
    let parameters = InitParameters {
        file_id: FileId([1; 16]),
        cluster_id: ClusterId([2; 16]),
        cluster_name: "test".to_owned(),
        sector_size: 4096,
        max_hosts: 4,
        pages: 1,
        policy: Policy::ACCEPT_NONE.with(Policy::TEST),
        min_write_drain: Duration::from_secs(1),
        longest_verdict_after: Duration::from_secs(900),
    };
    parameters.header().unwrap()
}

fn record(state: HostState, generation: u32, sequence: u64) -> HostRecord {
    let incarnation = Incarnation { slot: VICTIM, generation: Generation(generation) };
    HostRecord {
        boot_id: BootId([u8::try_from(generation).unwrap(); 16]),
        host_key: HostKey([5; 16]),
        state,
        flags: RecordFlags::EXPIRE_WITHOUT_HARDWARE,
        host_name: HostName::cut("victim"),
        ..plain_record(incarnation, sequence)
    }
}

fn held(sequence: u64) -> HostRecord {
    record(HostState::Held, 1, sequence)
}

/// Both copies of one slot, and an observer.
struct Lab {
    watch: Watch,
    copies: [Option<Result<HostRecord, ()>>; 2],
    /// Whether another host's record goes forward with each scan.
    others_live: bool,
    scans: u64,
}

impl Lab {
    fn new() -> Self {
        Self { watch: Watch::new(&header()), copies: [None, None], others_live: true, scans: 0 }
    }

    fn holds(mut self, a: &HostRecord, b: &HostRecord) -> Self {
        self.put(a, b);
        self
    }

    fn put(&mut self, a: &HostRecord, b: &HostRecord) {
        self.copies = [Some(Ok(a.clone())), Some(Ok(b.clone()))];
    }

    fn damage(&mut self, copy: usize) {
        self.copies[copy] = Some(Err(()));
    }

    fn reading(&self, started: Instant, ended: Now) -> Reading {
        let decoded = self.copies.clone().map(|copy| match copy {
            None => Err(DecodeError::Empty),
            Some(Ok(record)) => Ok(record),
            Some(Err(())) => Err(DecodeError::BadCrc { stored: 1, computed: 2 }),
        });
        let layout = header().layout;
        let bytes = [RecordCopy::A, RecordCopy::B].map(|copy| {
            let place = layout.host_record(VICTIM, copy);
            let index = usize::from(copy == RecordCopy::B);
            decoded[index].as_ref().map_or_else(|_| vec![0xee; 512], |record| record.encode(&place))
        });
        let [a, b] = decoded;
        Reading::new(Copies { a, b }, [&bytes[0], &bytes[1]], started, ended)
    }

    fn other(&self, started: Instant, ended: Now) -> Reading {
        let slot = Slot(2);
        let sequence = if self.others_live { self.scans } else { 1 };
        let mut record = held(2 * sequence);
        record.incarnation.slot = slot;
        let bytes = record.encode(&header().layout.host_record(slot, RecordCopy::A));
        Reading::new(
            Copies { a: Ok(record), b: Err(DecodeError::Empty) },
            [&bytes, &[0; 512]],
            started,
            ended,
        )
    }

    /// A scan over a path that is shown to be live by a renewal issued right before it.
    fn scan(&mut self, start: u64, end: u64) -> Option<Evidence> {
        self.scan_by(start, end, LivePath::Member { renewal_issued: at(start) })
    }

    fn scan_by(&mut self, start: u64, end: u64, live: LivePath) -> Option<Evidence> {
        self.scan_of_clocks(at(start), now(end), live)
    }

    fn scan_of_clocks(&mut self, started: Instant, ended: Now, live: LivePath) -> Option<Evidence> {
        self.scans += 1;
        let readings = vec![(VICTIM, self.reading(started, ended)), (Slot(2), self.other(started, ended))];
        let scanned = Scanned { readings, observers: Vec::new(), started, ended };
        let latched = self.watch.apply(scanned, live);
        latched.into_iter().find(|latched| latched.incarnation.slot == VICTIM).map(|latched| latched.evidence)
    }

    /// Scans each half second from `from` up to before `to`, none of which may prove anything.
    fn idle(&mut self, from: u64, to: u64) {
        let mut start = from;
        while start < to {
            assert_eq!(self.scan(start, start + 2), None, "at {start} ms");
            start += 500;
        }
    }

    /// A scan over a live path in which a sector of the victim could not be read again by itself.
    fn scan_without_victim(&mut self, start: u64, end: u64) -> Vec<Latched> {
        self.scans += 1;
        let readings = vec![(Slot(2), self.other(at(start), now(end)))];
        let scanned = Scanned { readings, observers: Vec::new(), started: at(start), ended: now(end) };
        self.watch.apply(scanned, LivePath::Member { renewal_issued: at(start) })
    }

    fn verdict(&self, ms: u64) -> Verdict {
        self.watch.report(VICTIM, at(ms)).unwrap().view.verdict
    }

    fn gone(&self, generation: u32) -> Option<Evidence> {
        let incarnation = Incarnation { slot: VICTIM, generation: Generation(generation) };
        self.watch.evidence(incarnation).map(|(evidence, _)| evidence)
    }
}

/// A victim that was seen to hold, and stands still from the read that ended at 1002 ms on.
fn stalled() -> Lab {
    let mut lab = Lab::new().holds(&held(2), &held(1));
    lab.scan(500, 502);
    lab.put(&held(2), &held(3));
    lab.scan(1_000, 1_002);
    lab
}

#[test]
fn expired_needs_a_read_that_started_verdict_after_past_the_stall_start_and_not_a_tick_less() {
    let mut lab = stalled();
    lab.idle(1_500, 12_000);
    let due = 1_002 + VERDICT_AFTER;
    assert_eq!(lab.watch.next_deadline().map(|due| due.0), Some(at(due)), "scheduled exactly");
    assert_eq!(lab.scan(due - 1, due + 5), None, "it ended late enough, and started a tick too early");
    assert_eq!(lab.scan(due, due + 2), Some(Evidence::Expired));
}

#[test]
fn the_stall_is_counted_from_after_the_read_that_first_showed_the_record() {
    let mut lab = Lab::new().holds(&held(2), &held(1));
    lab.scan(500, 502);
    lab.put(&held(2), &held(3));
    // The read takes long: what it shows may be as young as its end.
    lab.scan(1_000, 1_900);
    lab.idle(2_000, 12_800);
    assert_eq!(lab.scan(1_000 + VERDICT_AFTER + 500, 12_800), None);
    assert_eq!(lab.scan(1_900 + VERDICT_AFTER, 13_000), Some(Evidence::Expired));
}

#[test]
fn the_observer_believes_the_slower_clock() {
    let mut lab = stalled();
    lab.idle(1_500, 12_000);
    // BOOTTIME was slewed ahead; MONOTONIC_RAW has not got there yet.
    let due = at(1_002 + VERDICT_AFTER);
    let slewed = Instant { boot_ns: due.boot_ns + 50_000_000, raw_ns: due.raw_ns - 1 };
    let live = LivePath::Member { renewal_issued: slewed };
    assert_eq!(lab.scan_of_clocks(slewed, now(13_000), live), None);
}

#[test]
fn either_copy_changing_restarts_the_stall_also_a_lower_sequence() {
    let mut lab = stalled();
    lab.idle(1_500, 6_000);
    // A write that was lost long ago lands late in the older copy: the highest sequence stands still.
    lab.put(&held(0), &held(3));
    lab.scan(6_000, 6_002);
    lab.idle(6_500, 6_002 + VERDICT_AFTER);
    assert_eq!(lab.scan(6_002 + VERDICT_AFTER, 17_100), Some(Evidence::Expired));
}

#[test]
fn a_copy_that_becomes_unreadable_has_changed_and_one_that_stays_so_has_not() {
    let mut lab = stalled();
    lab.idle(1_500, 6_000);
    lab.damage(0);
    lab.scan(6_000, 6_002);
    lab.idle(6_500, 6_002 + VERDICT_AFTER);
    assert_eq!(lab.scan(6_002 + VERDICT_AFTER, 17_100), Some(Evidence::Expired), "one valid copy is enough");
}

#[test]
fn two_bad_copies_never_give_a_verdict() {
    let mut lab = stalled();
    lab.damage(0);
    lab.damage(1);
    lab.idle(1_500, 60_000);
    assert!(matches!(lab.verdict(60_000), Verdict::Unknown(_)));
}

#[test]
fn only_an_older_generation_never_gives_a_verdict() {
    let mut lab = Lab::new().holds(&record(HostState::Held, 1, 2), &record(HostState::Held, 2, 3));
    lab.scan(500, 502);
    lab.damage(1);
    lab.idle(1_000, 60_000);
    assert_eq!(lab.gone(2), None);
    assert!(matches!(lab.verdict(60_000), Verdict::Unknown(_)));
}

#[test]
fn a_gap_of_more_than_a_quarter_of_the_ttl_between_good_reads_restarts_the_stall() {
    let mut lab = stalled();
    lab.idle(1_500, 4_000);
    // The last one started at 3500: this one comes 2001 ms later.
    assert_eq!(lab.scan(5_501, 5_503), None);
    lab.idle(6_000, 5_503 + VERDICT_AFTER);
    assert_eq!(lab.scan(5_503 + VERDICT_AFTER, 17_000), Some(Evidence::Expired));
}

#[test]
fn an_observer_that_was_itself_stalled_says_nothing() {
    let mut lab = stalled();
    lab.idle(1_500, 2_000);
    assert_eq!(lab.scan(30_000, 30_002), None, "a member that could not read says nothing of others");
}

#[test]
fn no_verdict_without_a_live_path() {
    let mut lab = stalled();
    lab.idle(1_500, 12_000);
    let dead = LivePath::NotShown("this host's own lease is not valid");
    assert_eq!(lab.scan_by(12_100, 12_102, dead), None);
    assert!(matches!(lab.verdict(12_200), Verdict::Stalled { why_not: Some(_), .. }));
    // The own renewal of the pass was issued before the victim must have been killed: its acknowledgement says nothing.
    let early = LivePath::Member { renewal_issued: at(1_002 + LIVE_PATH_AFTER - 1) };
    assert_eq!(lab.scan_by(12_500, 12_502, early), None);
    assert_eq!(lab.scan(13_000, 13_002), Some(Evidence::Expired));
}

#[test]
fn an_observer_without_a_slot_says_nothing_of_a_picture_in_which_nobody_advances() {
    let mut lab = stalled();
    lab.others_live = false;
    lab.idle_by_nonce(1_500, 60_000);
    lab.others_live = true;
    let live = LivePath::Observer { nonce_issued: at(60_000) };
    assert_eq!(lab.scan_by(60_000, 60_002, live), Some(Evidence::Expired));
}

impl Lab {
    fn idle_by_nonce(&mut self, from: u64, to: u64) {
        let mut start = from;
        while start < to {
            let live = LivePath::Observer { nonce_issued: at(start) };
            assert_eq!(self.scan_by(start, start + 2, live), None, "at {start} ms");
            start += 500;
        }
    }
}

#[test]
fn the_read_that_first_shows_fencing_ends_the_stall_and_only_the_cap_counts() {
    let mut lab = stalled();
    lab.idle(1_500, 9_000);
    lab.put(&record(HostState::Fencing, 1, 4), &held(3));
    assert_eq!(lab.scan(9_000, 9_002), None);
    lab.idle(9_500, 9_002 + CAP);
    assert!(matches!(lab.verdict(11_900), Verdict::Fencing { .. }));
    assert_eq!(lab.scan(9_002 + CAP, 12_100), Some(Evidence::Expired));
}

#[test]
fn a_fencing_that_is_written_again_and_again_does_not_put_off_the_cap() {
    let mut lab = stalled();
    lab.put(&record(HostState::Fencing, 1, 4), &held(3));
    assert_eq!(lab.scan(1_500, 1_502), None);
    for (step, start) in (2_000..1_502 + CAP).step_by(500).enumerate() {
        let sequence = 5 + u64::try_from(step).unwrap();
        lab.put(&record(HostState::Fencing, 1, sequence), &held(3));
        assert_eq!(lab.scan(start, start + 2), None, "at {start}");
    }
    lab.put(&record(HostState::Fencing, 1, 99), &held(3));
    assert_eq!(lab.scan(1_502 + CAP, 4_600), Some(Evidence::Expired));
}

#[test]
fn a_late_renewal_after_fencing_counts_for_nothing() {
    let mut lab = stalled();
    lab.put(&record(HostState::Fencing, 1, 4), &held(3));
    assert_eq!(lab.scan(1_500, 1_502), None);
    lab.put(&held(8), &held(7));
    lab.idle(2_000, 1_502 + CAP);
    assert_eq!(lab.scan(1_502 + CAP, 4_600), Some(Evidence::Expired));
}

#[test]
fn the_cap_after_fencing_counts_the_watchdog() {
    let mut victim = record(HostState::Fencing, 1, 4);
    let terms = Terms { watchdog_actual: Duration::from_millis(4_000), ..victim.terms };
    (victim.terms, victim.echo) = (terms, terms);
    let mut lab = Lab::new().holds(&victim, &held(3));
    assert_eq!(lab.scan(500, 502), None);
    // (4 + 0.5 + 1 s), stretched.
    lab.idle(1_000, 502 + 5_506);
    assert_eq!(lab.scan(502 + 5_506, 6_100), Some(Evidence::Expired));
}

#[test]
fn a_receipt_and_a_release_are_evidence_at_the_first_scan() {
    for (state, evidence) in
        [(HostState::Fenced, Evidence::Fenced), (HostState::Released, Evidence::Released)]
    {
        let mut lab = stalled();
        lab.put(&record(state, 1, 4), &held(3));
        assert_eq!(lab.scan(1_500, 1_502), Some(evidence));
    }
}

#[test]
fn what_is_latched_stays_latched() {
    let mut lab = stalled();
    lab.idle(1_500, 1_002 + VERDICT_AFTER);
    assert_eq!(lab.scan(1_002 + VERDICT_AFTER, 12_100), Some(Evidence::Expired));
    lab.put(&held(8), &held(9));
    lab.scan(12_500, 12_502);
    assert_eq!(lab.gone(1), Some(Evidence::Expired), "dead is for ever");
}

#[test]
fn superseded_needs_a_second_read_that_started_write_drain_after_the_first_showed_it() {
    let mut lab = stalled();
    lab.put(&record(HostState::Joining, 2, 4), &held(3));
    assert_eq!(lab.scan(1_500, 1_502), None, "a write of the old life may still land");
    assert_eq!(lab.scan(2_000, 2_002), None);
    assert_eq!(lab.scan(2_501, 2_600), None, "a tick too early");
    assert_eq!(lab.scan(2_502, 2_504), Some(Evidence::Superseded));
    assert_eq!((lab.gone(1), lab.gone(2)), (Some(Evidence::Superseded), None));
}

#[test]
fn another_machines_key_is_a_conflict_and_never_evidence() {
    let mut lab = stalled();
    let mut other = record(HostState::Held, 2, 4);
    other.host_key = HostKey([6; 16]);
    lab.put(&other, &held(3));
    lab.idle(1_500, 60_000);
    assert_eq!((lab.gone(1), lab.gone(2)), (None, None));
    assert!(matches!(lab.verdict(60_000), Verdict::Unknown(why) if why.contains("conflict")));
}

#[test]
fn the_same_generation_of_another_boot_is_a_conflict() {
    let mut lab = stalled();
    let mut other = held(4);
    other.boot_id = BootId([9; 16]);
    lab.put(&other, &held(3));
    lab.idle(1_500, 60_000);
    assert!(matches!(lab.verdict(60_000), Verdict::Unknown(why) if why.contains("conflict")));
}

#[test]
fn a_slot_that_was_freed_and_claimed_by_another_machine_supersedes_the_old_one() {
    let mut lab = stalled();
    let mut other = record(HostState::Held, 2, 4);
    (other.host_key, other.freed_generation) = (HostKey([6; 16]), Generation(1));
    lab.put(&other, &other);
    lab.idle(1_500, 2_500);
    assert_eq!(lab.scan(2_600, 2_602), Some(Evidence::Superseded));
    assert_eq!(lab.gone(2), None);
}

#[test]
fn disarmed_and_joining_hosts_never_expire() {
    for state in [HostState::Disarmed, HostState::Joining] {
        let mut lab = stalled();
        lab.put(&record(state, 1, 4), &record(state, 1, 5));
        lab.idle(1_500, 60_000);
        let expected = match state {
            HostState::Disarmed => Verdict::Disarmed,
            _ => Verdict::Joining { advances: false },
        };
        assert_eq!(lab.verdict(60_000), expected);
    }
}

#[test]
fn a_watchdog_below_hardware_needs_policy_permission_and_reset_or_the_test_bit() {
    let expires = |policy: Policy, change: fn(&mut HostRecord)| {
        let mut header = header();
        header.policy = policy;
        let mut lab = Lab { watch: Watch::new(&header), ..Lab::new() };
        let (mut a, mut b) = (held(2), held(3));
        change(&mut a);
        change(&mut b);
        lab.put(&a, &b);
        lab.scan(1_000, 1_002);
        (1_500..20_000).step_by(500).any(|start| lab.scan(start, start + 2) == Some(Evidence::Expired))
    };
    let none = Policy::ACCEPT_NONE;
    assert!(expires(none.with(Policy::TEST), |_| {}));
    assert!(!expires(Policy::TEST, |_| {}), "the cluster does not accept it");
    assert!(!expires(none.with(Policy::TEST), |r| r.flags = RecordFlags(0)), "the host does not permit it");
    assert!(!expires(none, |_| {}), "it cannot reset itself, and this is no test");
    assert!(expires(none, |r| r.flags = r.flags.set(RecordFlags::RESET_ON, true)));
    assert!(!expires(none.with(Policy::TEST), |r| r.watchdog_class = WatchdogClass::Soft), "another class");
    assert!(expires(Policy(0), |r| r.watchdog_class = WatchdogClass::Hardware), "hardware needs nothing");
}

#[test]
fn while_terms_and_echo_differ_the_later_verdict_counts_and_the_survival_maximum_is_added() {
    let mut victim = held(4);
    victim.terms.lease_ttl = Duration::from_secs(4);
    let mut lab = Lab::new().holds(&victim, &held(3));
    lab.scan(500, 502);
    lab.idle(1_000, 502 + VERDICT_AFTER);
    assert_eq!(lab.scan(502 + VERDICT_AFTER, 11_600), Some(Evidence::Expired));

    let mut surviving = held(4);
    surviving.survival_max = Duration::from_secs(10);
    let mut lab = Lab::new().holds(&surviving, &held(3));
    lab.scan(500, 502);
    lab.idle(1_000, 502 + VERDICT_AFTER + 10_000);
}

#[test]
fn an_operators_conviction_is_evidence_for_every_reader_and_an_expired_one_is_not() {
    for (kind, evidence) in
        [(ConvictionKind::Confirmed, Some(Evidence::Confirmed)), (ConvictionKind::Expired, None)]
    {
        let mut lab = stalled();
        let target = Incarnation { slot: Slot(2), generation: Generation(1) };
        let mut convicting = held(4);
        convicting.convictions[0] = Some(Conviction { target, kind, since_s: 0 });
        lab.put(&convicting, &held(3));
        lab.scan(1_500, 1_502);
        assert_eq!(lab.watch.evidence(target).map(|(evidence, _)| evidence), evidence);
    }
}

#[test]
fn an_unknown_feature_or_version_gives_unknown_and_never_a_verdict() {
    let mut header = header();
    header.features.incompat = 1 << 40;
    let mut lab = Lab { watch: Watch::new(&header), ..Lab::new() }.holds(&held(2), &held(3));
    lab.idle(1_000, 30_000);
    assert!(matches!(lab.verdict(30_000), Verdict::Unknown(_)));
}

#[test]
fn a_host_that_is_first_seen_is_neither_alive_nor_dead() {
    let mut lab = Lab::new().holds(&held(2), &held(1));
    lab.scan(500, 502);
    assert!(matches!(lab.verdict(600), Verdict::Unknown(_)));
    lab.put(&held(2), &held(3));
    lab.scan(1_000, 1_002);
    assert_eq!(lab.verdict(1_100), Verdict::Alive);
    lab.idle(1_500, 4_000);
    assert!(matches!(lab.verdict(4_000), Verdict::Stalled { left: Some(_), why_not: None }));
}

#[test]
fn the_verdicts_read_and_the_proof_of_a_live_path_are_of_the_same_pass() {
    let mut lab = stalled();
    lab.idle(1_500, 12_000);
    let due = 1_002 + VERDICT_AFTER;
    let why = "the own renewal of this pass was not read back";
    assert_eq!(lab.scan_by(due, due + 2, LivePath::NotShown(why)), None);
    // The path is live again, but this scan leaves the victim out: it may have renewed since.
    assert_eq!(lab.scan_without_victim(due + 500, due + 502), []);
    lab.put(&held(4), &held(3));
    assert_eq!(lab.scan(due + 1_000, due + 1_002), None);
    assert_eq!(lab.verdict(due + 1_002), Verdict::Alive);
}

#[test]
fn a_record_that_two_scans_left_out_is_no_sign_that_the_path_is_live() {
    let mut lab = Lab::new().holds(&held(2), &held(1));
    lab.scan(500, 502);
    lab.put(&held(2), &held(3));
    lab.scan(1_000, 1_002);
    let advances = |lab: &Lab| lab.watch.slot(VICTIM).unwrap().advances();
    assert!(advances(&lab));
    lab.scan_without_victim(1_500, 1_502);
    assert!(advances(&lab), "within the last two scans");
    lab.scan_without_victim(2_000, 2_002);
    assert!(!advances(&lab));
}

#[test]
fn a_slot_is_vacant_only_while_both_copies_are_zero_or_free() {
    let mut lab = Lab::new();
    let free = record(HostState::Free, 1, 4);
    let vacant = |lab: &mut Lab| {
        let start = 1000 * (lab.scans + 1);
        lab.scan(start, start + 1);
        lab.watch.slot(VICTIM).unwrap().is_vacant()
    };
    assert!(vacant(&mut lab), "never written");
    lab.put(&free, &free);
    assert!(vacant(&mut lab));
    lab.put(&free, &held(3));
    assert!(!vacant(&mut lab), "half freed");
    // The next claimant's record went to copy A, and was damaged.
    lab.put(&free, &free);
    lab.damage(0);
    assert!(!vacant(&mut lab));
}
