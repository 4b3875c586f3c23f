//! Timelines of one holder, in milliseconds. Its ttl is 8 s.

use super::*;
use crate::format::tests::plain_record;
use crate::format::{DecodeError, WatchdogClass};
use crate::ids::{Generation, Nonce, Slot};
use crate::storage::{IoError, IoId};
use crate::terms::Preset;

const OWN: Incarnation = Incarnation { slot: Slot(0), generation: Generation(3) };
const KEY: HostKey = HostKey([1; 16]);
const BOOT: BootId = BootId([2; 16]);

fn now(ms: u64) -> Now {
    let instant = Instant { boot_ns: ms * 1_000_000, raw_ns: ms * 1_000_000 };
    Now { instant, ..Now::default() }
}

fn at(ms: u64) -> Instant {
    now(ms).instant
}

fn promise() -> Promise {
    let terms = Preset::Fast.timing().terms;
    Promise { terms, watchdog: WatchdogClass::None, reset_on: false, expire_without_hardware: true }
}

fn record(sequence: u64) -> HostRecord {
    HostRecord { boot_id: BOOT, host_key: KEY, ..plain_record(OWN, sequence) }
}

fn copies(a: u64, b: u64) -> Copies<HostRecord> {
    Copies { a: Ok(record(a)), b: Ok(record(b)) }
}

/// A holder that is armed, whose lease ends at 8000 ms, and that has issued sequences up to 10.
fn holder() -> Holder {
    let mut holder = Holder::new(KEY, BOOT, OWN, Sequence(10), TermsInUse::new(promise()));
    holder.arm(HolderDeadline(at(8_000)));
    holder
}

/// Writes sequence 11, issued and acknowledged at these instants.
fn write(holder: &mut Holder, issued: u64, ended: u64) {
    assert_eq!(holder.issue(), Sequence(11));
    assert!(holder.written(&done(issued, ended, Ok(Vec::new()))));
}

fn done(issued: u64, ended: u64, result: Result<Vec<u8>, IoError>) -> IoDone {
    IoDone { id: IoId(1), issued: now(issued), ended: now(ended), result }
}

fn end(holder: &Holder) -> Instant {
    holder.lease_end().unwrap().0
}

#[test]
fn the_lease_is_counted_from_before_the_write_was_issued_not_from_its_acknowledgement() {
    let mut holder = holder();
    write(&mut holder, 1_000, 3_000);
    let back = holder.read_back(&copies(10, 11), at(3_000), at(3_002), &now(3_003));
    assert_eq!((back.renewed, end(&holder)), (Some(at(1_000)), at(9_000)));
}

#[test]
fn an_acknowledgement_alone_extends_nothing() {
    let mut holder = holder();
    write(&mut holder, 1_000, 1_002);
    assert_eq!(end(&holder), at(8_000));
    // The medium acknowledged and lost it: the copy shows what it showed before.
    let back = holder.read_back(&copies(10, 9), at(1_002), at(1_004), &now(1_004));
    assert_eq!((back.renewed, end(&holder)), (None, at(8_000)));
}

#[test]
fn a_read_that_began_before_the_acknowledgement_shows_nothing() {
    let mut holder = holder();
    write(&mut holder, 1_000, 1_002);
    let back = holder.read_back(&copies(10, 11), at(1_001), at(1_004), &now(1_004));
    assert_eq!((back.renewed, end(&holder)), (None, at(8_000)));
}

#[test]
fn a_renewal_shown_after_the_leases_end_revives_nothing() {
    for (ended, taken_up) in [(8_000, 8_000), (7_999, 8_000), (20_000, 20_000)] {
        let mut holder = holder();
        write(&mut holder, 7_000, 7_500);
        let back = holder.read_back(&copies(10, 11), at(7_500), at(ended), &now(taken_up));
        assert_eq!((back.renewed, back.late, end(&holder)), (None, true, at(8_000)), "{ended} {taken_up}");
    }
}

#[test]
fn the_holder_believes_the_faster_clock() {
    let mut holder = holder();
    write(&mut holder, 7_000, 7_500);
    let slewed = Instant { boot_ns: at(7_502).boot_ns, raw_ns: at(8_000).raw_ns };
    let back = holder.read_back(&copies(10, 11), at(7_500), slewed, &now(7_502));
    assert!(back.late && back.renewed.is_none());
}

#[test]
fn a_write_that_failed_is_unknown_and_extends_nothing_even_when_it_shows() {
    let mut holder = holder();
    holder.issue();
    assert!(!holder.written(&done(1_000, 2_000, Err(IoError::Failed("EIO".to_owned())))));
    let back = holder.read_back(&copies(10, 11), at(2_000), at(2_002), &now(2_002));
    assert_eq!((back.renewed, back.foreign, end(&holder)), (None, None, at(8_000)));
}

#[test]
fn a_copy_that_goes_back_or_becomes_damaged_is_told_once_and_counted() {
    let mut holder = holder();
    holder.read_back(&copies(10, 9), at(1), at(2), &now(2));
    write(&mut holder, 1_000, 1_002);
    let back = holder.read_back(&copies(8, 11), at(1_002), at(1_004), &now(1_004));
    assert!(back.renewed.is_some(), "the other copy counts all the same");
    assert_eq!((back.damaged.len(), holder.damaged_copies()), (1, 1));
    let damaged = Copies { a: Ok(record(8)), b: Err(DecodeError::BadCrc { stored: 0, computed: 1 }) };
    let back = holder.read_back(&damaged, at(1_500), at(1_502), &now(1_502));
    assert_eq!((back.damaged.len(), holder.damaged_copies()), (1, 2), "{:?}", back.damaged);
}

#[test]
fn another_machine_a_higher_generation_or_another_boot_in_the_own_sector_is_foreign() {
    let foreign = |change: fn(&mut HostRecord)| {
        let mut other = record(9);
        change(&mut other);
        let copies = Copies { a: Ok(record(10)), b: Ok(other) };
        holder().read_back(&copies, at(1), at(2), &now(2)).foreign.is_some()
    };
    assert!(!foreign(|_| {}));
    assert!(foreign(|record| record.host_key = HostKey([9; 16])));
    assert!(foreign(|record| record.incarnation.generation = Generation(4)));
    assert!(foreign(|record| record.boot_id = BootId([9; 16])));
    assert!(
        !foreign(|record| record.incarnation.generation = Generation(2)),
        "an older life of mine is a late write"
    );
    assert!(
        !foreign(|record| record.process_nonce = Nonce(77)),
        "up to the highest issued it is mine, whatever its nonce"
    );
    assert!(foreign(|record| record.sequence = Sequence(11)), "nobody here has issued it");
}

#[test]
fn a_host_that_is_not_armed_has_no_end_that_could_have_passed() {
    let mut holder = Holder::new(KEY, BOOT, OWN, Sequence(10), TermsInUse::new(promise()));
    write(&mut holder, 50_000, 50_002);
    assert!(holder.read_back(&copies(10, 11), at(50_002), at(50_004), &now(50_004)).renewed.is_some());
    assert!(holder.is_valid(at(57_999)) && !holder.is_valid(at(58_000)));
}

#[test]
fn a_shorter_ttl_ends_the_running_lease_sooner_before_any_record_carries_it() {
    let mut wanted = promise();
    wanted.terms.lease_ttl = Duration::from_secs(4);
    let mut holder = Holder::new(KEY, BOOT, OWN, Sequence(10), TermsInUse::resume(wanted, &[promise()]));
    holder.resume(HolderDeadline(at(8_000)));
    assert!(!holder.keep_sooner_terms(at(900)), "how old the lease is, is not known yet");
    write(&mut holder, 1_000, 1_002);
    holder.read_back(&copies(10, 11), at(1_002), at(1_004), &now(1_004));
    assert_eq!(end(&holder), at(9_000));
    assert!(!holder.clone().keep_sooner_terms(at(4_500)), "too old a lease for 4 s");
    assert!(holder.keep_sooner_terms(at(1_500)));
    assert_eq!((end(&holder), holder.terms().carried()), (at(5_000), promise()));
}
