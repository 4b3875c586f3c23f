//! One test for each sentence about the page: seals, torn slots, what a killed writer leaves, and the link.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};

use leasefence_core::fencing::{
    AgentHalf, Clean, DomainProcess, FencerHalf, OwnLease, QuiesceTarget, StartToken, StorageKind,
    UnknownWrite, Unproven, Wish,
};
use leasefence_core::ids::{BootId, DomainId, FileId, Generation, Incarnation, Sequence, Slot, Term};
use leasefence_core::terms::Terms;
use leasefence_core::time::{HolderDeadline, Instant};

use crate::layout::{
    AGENT_FIXED_BYTES, AGENT_OFFSET, AGENT_SLOT_BYTES, EXEMPT_BYTES, LAYOUT_VERSION, MAX_COVERED, MAX_EXEMPT,
    MAX_OWN_LEASES, MAX_PROCESSES, MAX_QUIESCE_TARGETS, MAX_TOKENS, MAX_UNKNOWN_WRITES, OWN_LEASE_BYTES,
    PAGE_BYTES, QUIESCE_BYTES, SLOT_HEAD_BYTES, TOKEN_BYTES, UNKNOWN_WRITE_BYTES,
};
use crate::link::{Attached, FencerLink, LinkError, LinkServer};
use crate::{
    AgentPage, DevicePath, EncodeError, FencerPage, HalfReading, Page, PageError, ResetReport, ResetWish,
    Rungs, Text, WatchdogDevice, WatchdogReport, WatchdogWish,
};

fn instant(ms: u64) -> Instant {
    Instant { boot_ns: ms * 1_000_000, raw_ns: ms * 999_999 }
}

fn terms() -> Terms {
    let ms = std::time::Duration::from_millis;
    Terms {
        lease_ttl: ms(8000),
        fence_budget: ms(2000),
        write_drain: ms(1000),
        renewal_interval: ms(500),
        scan_interval: ms(501),
        drift_ppm: 500,
        watchdog_actual: ms(3010),
    }
}

/// An agent's half with `count` entries in each list.
fn agent_half(issued: u64, count: usize) -> AgentHalf {
    let domain = |n: usize| DomainId([u8::try_from(n % 251).unwrap(); 16]);
    let up_to = |most: usize| 0..count.min(most);
    AgentHalf {
        file_id: FileId([1; 16]),
        boot_id: BootId([2; 16]),
        incarnation: Incarnation { slot: Slot(258), generation: Generation(77) },
        arm_count: 3,
        wish: Wish::DenyStarts,
        lease_end: HolderDeadline(instant(12_345)),
        terms: terms(),
        issued: Sequence(issued),
        unknown: up_to(MAX_UNKNOWN_WRITES)
            .map(|n| UnknownWrite { offset: n as u64, issued: instant(5) })
            .collect(),
        tokens: up_to(MAX_TOKENS)
            .map(|n| StartToken { domain: domain(n), term: Term(9), opened: instant(6) })
            .collect(),
        exempt: up_to(MAX_EXEMPT).map(domain).collect(),
        quiesce: up_to(MAX_QUIESCE_TARGETS)
            .map(|n| QuiesceTarget { kind: StorageKind::Nfs, device: n as u64 })
            .collect(),
        covered: up_to(MAX_COVERED).map(domain).collect(),
        own: up_to(MAX_OWN_LEASES)
            .map(|n| OwnLease { domain: domain(n), term: Term(8), ran: n % 2 == 0, outgoing: n % 3 == 0 })
            .collect(),
    }
}

fn fencer_half(count: usize) -> FencerHalf {
    let process = |n: usize| DomainProcess {
        domain: DomainId([4; 16]),
        pid: u32::try_from(n).unwrap(),
        start_time: 10,
        scan: 12,
    };
    FencerHalf {
        beat: instant(1),
        terms: terms(),
        arm_count: 3,
        armed: true,
        armed_since_boot: true,
        incarnation: Incarnation { slot: Slot(1), generation: Generation(2) },
        lease_end: HolderDeadline(instant(3)),
        latched: Some(HolderDeadline(instant(4))),
        clean: Some(Clean { generation: Generation(2), at: instant(5), forced: true }),
        unproven: true,
        unproven_reason: Some(Unproven::StorageUnknown),
        scans: 12,
        processes: (0..count).map(process).collect(),
    }
}

fn both(page: &Page) -> (AgentPage, FencerPage) {
    (AgentPage::new(page.try_clone().unwrap()), FencerPage::new(page.try_clone().unwrap()))
}

fn file_of(page: &Page) -> File {
    let fd: OwnedFd = page.as_fd().try_clone_to_owned().unwrap();
    File::from(fd)
}

/// Byte offset of the agent's slot that holds sequence `n`.
fn agent_slot(sequence: u64) -> u64 {
    AGENT_OFFSET as u64 + (sequence % 2) * AGENT_SLOT_BYTES as u64
}

#[test]
fn each_half_reads_back_as_it_was_written_empty_and_full() {
    let (mut agent, mut fencer) = both(&Page::create().unwrap());
    assert_eq!(fencer.read_agent(), HalfReading::Empty);
    assert_eq!(agent.read_fencer(), HalfReading::Empty);
    for count in [0, 1, MAX_OWN_LEASES] {
        let half = agent_half(1, count);
        agent.write(&half).unwrap();
        assert_eq!(fencer.read_agent(), HalfReading::Good(&half));
        assert_eq!(agent.read_own(), HalfReading::Good(half));
        let half = fencer_half(count);
        fencer.write(&half).unwrap();
        assert_eq!(agent.read_fencer(), HalfReading::Good(half.clone()));
        assert_eq!(fencer.read_own(), HalfReading::Good(half));
    }
    fencer.write(&FencerHalf::default()).unwrap();
    assert_eq!(agent.read_fencer(), HalfReading::Good(FencerHalf::default()));
}

#[test]
fn more_than_fits_is_refused_and_nothing_is_written() {
    let (mut agent, mut fencer) = both(&Page::create().unwrap());
    let good = agent_half(1, 2);
    agent.write(&good).unwrap();
    let mut half = agent_half(2, MAX_OWN_LEASES);
    half.own.push(OwnLease::default());
    let refused =
        EncodeError::TooMany { what: "domain leases", count: MAX_OWN_LEASES + 1, most: MAX_OWN_LEASES };
    assert_eq!(agent.write(&half), Err(refused));
    assert_eq!(fencer.read_agent(), HalfReading::Good(&good));
    assert!(fencer.write(&fencer_half(MAX_PROCESSES + 1)).is_err());
}

#[test]
fn the_page_cannot_change_its_size() {
    let page = Page::create().unwrap();
    let file = file_of(&page);
    assert!(file.set_len(4096).is_err() && file.set_len(1 << 20).is_err());
}

#[test]
fn what_is_no_page_is_refused() {
    let memfd = |bytes: u64| {
        let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create(c"test", flags).unwrap();
        rustix::fs::ftruncate(&fd, bytes).unwrap();
        fd
    };
    let seal = |fd: OwnedFd| {
        use rustix::fs::SealFlags;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).unwrap();
        fd
    };
    let size = PAGE_BYTES as u64;
    assert!(matches!(Page::from_fd(memfd(size)), Err(PageError::NotSealed)));
    assert!(matches!(Page::from_fd(seal(memfd(size - 4096))), Err(PageError::Size(_))));
    assert!(matches!(Page::from_fd(seal(memfd(size))), Err(PageError::Magic)));
    let null = File::open("/dev/null").unwrap();
    assert!(matches!(Page::from_fd(null.into()), Err(PageError::NotSealed)));
    let page = Page::create().unwrap();
    let next = LAYOUT_VERSION + 1;
    file_of(&page).write_all_at(&next.to_le_bytes(), 8).unwrap();
    assert!(
        matches!(Page::from_fd(file_of(&page).into()), Err(PageError::Version(version)) if version == next)
    );
}

#[test]
fn a_torn_slot_is_never_trusted() {
    let page = Page::create().unwrap();
    let (mut agent, mut fencer) = both(&page);
    let (first, second) = (agent_half(1, 3), agent_half(2, 3));
    agent.write(&first).unwrap();
    agent.write(&second).unwrap();
    // A writer that was killed in the middle of its second write, before the fencer ever looked.
    for byte in 16..24 {
        file_of(&page).write_all_at(&[0xff], agent_slot(2) + byte).unwrap();
    }
    assert_eq!(fencer.read_agent(), HalfReading::Good(&first), "the slot before it stands");
    // Its successor takes the same view, and writes over the torn slot.
    let mut successor = AgentPage::new(page.try_clone().unwrap());
    assert_eq!(successor.read_own(), HalfReading::Good(first));
    let third = agent_half(3, 1);
    successor.write(&third).unwrap();
    assert_eq!(fencer.read_agent(), HalfReading::Good(&third));
}

#[test]
fn every_flipped_bit_of_a_slot_shows() {
    let page = Page::create().unwrap();
    let (mut agent, _) = both(&page);
    agent.write(&agent_half(1, 1)).unwrap();
    let (file, at) = (file_of(&page), agent_slot(1));
    // Head and payload: the fixed part, and one entry of each list.
    let entries = UNKNOWN_WRITE_BYTES + TOKEN_BYTES + EXEMPT_BYTES + QUIESCE_BYTES + OWN_LEASE_BYTES;
    let slot_bytes = SLOT_HEAD_BYTES + AGENT_FIXED_BYTES + entries;
    for offset in 0..slot_bytes as u64 {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at + offset).unwrap();
        for bit in 0..8 {
            file.write_all_at(&[byte[0] ^ (1 << bit)], at + offset).unwrap();
            let mut fencer = FencerPage::new(page.try_clone().unwrap());
            assert_eq!(fencer.read_agent(), HalfReading::Bad, "byte {offset}, bit {bit}");
        }
        file.write_all_at(&byte, at + offset).unwrap();
    }
}

#[test]
fn both_slots_torn_is_bad_and_not_empty() {
    let page = Page::create().unwrap();
    let (mut agent, mut fencer) = both(&page);
    agent.write(&agent_half(1, 1)).unwrap();
    agent.write(&agent_half(2, 1)).unwrap();
    assert!(matches!(fencer.read_agent(), HalfReading::Good(_)));
    for sequence in [1, 2] {
        file_of(&page).write_all_at(&[0xff; 8], agent_slot(sequence) + 40).unwrap();
    }
    assert_eq!(fencer.read_agent(), HalfReading::Bad);
    // Zeroed memory is not a page that was never written, for one who has seen it written.
    file_of(&page).write_all_at(&[0; 2 * AGENT_SLOT_BYTES], AGENT_OFFSET as u64).unwrap();
    assert_eq!(fencer.read_agent(), HalfReading::Bad);
}

#[test]
fn a_slot_that_was_seen_and_is_lost_does_not_bring_the_older_one_back() {
    let page = Page::create().unwrap();
    let (mut agent, mut fencer) = both(&page);
    agent.write(&agent_half(1, 1)).unwrap();
    agent.write(&agent_half(2, 1)).unwrap();
    assert!(matches!(fencer.read_agent(), HalfReading::Good(_)));
    file_of(&page).write_all_at(&[0xff], agent_slot(2) + 40).unwrap();
    assert_eq!(fencer.read_agent(), HalfReading::Bad);
}

#[test]
fn a_writer_that_finds_both_slots_bad_is_heard_all_the_same() {
    let page = Page::create().unwrap();
    let (mut agent, mut fencer) = both(&page);
    for number in 1..100 {
        agent.write(&agent_half(number, 1)).unwrap();
    }
    assert!(matches!(fencer.read_agent(), HalfReading::Good(_)));
    for sequence in [98, 99] {
        file_of(&page).write_all_at(&[0xff; 8], agent_slot(sequence) + 40).unwrap();
    }
    let mut successor = AgentPage::new(page.try_clone().unwrap());
    assert_eq!(successor.read_own(), HalfReading::Bad);
    successor.write(&agent_half(7, 0)).unwrap();
    assert_eq!(fencer.read_agent(), HalfReading::Good(&agent_half(7, 0)));
}

#[test]
fn a_reader_never_sees_a_mixture() {
    let page = Page::create().unwrap();
    let (mut agent, mut fencer) = both(&page);
    agent.write(&agent_half(0, 0)).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..30_000_u64 {
                let count = usize::try_from(number % 40).unwrap();
                agent.write(&agent_half(number, count)).unwrap();
            }
            stop.store(true, Ordering::Release);
        });
        let (mut last, mut reads) = (0, 0_u64);
        while !stop.load(Ordering::Acquire) {
            // A busy writer may outrun the reader: then it says bad, and nothing else.
            let HalfReading::Good(half) = fencer.read_agent() else { continue };
            let count = usize::try_from(half.issued.0 % 40).unwrap();
            assert_eq!(*half, agent_half(half.issued.0, count));
            assert!(half.issued.0 >= last, "never backward");
            (last, reads) = (half.issued.0, reads + 1);
        }
        assert!(reads > 0);
    });
}

#[test]
fn the_link_hands_out_the_fencers_page_and_takes_the_agents_copy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fencer.sock");
    let page = Page::create().unwrap();
    let mut server = LinkServer::bind(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let boot_id = BootId([7; 16]);
    let mut link = FencerLink::new(&path, boot_id);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let Attached::New(page) = link.attach(None).unwrap() else { panic!("the first page is new") };
            assert!(link.is_alive());
            assert!(matches!(link.attach(Some(&page)), Ok(Attached::Same)));
            page
        });
        for offers in 0..2 {
            let offer = loop {
                if let Some(offer) = server.poll() {
                    break offer;
                }
            };
            assert_eq!(offer.boot_id, boot_id);
            assert_eq!(offer.page.is_some(), offers == 1);
            if let Some(copy) = &offer.page {
                assert!(copy.is_same(&page).unwrap());
            }
            server.welcome(offer.id, &page).unwrap();
        }
        assert!(asked.join().unwrap().is_same(&page).unwrap());
    });
    drop(server);
    assert!(!link.is_alive(), "the fencer is gone");
    assert!(matches!(link.attach(None), Err(LinkError::Socket { .. })));
}

#[test]
fn a_silent_fencer_holds_the_agent_up_for_half_a_second_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fencer.sock");
    let _server = LinkServer::bind(&path).unwrap();
    let before = leasefence_clock::instant();
    assert!(FencerLink::new(&path, BootId::ZERO).attach(None).is_err());
    let took = leasefence_clock::instant().since_by_slower(before);
    assert!(took < std::time::Duration::from_secs(1), "{took:?}");
}

#[test]
fn what_is_said_of_the_watchdog_arrives_and_a_page_without_it_has_nothing_to_say() {
    let page = Page::create().unwrap();
    let mut fencer = FencerPage::new(page.try_clone().unwrap());
    let mut agent = AgentPage::new(page);
    assert_eq!((fencer.read_watchdog_wish(), agent.read_watchdog_report()), (None, None));
    let path = DevicePath::new("/dev/watchdog0").unwrap();
    let wish =
        WatchdogWish { device: WatchdogDevice::Path(path), timeout: std::time::Duration::from_secs(5) };
    agent.write_watchdog_wish(&wish);
    assert_eq!(fencer.read_watchdog_wish(), Some(wish));
    let report = WatchdogReport {
        wish,
        class: leasefence_core::format::WatchdogClass::Hardware,
        open: true,
        nowayout: true,
        deferred: true,
        unseen: true,
        device: path,
        identity: Text::cut("iTCO_wdt"),
        timeout: std::time::Duration::from_secs(5),
        last_pet: instant(7),
        note: Text::cut(&"n".repeat(300)),
    };
    for _ in 0..3 {
        fencer.write_watchdog_report(&report);
        assert_eq!(agent.read_watchdog_report(), Some(report));
    }
    assert_eq!(report.note.as_str().len(), 255);
    // The halves are as they were.
    assert_eq!(fencer.read_agent(), HalfReading::Empty);
    agent.write(&agent_half(1, 2)).unwrap();
    assert_eq!(fencer.read_watchdog_wish(), Some(wish));
}

/// Who counts the TCO timer once pets it for a time-out too long.
#[test]
fn a_timer_that_may_have_to_run_out_twice_counts_twice() {
    for (identity, seconds) in [("iTCO_wdt", 10), ("wdat_wdt", 10), ("SP5100 TCO timer", 5)] {
        let timeout = std::time::Duration::from_secs(5);
        let report = WatchdogReport { identity: Text::cut(identity), timeout, ..WatchdogReport::default() };
        assert_eq!(report.holds().as_secs(), seconds, "{identity}");
    }
}

#[test]
fn what_is_said_of_the_reset_and_of_the_rungs_arrives_and_a_page_without_them_has_nothing_to_say() {
    let page = Page::create().unwrap();
    let mut fencer = FencerPage::new(page.try_clone().unwrap());
    let mut agent = AgentPage::new(page);
    assert_eq!((fencer.read_reset_wish(), agent.read_reset_report(), agent.read_rungs()), (None, None, None));
    agent.write_reset_wish(&ResetWish { on: true });
    assert_eq!(fencer.read_reset_wish(), Some(ResetWish { on: true }));
    let note = Text::cut(&"n".repeat(300));
    let report = ResetReport { wish: ResetWish { on: true }, on: true, deferred: true, note };
    assert_eq!(report.note.as_str().len(), 128);
    let rungs = Rungs {
        incarnation: Incarnation { slot: Slot(3), generation: Generation(5) },
        signalled: 1,
        not_signalled: 2,
        cgroups: 3,
        cgroups_left: 4,
        exits: 5,
        left: 6,
        signalled_ms: Some(7),
        exits_ms: None,
        reset_ms: Some(8),
        storages: 9,
        quiet: 10,
    };
    for _ in 0..3 {
        fencer.write_reset_report(&report);
        fencer.write_rungs(&rungs);
        assert_eq!((agent.read_reset_report(), agent.read_rungs()), (Some(report), Some(rungs)));
    }
    // A fencer that is restarted goes on above what the one before it wrote.
    let mut next = FencerPage::new(fencer.page().try_clone().unwrap());
    next.write_reset_report(&ResetReport::default());
    assert_eq!(agent.read_reset_report(), Some(ResetReport::default()));
    // What lies beside them is as it was.
    assert_eq!((fencer.read_agent(), agent.read_watchdog_report()), (HalfReading::Empty, None));
    assert_eq!(fencer.read_reset_wish(), Some(ResetWish { on: true }));
}
