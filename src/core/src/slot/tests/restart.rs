//! An agent restarted in the same boot: it keeps its generation, or waits until the life before is over.

use std::time::Duration;

use super::lab::{A, BOOT, Fate, Lab, Procedure, joined, joiner, record};
use crate::fencing::{AgentHalf, Clean, DomainProcess, FencerHalf, Wish};
use crate::format::{HostRecord, HostState, LeasePage, RecordCopy};
use crate::ids::{BootId, DomainId, FileId, Generation, Incarnation, Sequence, Slot};
use crate::slot::{FencerSight, Join, JoinOutcome, Joiner};
use crate::storage::{IoDone, Step};
use crate::time::{HolderDeadline, Instant, Now};

const ME: Incarnation = Incarnation { slot: Slot(0), generation: Generation(5) };

fn lab(state: HostState) -> Lab {
    let mut lab = Lab::new(1);
    lab.put_claim(0, A, "alpha");
    for sequence in [10, 11] {
        lab.put_record(&HostRecord { boot_id: BOOT, ..record(0, A, 5, sequence, state) });
    }
    lab
}

fn at_s(seconds: u64) -> Instant {
    Instant::default().plus(Duration::from_secs(seconds))
}

/// The lab's clock begins at 100 s; the lease ends at 108 s.
fn page() -> AgentHalf {
    AgentHalf {
        file_id: FileId([7; 16]),
        boot_id: BOOT,
        incarnation: ME,
        wish: Wish::Armed,
        lease_end: HolderDeadline(at_s(108)),
        issued: Sequence(14),
        ..AgentHalf::default()
    }
}

fn armed() -> FencerHalf {
    FencerHalf { armed: true, armed_since_boot: true, incarnation: ME, ..FencerHalf::default() }
}

fn latched() -> FencerHalf {
    FencerHalf { latched: Some(HolderDeadline(at_s(99))), ..armed() }
}

fn clean(forced: bool) -> FencerHalf {
    FencerHalf { clean: Some(Clean { generation: ME.generation, at: at_s(100), forced }), ..latched() }
}

fn join(lab: &Lab, page: Option<AgentHalf>, half: FencerHalf) -> Join {
    let mut join = Join::new(lab.layout, Joiner { page, ..joiner(A) });
    join.set_fencer(FencerSight { half: Some(half), unknown_write: false });
    join
}

/// A join until some time, in milliseconds: true if it has not ended by then.
struct Until<'a>(&'a mut Join, u64);

impl Procedure for Until<'_> {
    type End = bool;
    fn next(&mut self, now: &Now) -> Step<bool> {
        match self.0.poll(now) {
            _ if now.instant.boot_ns / 1_000_000 >= self.1 => Step::Done(true),
            Step::Done(_) => Step::Done(false),
            Step::Io(op) => Step::Io(op),
            Step::Wait(until) => Step::Wait(until),
        }
    }
    fn take(&mut self, done: &IoDone) {
        self.0.handle_io(done);
    }
}

/// True when it only waits and looks, for ten seconds.
fn waits(lab: &mut Lab, join: &mut Join) -> bool {
    let until = lab.ms() + 10_000;
    lab.run(&mut Until(join, until)) && lab.writes().is_empty()
}

#[test]
fn with_a_page_that_is_valid_and_not_latched_the_generation_is_kept_and_the_sequence_goes_on() {
    let mut lab = lab(HostState::Held);
    let mut join = join(&lab, Some(page()), armed());
    let JoinOutcome::Resumed { record, issued } = lab.run(&mut join) else { panic!("not resumed") };
    assert_eq!((record.incarnation, issued), (ME, Sequence(14)));
    assert_eq!(lab.writes(), Vec::<&str>::new());
}

#[test]
fn nothing_that_speaks_against_the_page_lets_the_generation_be_kept() {
    let other = Incarnation { generation: Generation(4), ..ME };
    let cases: [(&str, Option<AgentHalf>, FencerHalf); 7] = [
        ("the page is lost", None, armed()),
        ("the end is latched", Some(page()), latched()),
        ("the end has passed", Some(AgentHalf { lease_end: HolderDeadline(at_s(99)), ..page() }), armed()),
        ("the page is of another file", Some(AgentHalf { file_id: FileId([8; 16]), ..page() }), armed()),
        ("the page is of another boot", Some(AgentHalf { boot_id: BootId([2; 16]), ..page() }), armed()),
        ("the page is of another incarnation", Some(AgentHalf { incarnation: other, ..page() }), armed()),
        ("the fencer guards another", Some(page()), FencerHalf { incarnation: other, ..armed() }),
    ];
    for (why, page, half) in cases {
        let mut lab = lab(HostState::Held);
        let mut join = join(&lab, page, half);
        assert!(waits(&mut lab, &mut join), "{why}");
    }
    let mut lab = lab(HostState::Fencing);
    let mut join = join(&lab, Some(page()), armed());
    assert!(waits(&mut lab, &mut join), "the record says fencing");
}

#[test]
fn else_the_next_generation_waits_for_clean() {
    let mut lab = lab(HostState::Held);
    let mut join = join(&lab, Some(page()), latched());
    assert!(waits(&mut lab, &mut join));
    assert!(join.progress().contains("no domain of the last lease is left"), "{}", join.progress());
    join.set_fencer(FencerSight { half: Some(clean(false)), unknown_write: false });
    let end = joined(lab.run(&mut join));
    assert_eq!(end.record.incarnation.generation, Generation(6));
    assert_eq!(end.record.sequence, Sequence(17), "above what the page says was issued");
}

#[test]
fn a_clean_by_force_counts_only_write_drain_later() {
    let mut lab = lab(HostState::Held);
    let mut join = join(&lab, Some(page()), clean(true));
    joined(lab.run(&mut join));
    assert!(lab.when("write page 0 0 A") >= 101_000, "CLEAN at 100 s, write_drain 1 s");
}

#[test]
fn an_unknown_write_of_the_process_before_is_waited_for() {
    let mut lab = lab(HostState::Held);
    let mut join = join(&lab, Some(page()), clean(false));
    join.set_fencer(FencerSight { half: Some(clean(false)), unknown_write: true });
    assert!(waits(&mut lab, &mut join));
    join.set_fencer(FencerSight { half: Some(clean(false)), unknown_write: false });
    joined(lab.run(&mut join));
}

/// Counts the writes of the own record as its member does: the unknown write is over after so many acknowledged ones.
#[test]
fn meanwhile_the_receipt_is_written_again_since_the_hold_is_counted_by_that() {
    let mut lab = lab(HostState::Fenced);
    // The process before was killed while it wrote the joining record of the next generation, which has not landed.
    let next = Incarnation { generation: Generation(6), ..ME };
    let page = AgentHalf { wish: Wish::Joining, incarnation: next, ..page() };
    let mut join = join(&lab, Some(page.clone()), clean(false));
    join.set_fencer(FencerSight { half: Some(clean(false)), unknown_write: true });
    let until = lab.ms() + 10_000;
    assert!(lab.run(&mut Until(&mut join, until)), "it waits");
    let writes = lab.writes().len();
    assert!(writes >= 5, "{:?}", lab.names());
    assert_eq!(lab.writes().iter().filter(|name| name.contains("record")).count(), writes);
    for copy in RecordCopy::BOTH {
        let record = lab.record_at(0, copy);
        assert_eq!((record.incarnation, record.state), (ME, HostState::Fenced));
        assert!(record.sequence > page.issued, "no sequence is used twice");
    }
    // It lands after all: that life goes on.
    lab.put_record(&HostRecord { boot_id: BOOT, ..record(0, A, 6, 15, HostState::Joining) });
    assert!(matches!(lab.run(&mut join), JoinOutcome::Resumed { record, .. } if record.incarnation == next));
}

#[test]
fn a_life_that_was_adopting_domains_is_not_over_while_they_run() {
    let mut lab = lab(HostState::Joining);
    let guest = DomainProcess { domain: DomainId([1; 16]), ..DomainProcess::default() };
    let runs = FencerHalf { scans: 1, processes: vec![guest], ..FencerHalf::default() };
    // The page is lost: nothing but the record tells of that life.
    let mut join = join(&lab, None, runs);
    assert!(waits(&mut lab, &mut join), "its entries would become orphans, for others to start");
    assert!(join.progress().contains("stop or exempt them"), "{}", join.progress());
    join.set_fencer(FencerSight { half: Some(FencerHalf::default()), unknown_write: false });
    assert!(waits(&mut lab, &mut join), "the fencer has not looked yet");
    let none = FencerHalf { scans: 2, ..FencerHalf::default() };
    join.set_fencer(FencerSight { half: Some(none), unknown_write: false });
    joined(lab.run(&mut join));
}

#[test]
fn a_claim_that_was_cut_off_after_its_record_is_brought_to_its_end() {
    let mut lab = lab(HostState::Joining);
    let last = lab.layout.pages() - 1;
    for page in 0..last {
        lab.put_page(page, &LeasePage::new(ME, BOOT, Sequence(1)));
    }
    let page = AgentHalf { wish: Wish::Joining, lease_end: HolderDeadline::default(), ..page() };
    let mut join = join(&lab, Some(page), FencerHalf::default());
    assert!(matches!(lab.run(&mut join), JoinOutcome::Resumed { .. }));
    assert_eq!(lab.writes().len(), 2, "{:?}", lab.writes());
    for copy in RecordCopy::BOTH {
        assert_eq!(lab.page_at(last, 0, copy).incarnation, ME, "zeros would be unreadable to everybody");
    }
}

#[test]
fn without_a_fencer_nothing_is_decided() {
    let mut lab = lab(HostState::Held);
    let mut join = Join::new(lab.layout, Joiner { page: Some(page()), ..joiner(A) });
    assert!(waits(&mut lab, &mut join));
    assert!(join.progress().contains("leasefence-fencer"));
}

#[test]
fn a_host_that_was_never_armed_since_boot_and_one_with_its_own_receipt_have_ended() {
    let mut never = lab(HostState::Joining);
    let mut first = join(&never, None, FencerHalf { scans: 1, ..FencerHalf::default() });
    assert_eq!(joined(never.run(&mut first)).record.incarnation.generation, Generation(6));
    for state in [HostState::Fenced, HostState::Released] {
        let mut lab = lab(state);
        let mut join = join(&lab, None, latched());
        joined(lab.run(&mut join));
    }
}

#[test]
fn an_incarnation_that_only_joined_is_kept_beside_a_clean_older_one() {
    let mut lab = lab(HostState::Joining);
    let older = Incarnation { generation: Generation(4), ..ME };
    let proof = Some(Clean { generation: older.generation, at: at_s(90), forced: false });
    let half = FencerHalf { incarnation: older, clean: proof, ..latched() };
    let page = AgentHalf { wish: Wish::Joining, lease_end: HolderDeadline::default(), ..page() };
    let mut join = join(&lab, Some(page), half);
    assert!(matches!(lab.run(&mut join), JoinOutcome::Resumed { .. }));
}

#[test]
fn a_disarmed_host_whose_agent_restarts_stays_what_it_is() {
    let mut lab = lab(HostState::Disarmed);
    let page = AgentHalf { wish: Wish::Disarm, lease_end: HolderDeadline(at_s(50)), ..page() };
    let half = FencerHalf { armed: false, ..armed() };
    let mut join = join(&lab, Some(page), half);
    assert!(matches!(lab.run_with(&mut join, |_, _| Fate::Took(1)), JoinOutcome::Resumed { .. }));
}
