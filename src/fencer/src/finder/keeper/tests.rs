#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use super::*;
use leasefence_core::time::Instant;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

const ACTS: &str = "LEASEFENCE_TEST_FINDER";
/// When a finder's look began, as it says.
const BEGUN: Instant = Instant { boot_ns: 5_000_000_000, raw_ns: 4_000_000_000 };
const NAME: [u8; 16] = *b"qemu-nbd\0\0\0\0\0\0\0\0";
const VICTIM: ProcessName = ProcessName { pid: 77, start_time: 5 };

fn keeper() -> Keeper {
    let asks = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
    Keeper::new(Arc::default(), asks, Path::new("/nonexistent"))
}

fn actor(acts: &'static str) -> impl Fn() -> Command {
    move || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "finder::keeper::tests::acts_as_a_finder"]).env(ACTS, acts);
        command
    }
}

fn looked(keeper: &Keeper) -> Instant {
    keeper.shared.found.lock().unwrap().looked
}

fn told(keeper: &Keeper) -> Vec<Candidate> {
    keeper.shared.found.lock().unwrap().domains.clone()
}

/// Not a test: the finder of the others, in a process of its own.
#[test]
fn acts_as_a_finder() {
    let Some(acts) = std::env::var_os(ACTS) else { return };
    let socket = io::stdin();
    let mut skipped = Vec::new();
    loop {
        match Record::receive(&socket).unwrap() {
            Record::Skip(process) => skipped.push(process),
            Record::SkipFiles(process) if acts == "reads files" => skipped.push(process),
            Record::Go => break,
            other => panic!("{other:?}"),
        }
    }
    if acts == "asked" {
        Record::Begin(Instant::default()).send(&socket).unwrap();
        Record::End.send(&socket).unwrap();
        assert_eq!(Record::receive(&socket), Ok(Record::Go));
        skipped.push(VICTIM);
    }
    Record::Unlocked.send(&socket).unwrap();
    Record::Begin(BEGUN).send(&socket).unwrap();
    Record::Domain(ProcessName { pid: 1, start_time: 1 }, DomainId([1; 16])).send(&socket).unwrap();
    if acts == "dies" {
        std::process::exit(1);
    }
    if skipped.is_empty() {
        let reads_files = acts == "reads files";
        let reading = if reads_files { Record::ReadingFiles(VICTIM, NAME) } else { Record::Reading(VICTIM) };
        reading.send(&socket).unwrap();
        assert_eq!(Record::receive(&socket), Err(Errno::PIPE), "until it is ended");
    }
    assert_eq!(skipped, [VICTIM]);
    Record::Domain(VICTIM, DomainId::default()).send(&socket).unwrap();
    Record::End.send(&socket).unwrap();
}

/// Catches: a guest whose command line cannot be read, over which one finder after the other hangs, so that no other guest is
/// ever found.
#[test]
fn what_a_finder_hung_over_is_an_unknown_domain_s_and_the_next_one_leaves_it_alone() {
    let mut keeper = keeper();
    let known = candidate(ProcessName { pid: 1, start_time: 1 }, DomainId([1; 16]));
    keeper.keep_one(&actor("hangs"));
    assert_eq!(told(&keeper), [known, unknown(VICTIM)], "at once, without the next look");
    assert_eq!(looked(&keeper), Instant::default(), "and no look has been made");
    keeper.keep_one(&actor("hangs"));
    assert_eq!(told(&keeper), [known, unknown(VICTIM)]);
    assert_eq!(looked(&keeper), BEGUN, "by the finder's own clocks: the keeper may hear of it late");
    let troubles = keeper.shared.troubles();
    assert_eq!((troubles.hung, troubles.ended, troubles.not_started), (1, 1, 0));
    assert!(troubles.unlocked, "it said so");
    assert!(keeper.left_behind.is_empty(), "it was killed and reaped");
}

/// Catches: a server of disks whose list of files cannot be read, over which one finder after the other hangs.
#[test]
fn a_process_whose_files_a_finder_hung_over_writes_to_everything_and_the_next_one_leaves_them_alone() {
    let mut keeper = keeper();
    keeper.keep_one(&actor("reads files"));
    let everything = Writer { process: VICTIM, device: ANY_DEVICE, name: NAME };
    assert_eq!(keeper.shared.found.lock().unwrap().writers, [everything], "at once");
    assert_eq!(told(&keeper).len(), 1, "it is no domain's");
    keeper.keep_one(&actor("reads files"));
    assert_eq!(looked(&keeper), BEGUN);
}

#[test]
fn a_finder_hears_that_a_look_is_wanted_at_once() {
    let mut keeper = keeper();
    super::super::wake(&keeper.asks);
    let begun = std::time::Instant::now();
    keeper.keep_one(&actor("asked"));
    assert_eq!(looked(&keeper), BEGUN);
    assert!(begun.elapsed() < HANGS / 2, "it was told of it by the ask");
}

#[test]
fn a_look_that_a_finder_dies_in_takes_nothing_away_and_is_none() {
    let mut keeper = keeper();
    let before = unknown(VICTIM);
    keeper.found.domains.push(before);
    keeper.keep_one(&actor("dies"));
    assert_eq!(told(&keeper), [before, candidate(ProcessName { pid: 1, start_time: 1 }, DomainId([1; 16]))]);
    assert_eq!(looked(&keeper), Instant::default());
}

#[test]
fn where_none_can_be_started_or_too_many_hang_in_the_kernel_that_is_counted() {
    let mut keeper = keeper();
    keeper.keep_one(&|| Command::new("/nonexistent/finder"));
    assert_eq!(keeper.shared.troubles().not_started, 1);
    let sleeper =
        || Command::new("sleep").arg("60").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    keeper.left_behind.extend((0..MOST_LEFT).map(|_| sleeper()));
    keeper.reap();
    keeper.keep_one(&actor("dies"));
    assert_eq!((keeper.shared.troubles().not_started, keeper.shared.troubles().ended), (2, 0));
    keeper.left_behind[0].kill().unwrap();
    while keeper.left_behind.len() == MOST_LEFT {
        keeper.reap();
    }
    keeper.keep_one(&actor("dies"));
    assert_eq!(keeper.shared.troubles().ended, 1);
    for child in &mut keeper.left_behind {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
