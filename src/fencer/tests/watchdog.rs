//! What the fencer does to a watchdog: each call is seen by a file system that answers for the device.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/fake_watchdog.rs"]
mod fake_watchdog;
#[path = "common/notes.rs"]
mod notes;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use common::{Host, Process, SOON, TTL, fencer_half, in_namespace, wait_until};
use fake_watchdog::{Deed, FakeWatchdog};
use leasefence_core::fencing::{StorageKind, Wish};
use leasefence_core::format::WatchdogClass;
use leasefence_core::time::Instant;
use leasefence_page::{
    AgentPage, DevicePath, FencerPage, LAYOUT_VERSION, Page, Text, WatchdogDevice, WatchdogReport,
    WatchdogWish,
};
use rustix::process::Signal;

/// What the agent asks for; the driver makes 3 s of it, and the granule is 1 s.
const ASKED: Duration = Duration::from_secs(2);
const RETURNED: Duration = Duration::from_secs(3);
const ACTUAL: Duration = Duration::from_secs(4);
const RESET_LATENCY: Duration = Duration::from_millis(500);
/// Two pets of a fencer that may pet lie no further apart, on a busy machine either.
const OFTEN: Duration = Duration::from_millis(1000);

fn wish_of(device: &FakeWatchdog) -> WatchdogWish {
    let path = DevicePath::new(device.path().to_str().unwrap()).unwrap();
    WatchdogWish { device: WatchdogDevice::Path(path), timeout: ASKED }
}

fn report(page: &mut AgentPage) -> WatchdogReport {
    page.read_watchdog_report().unwrap_or_default()
}

/// Asks for the device, and waits for the answer.
fn watch(page: &mut AgentPage, device: &FakeWatchdog) -> WatchdogReport {
    let wish = wish_of(device);
    page.write_watchdog_wish(&wish);
    wait_until("answered", TTL, || report(page).wish == wish);
    report(page)
}

/// A fencer whose service manager keeps its page and its device, which counts in steps of 3 s.
struct Kept {
    host: Host,
    manager: UnixDatagram,
    fencer: Process,
    device: FakeWatchdog,
    page: AgentPage,
    /// What it has said of the device.
    said: WatchdogReport,
    kept: OwnedFd,
    kept_device: OwnedFd,
}

impl Kept {
    fn new() -> Self {
        let mut host = Host::new();
        let (manager, fencer) = host.start_managed();
        let device = FakeWatchdog::at(&host.path("watchdog"));
        device.behaves(|manners| manners.step = 3);
        let kept = notes::until(&manager, "READY=1");
        let mut page = host.attach(None).unwrap();
        let said = watch(&mut page, &device);
        let kept_device = notes::until(&manager, "FDNAME=watchdog");
        Self { host, manager, fencer, device, page, said, kept, kept_device }
    }
}

/// A fencer with a page, and a device that counts in steps of 3 s, open.
fn watched() -> (Host, Process, AgentPage, FakeWatchdog) {
    let mut host = Host::new();
    let fencer = host.start_fencer();
    let device = FakeWatchdog::at(&host.path("watchdog"));
    device.behaves(|manners| manners.step = 3);
    let mut page = host.attach(None).unwrap();
    let said = watch(&mut page, &device);
    assert!(said.open, "{said:?}\n{}", host.log());
    host.half.terms.watchdog_actual = ACTUAL;
    (host, fencer, page, device)
}

fn between(pets: &[Instant], after: Instant, before: Instant) -> usize {
    pets.iter().filter(|pet| pet.boot_ns > after.boot_ns && pet.boot_ns < before.boot_ns).count()
}

fn minus(instant: Instant, duration: Duration) -> Instant {
    let ns = u64::try_from(duration.as_nanos()).unwrap();
    Instant { boot_ns: instant.boot_ns - ns, raw_ns: instant.raw_ns - ns }
}

/// The longest gap between two pets from `after` on.
fn longest_gap(pets: &[Instant], after: Instant) -> Duration {
    let since: Vec<_> = pets.iter().filter(|pet| pet.boot_ns >= after.boot_ns).collect();
    since.windows(2).map(|two| two[1].since_by_faster(*two[0])).max().unwrap_or_default()
}

#[test]
fn a_device_is_opened_when_it_is_asked_for_and_petted_while_nothing_is_armed() {
    if !in_namespace("a_device_is_opened_when_it_is_asked_for_and_petted_while_nothing_is_armed") {
        return;
    }
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    let device = FakeWatchdog::at(&host.path("watchdog"));
    device.behaves(|manners| manners.step = 3);
    let mut page = host.attach(None).unwrap();
    std::thread::sleep(SOON);
    assert_eq!(device.deeds(), [], "nobody has asked for it");
    assert_eq!(host.page_layout(), format!("{LAYOUT_VERSION}\n"));
    let said = watch(&mut page, &device);
    assert_eq!((said.timeout, said.class, said.nowayout), (RETURNED, WatchdogClass::Soft, false), "{said:?}");
    assert_eq!((said.device.as_str(), said.identity.as_str()), (device.path().to_str().unwrap(), "A test's"));
    assert!(said.note.as_str().contains("no driver is known"), "what is not known is said: {said:?}");
    // A release without a watchdog would leave it in the store unpetted: its scripts do not know this word.
    wait_until("told to packages", SOON, || host.page_layout() == format!("{LAYOUT_VERSION}w\n"));
    assert_eq!(device.count(Deed::SetPretimeout(0)), 1, "no crash in the place of the reset");
    let opened = leasefence_clock::instant();
    std::thread::sleep(Duration::from_secs(3));
    assert!(device.pets().len() >= 3, "{:?}", device.deeds());
    assert!(longest_gap(&device.pets(), opened) < OFTEN, "{:?}", device.deeds());
    assert!(report(&mut page).last_pet.boot_ns > opened.boot_ns, "the age of the last pet is told");
    println!("{}", host.log());
}

/// The driver made 3 s of the 2 s that were asked for: who counts by the 2 s pets for a second too long.
#[test]
fn no_pet_comes_so_late_that_the_reset_would_miss_the_lease_end_and_budget() {
    if !in_namespace("no_pet_comes_so_late_that_the_reset_would_miss_the_lease_end_and_budget") {
        return;
    }
    let (mut host, _fencer, mut page, device) = watched();
    let mut domain = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &domain);
    host.arm(&mut page, Duration::from_millis(4500));
    let end = host.half.lease_end.0;
    let last = minus(end.plus(host.half.terms.fence_budget), ACTUAL + RESET_LATENCY);
    wait_until("CLEAN", TTL, || fencer_half(&mut page).clean.is_some());
    domain.assert_killed(SOON);
    let clean = fencer_half(&mut page).clean.unwrap().at;
    std::thread::sleep(OFTEN);
    let pets = device.pets();
    assert_eq!(
        between(&pets, last, clean),
        0,
        "petted beyond end + budget - actual - latency: {pets:?}, {last:?}"
    );
    assert!(between(&pets, minus(last, OFTEN), last) > 0, "until then it is petted");
    assert!(between(&pets, clean, leasefence_clock::instant()) > 0, "a clean host is kept alive");
    println!("last allowed {} ms before the end", end.since_by_faster(last).as_millis());
}

/// Terms that do not know of the device yet must not let it be petted for longer than it holds.
#[test]
fn an_agent_that_says_nothing_of_the_watchdog_does_not_get_it_petted_for_longer() {
    if !in_namespace("an_agent_that_says_nothing_of_the_watchdog_does_not_get_it_petted_for_longer") {
        return;
    }
    let (mut host, _fencer, mut page, device) = watched();
    host.half.terms.watchdog_actual = Duration::ZERO;
    host.arm(&mut page, Duration::from_millis(4000));
    let end = host.half.lease_end.0;
    let last = minus(end.plus(host.half.terms.fence_budget), ACTUAL + RESET_LATENCY);
    wait_until("latched", TTL, || fencer_half(&mut page).latched.is_some());
    assert_eq!(between(&device.pets(), last, end), 0);
}

#[test]
fn without_a_proof_it_is_never_petted_again() {
    if !in_namespace("without_a_proof_it_is_never_petted_again") {
        return;
    }
    let (mut host, _fencer, mut page, device) = watched();
    host.half.quiesce[0].kind = StorageKind::Unprovable;
    let mut domain = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &domain);
    host.arm(&mut page, Duration::from_millis(3500));
    let end = host.half.lease_end.0;
    let last = minus(end.plus(host.half.terms.fence_budget), ACTUAL + RESET_LATENCY);
    domain.assert_killed(TTL);
    std::thread::sleep(Duration::from_secs(4));
    assert!(fencer_half(&mut page).unproven);
    assert_eq!(between(&device.pets(), last, leasefence_clock::instant()), 0, "the device must bite");
}

#[test]
fn the_service_manager_keeps_the_device_over_a_restart() {
    if !in_namespace("the_service_manager_keeps_the_device_over_a_restart") {
        return;
    }
    let Kept { mut host, manager: _manager, mut fencer, device, mut page, said: before, kept, kept_device } =
        Kept::new();
    host.half.terms.watchdog_actual = ACTUAL;
    host.arm(&mut page, TTL);
    let killed = leasefence_clock::instant();
    fencer.die();
    let _fencer = host.start_kept(vec![("page", kept), ("watchdog", kept_device)]);
    assert!(host.attach(Some(&page)).is_none(), "the same page");
    host.publish(&mut page, Wish::Armed, TTL);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!((device.count(Deed::Open), device.count(Deed::Release)), (1, 0), "{:?}", device.deeds());
    assert_eq!(device.count(Deed::Write(false)), 1, "a magic letter of the one before is taken back");
    assert!(longest_gap(&device.pets(), minus(killed, OFTEN)) < RETURNED, "it never ran out");
    assert!(between(&device.pets(), killed.plus(OFTEN), leasefence_clock::instant()) > 1);
    let after = report(&mut page);
    assert_eq!(WatchdogReport { last_pet: after.last_pet, ..before }, after);
    assert!(fencer_half(&mut page).armed, "{}", host.log());
}

/// Its last descriptor is closed by the kill: it runs on, and would reset a host that is well.
#[test]
fn a_fencer_that_lost_the_device_opens_it_again_though_it_is_armed() {
    if !in_namespace("a_fencer_that_lost_the_device_opens_it_again_though_it_is_armed") {
        return;
    }
    let (mut host, mut fencer, mut page, device) = watched();
    host.arm(&mut page, TTL);
    fencer.die();
    wait_until("released", SOON, || device.count(Deed::Release) == 1);
    let released = leasefence_clock::instant();
    let _fencer = host.start_fencer();
    assert!(host.attach(Some(&page)).is_none(), "the agent's copy is taken over");
    wait_until("opened again", RETURNED, || device.count(Deed::Open) == 2);
    host.publish(&mut page, Wish::Armed, TTL);
    wait_until("petted", OFTEN, || between(&device.pets(), released, leasefence_clock::instant()) > 2);
    assert_eq!(device.count(Deed::Write(true)), 0);
    assert!(fencer_half(&mut page).armed && report(&mut page).open, "{}", host.log());
    assert_eq!(report(&mut page).wish, wish_of(&device));
}

/// A service manager that has dropped its descriptors closes them when it comes to that. What softdog does was in the kernel's log
/// when it was opened first, and need not be there any more.
#[test]
fn a_device_that_was_lost_is_opened_again_once_it_is_free_and_is_what_it_was() {
    if !in_namespace("a_device_that_was_lost_is_opened_again_once_it_is_free_and_is_what_it_was") {
        return;
    }
    let Kept {
        mut host,
        manager: _manager,
        mut fencer,
        device,
        mut page,
        said: before,
        kept,
        kept_device: not_closed_yet,
    } = Kept::new();
    host.half.terms.watchdog_actual = ACTUAL;
    host.arm(&mut page, TTL);
    fencer.die();
    let softdog = "Software Watchdog";
    device.behaves(|manners| manners.identity = softdog);
    let mut own = FencerPage::new(Page::from_fd(kept.try_clone().unwrap()).unwrap());
    own.write_watchdog_report(&WatchdogReport { identity: Text::cut(softdog), ..before });
    let _fencer = host.start_kept(vec![("page", kept)]);
    assert!(host.attach(Some(&page)).is_none(), "the same page");
    host.publish(&mut page, Wish::Armed, TTL);
    std::thread::sleep(SOON);
    assert!(report(&mut page).open, "it runs: {:?}", report(&mut page));
    assert_eq!(device.count(Deed::Open), 1);
    drop(not_closed_yet);
    wait_until("opened again", OFTEN, || device.count(Deed::Open) == 2);
    std::thread::sleep(SOON);
    let said = report(&mut page);
    assert_eq!((said.open, said.class, said.wish), (true, before.class, before.wish), "{said:?}");
    assert_eq!(device.count(Deed::Open), 2, "and stays open: {:?}", device.deeds());
    assert_eq!(device.count(Deed::Write(true)), 0);
    assert!(fencer_half(&mut page).armed, "{}", host.log());
}

/// Opening it is a pet: one that is made at each start of a fencer that dies again would put the reset off for ever.
#[test]
fn a_device_that_was_lost_is_not_opened_again_while_it_may_not_be_petted() {
    if !in_namespace("a_device_that_was_lost_is_not_opened_again_while_it_may_not_be_petted") {
        return;
    }
    let (mut host, fencer, mut page, device) = watched();
    host.half.quiesce[0].kind = StorageKind::Unprovable;
    let mut domain = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &domain);
    host.arm(&mut page, Duration::from_millis(1500));
    domain.assert_killed(TTL);
    wait_until("unproven", TTL, || fencer_half(&mut page).unproven);
    fencer.signal(Signal::KILL);
    wait_until("released", TTL, || device.count(Deed::Release) == 1);
    let _fencer = host.start_fencer();
    assert!(host.attach(Some(&page)).is_none(), "the agent's copy is taken over");
    wait_until("taken over", TTL, || host.log().contains("page taken over"));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(device.count(Deed::Open), 1, "the device must bite: {}", host.log());
    assert!(report(&mut page).open, "it runs");
}

#[test]
fn the_magic_letter_is_written_only_while_nothing_is_guarded() {
    if !in_namespace("the_magic_letter_is_written_only_while_nothing_is_guarded") {
        return;
    }
    for (wish, code) in [(None, 0), (Some(Wish::Disarm), 0), (Some(Wish::Armed), 3)] {
        let (mut host, mut fencer, mut page, device) = watched();
        if wish.is_some() {
            host.arm(&mut page, TTL);
        }
        if wish == Some(Wish::Disarm) {
            host.publish(&mut page, Wish::Disarm, TTL);
            wait_until("disarmed", SOON, || !fencer_half(&mut page).armed);
        }
        fencer.signal(Signal::TERM);
        wait_until("stopped", OFTEN, || fencer.ended().is_some());
        assert_eq!(fencer.ended().unwrap().code(), Some(code), "{wish:?}");
        wait_until("released", SOON, || device.count(Deed::Release) == 1);
        assert_eq!(device.count(Deed::Write(true)), usize::from(code == 0), "{wish:?}: {:?}", device.deeds());
        assert_eq!(report(&mut page).open, code == 3, "what was let go is said");
        let word = if code == 3 { "w" } else { "" };
        assert_eq!(host.page_layout(), format!("{LAYOUT_VERSION}{word}\n"), "{wish:?}");
    }
}

/// After the letter the device would stop at the close of the manager's descriptor, whatever is armed by then.
#[test]
fn no_magic_letter_is_written_while_the_service_manager_keeps_the_device() {
    if !in_namespace("no_magic_letter_is_written_while_the_service_manager_keeps_the_device") {
        return;
    }
    let mut host = Host::new();
    let (manager, mut fencer) = host.start_managed();
    let device = FakeWatchdog::at(&host.path("watchdog"));
    drop(notes::until(&manager, "READY=1"));
    let mut page = host.attach(None).unwrap();
    watch(&mut page, &device);
    let kept_device = notes::until(&manager, "FDNAME=watchdog");
    // It reads no notes any more, and no more of them fit.
    let other = UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    while other.send_to(b"x", host.path("notify")).is_ok() {}
    fencer.signal(Signal::TERM);
    wait_until("stopped", TTL, || fencer.ended().is_some());
    drop(kept_device);
    wait_until("released", SOON, || device.count(Deed::Release) == 1);
    assert_eq!(device.count(Deed::Write(true)), 0, "{:?}", device.deeds());
}

/// Nothing was told of it yet: it would run out all the same.
#[test]
fn a_device_that_is_being_opened_when_the_fencer_is_stopped_is_let_go_too() {
    if !in_namespace("a_device_that_is_being_opened_when_the_fencer_is_stopped_is_let_go_too") {
        return;
    }
    let mut host = Host::new();
    let mut fencer = host.start_fencer();
    let device = FakeWatchdog::at(&host.path("watchdog"));
    // The pet that ends an opening.
    device.behaves(|manners| manners.pet_takes = OFTEN);
    let mut page = host.attach(None).unwrap();
    page.write_watchdog_wish(&wish_of(&device));
    wait_until("set", TTL, || device.count(Deed::SetTimeout(2)) == 1);
    fencer.signal(Signal::TERM);
    wait_until("stopped", TTL, || fencer.ended().is_some());
    wait_until("released", SOON, || device.count(Deed::Release) == 1);
    assert_eq!(device.count(Deed::Write(true)), 1, "{:?}", device.deeds());
}

/// The kernel pets a device once more when its last descriptor closes without the letter: that pet has its rule too.
#[test]
fn a_stop_is_put_off_while_the_device_may_not_be_petted() {
    if !in_namespace("a_stop_is_put_off_while_the_device_may_not_be_petted") {
        return;
    }
    let (mut host, mut fencer, mut page, device) = watched();
    host.half.quiesce[0].kind = StorageKind::Unprovable;
    let mut domain = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &domain);
    host.arm(&mut page, Duration::from_millis(1500));
    fencer.signal(Signal::TERM);
    domain.assert_killed(TTL);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(fencer.ended(), None, "it has no proof, and the device must bite");
    assert_eq!(device.count(Deed::Release), 0);
}

#[test]
fn a_device_that_is_busy_is_explained_and_counts_as_none() {
    if !in_namespace("a_device_that_is_busy_is_explained_and_counts_as_none") {
        return;
    }
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    let device = FakeWatchdog::at(&host.path("watchdog"));
    let _held = std::fs::File::options().write(true).open(device.path()).unwrap();
    let mut page = host.attach(None).unwrap();
    let said = watch(&mut page, &device);
    assert_eq!((said.class, said.open), (WatchdogClass::None, false));
    assert!(said.note.as_str().contains(&format!("(pid {})", std::process::id())), "{said:?}");
}

/// The kernel would crash in the place of the reset, and may send what its sockets hold.
#[test]
fn a_device_that_interrupts_before_it_resets_counts_as_none() {
    if !in_namespace("a_device_that_interrupts_before_it_resets_counts_as_none") {
        return;
    }
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    let device = FakeWatchdog::at(&host.path("watchdog"));
    device.behaves(|manners| manners.keeps_pretimeout = true);
    let mut page = host.attach(None).unwrap();
    let said = watch(&mut page, &device);
    assert_eq!((said.class, said.open), (WatchdogClass::None, false), "{said:?}");
    assert!(said.note.as_str().contains("interrupt before the reset"), "{said:?}");
    wait_until("released", SOON, || device.count(Deed::Release) == 1);
    assert_eq!(device.count(Deed::Write(true)), 1, "nothing was promised: it is stopped");
}

/// Whoever held it was stopped since; the wish is the same.
#[test]
fn a_device_that_could_not_be_opened_is_tried_again_once_the_host_is_disarmed() {
    if !in_namespace("a_device_that_could_not_be_opened_is_tried_again_once_the_host_is_disarmed") {
        return;
    }
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    let device = FakeWatchdog::at(&host.path("watchdog"));
    let held = std::fs::File::options().write(true).open(device.path()).unwrap();
    let mut page = host.attach(None).unwrap();
    assert!(!watch(&mut page, &device).open);
    host.arm(&mut page, TTL);
    drop(held);
    wait_until("released", SOON, || device.count(Deed::Release) == 1);
    std::thread::sleep(SOON);
    assert_eq!(device.count(Deed::Open), 1, "not while it is armed");
    host.publish(&mut page, Wish::Disarm, TTL);
    wait_until("opened", OFTEN, || report(&mut page).open);
}

/// The kernel stops it as soon as the fencer dies.
#[test]
fn a_device_that_its_driver_stops_at_every_close_counts_as_none() {
    if !in_namespace("a_device_that_its_driver_stops_at_every_close_counts_as_none") {
        return;
    }
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    let device = FakeWatchdog::at(&host.path("watchdog"));
    device.behaves(|manners| manners.magic_close = false);
    let mut page = host.attach(None).unwrap();
    let said = watch(&mut page, &device);
    assert_eq!((said.class, said.open), (WatchdogClass::None, false), "{said:?}");
    assert!(said.note.as_str().contains("would not outlive the fencer"), "{said:?}");
}

/// That there is none was the answer, also to a fencer that is started again: no other is configured.
#[test]
fn a_wish_that_was_answered_is_not_put_off_after_a_restart() {
    if !in_namespace("a_wish_that_was_answered_is_not_put_off_after_a_restart") {
        return;
    }
    let mut host = Host::new();
    let mut fencer = host.start_fencer();
    let device = FakeWatchdog::at(&host.path("watchdog"));
    let _held = std::fs::File::options().write(true).open(device.path()).unwrap();
    let mut page = host.attach(None).unwrap();
    assert!(!watch(&mut page, &device).open);
    host.arm(&mut page, TTL);
    fencer.die();
    let _fencer = host.start_fencer();
    assert!(host.attach(Some(&page)).is_none(), "the agent's copy is taken over");
    host.publish(&mut page, Wish::Armed, TTL);
    std::thread::sleep(SOON);
    let said = report(&mut page);
    assert!(!said.deferred && said.wish == wish_of(&device), "{said:?}");
    assert!(fencer_half(&mut page).armed, "{}", host.log());
}

#[test]
fn another_device_is_taken_only_once_nothing_is_armed() {
    if !in_namespace("another_device_is_taken_only_once_nothing_is_armed") {
        return;
    }
    let (mut host, _fencer, mut page, first) = watched();
    host.arm(&mut page, TTL);
    let second = FakeWatchdog::at(&host.path("other"));
    let said = watch(&mut page, &second);
    assert!(said.deferred && said.device == wish_path(&first), "{said:?}");
    std::thread::sleep(SOON);
    assert_eq!((second.deeds(), first.count(Deed::Release)), (Vec::new(), 0));
    // Taken back, there is nothing that waits.
    let said = watch(&mut page, &first);
    assert!(!said.deferred && !said.note.as_str().contains("another watchdog"), "{said:?}");
    assert!(watch(&mut page, &second).deferred);
    host.publish(&mut page, Wish::Disarm, TTL);
    wait_until("taken", OFTEN, || report(&mut page).device == wish_path(&second));
    assert_eq!(first.count(Deed::Write(true)), 1);
    assert!(!report(&mut page).deferred);
}

/// It would reset a healthy host minutes after it was let go.
#[test]
fn a_device_that_cannot_be_stopped_is_kept_and_petted_whatever_else_is_configured() {
    if !in_namespace("a_device_that_cannot_be_stopped_is_kept_and_petted_whatever_else_is_configured") {
        return;
    }
    let Kept { mut host, manager: _manager, mut fencer, device: first, mut page, kept, kept_device, .. } =
        Kept::new();
    fencer.die();
    // A file's driver has no sysfs that would say so: the page does, as of a fencer that has seen it.
    let mut own = FencerPage::new(Page::from_fd(kept.try_clone().unwrap()).unwrap());
    own.write_watchdog_report(&WatchdogReport { nowayout: true, ..report(&mut page) });
    let _fencer = host.start_kept(vec![("page", kept), ("watchdog", kept_device)]);
    assert!(host.attach(Some(&page)).is_none(), "the same page");
    let second = FakeWatchdog::at(&host.path("other"));
    let said = watch(&mut page, &second);
    assert!(said.open && said.deferred && said.device == wish_path(&first), "{said:?}");
    assert!(said.note.as_str().contains("at the next boot"), "{said:?}");
    assert_eq!(host.page_layout(), format!("{LAYOUT_VERSION}w nowayout\n"));
    let asked = leasefence_clock::instant();
    std::thread::sleep(OFTEN);
    assert_eq!((second.deeds(), first.count(Deed::Release)), (Vec::new(), 0));
    assert!(between(&first.pets(), asked, leasefence_clock::instant()) > 1, "{:?}", first.deeds());
    assert_eq!(first.count(Deed::Write(true)), 0);
    let said = watch(&mut page, &first);
    assert!(said.open && !said.deferred && said.note.is_empty(), "{said:?}");
}

/// A record that comes with an arming says which watchdog there is: so that must be settled first.
#[test]
fn nothing_is_armed_while_a_device_is_being_opened() {
    if !in_namespace("nothing_is_armed_while_a_device_is_being_opened") {
        return;
    }
    let mut host = Host::new();
    let _fencer = host.start_fencer();
    let device = FakeWatchdog::at(&host.path("watchdog"));
    // The pet that ends an opening is not answered.
    device.behaves(|manners| manners.hangs = true);
    let mut page = host.attach(None).unwrap();
    page.write_watchdog_wish(&wish_of(&device));
    wait_until("set", TTL, || device.count(Deed::SetTimeout(2)) == 1);
    host.publish(&mut page, Wish::Armed, TTL);
    std::thread::sleep(SOON);
    assert!(!fencer_half(&mut page).armed);
    // The file goes, and with it what hangs: there is no watchdog, and that is settled.
    drop(device);
    wait_until("armed", OFTEN, || fencer_half(&mut page).armed);
    assert_eq!(report(&mut page).class, WatchdogClass::None);
}

/// Its first beat would arm before anybody has looked at the wish, which then had to wait for the next maintenance.
#[test]
fn a_fencer_that_is_started_again_opens_what_is_wanted_before_it_arms() {
    if !in_namespace("a_fencer_that_is_started_again_opens_what_is_wanted_before_it_arms") {
        return;
    }
    let mut host = Host::new();
    let (manager, mut fencer) = host.start_managed();
    let kept = notes::until(&manager, "READY=1");
    let mut page = host.attach(None).unwrap();
    fencer.die();
    let device = FakeWatchdog::at(&host.path("watchdog"));
    page.write_watchdog_wish(&wish_of(&device));
    host.publish(&mut page, Wish::Armed, TTL);
    let _fencer = host.start_kept(vec![("page", kept)]);
    wait_until("armed", TTL, || fencer_half(&mut page).armed);
    let said = report(&mut page);
    assert!(said.open && !said.deferred && said.wish == wish_of(&device), "{said:?}\n{}", host.log());
}

fn wish_path(device: &FakeWatchdog) -> DevicePath {
    DevicePath::new(device.path().to_str().unwrap()).unwrap()
}

/// As when the operator changes the time-out in maintenance: the device is not closed for it.
#[test]
fn the_same_device_with_another_time_out_is_set_anew() {
    if !in_namespace("the_same_device_with_another_time_out_is_set_anew") {
        return;
    }
    let (_host, _fencer, mut page, device) = watched();
    let wish = WatchdogWish { timeout: Duration::from_secs(5), ..wish_of(&device) };
    page.write_watchdog_wish(&wish);
    wait_until("answered", TTL, || report(&mut page).wish == wish);
    assert_eq!(report(&mut page).timeout, Duration::from_secs(6));
    assert_eq!((device.count(Deed::Open), device.count(Deed::Release)), (1, 0));
    assert_eq!(device.count(Deed::SetTimeout(5)), 1);
}

#[test]
fn a_device_whose_driver_is_unloaded_counts_as_none() {
    if !in_namespace("a_device_whose_driver_is_unloaded_counts_as_none") {
        return;
    }
    let (_host, _fencer, mut page, device) = watched();
    device.behaves(|manners| manners.is_gone = true);
    wait_until("told", OFTEN, || report(&mut page).class == WatchdogClass::None);
    assert!(report(&mut page).note.as_str().contains("petting it fails"));
}

/// The scheduling policy of the fencer's thread that holds the device: the 41st field of its `stat`, 0 for an ordinary one.
fn policy_of_the_worker(fencer: &Process) -> Option<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", fencer.pid())).unwrap();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok());
    let worker = stats.into_iter().find(|stat| stat.contains("(watchdog)"))?;
    worker.rsplit(')').next()?.split_whitespace().nth(38).map(str::to_owned)
}

/// Opening looks through /proc and the kernel's log: no real-time work. A pet is.
#[test]
fn only_pets_are_made_at_real_time_priority() {
    if !in_namespace("only_pets_are_made_at_real_time_priority") {
        return;
    }
    let mut host = Host::new();
    let fencer = host.start_fencer();
    let device = FakeWatchdog::at(&host.path("watchdog"));
    device.behaves(|manners| manners.pet_takes = OFTEN);
    let mut page = host.attach(None).unwrap();
    if policy_of_the_worker(&fencer).as_deref() != Some("1") {
        eprintln!("SKIPPED: this machine gives no real-time priority: {}", host.log());
        return;
    }
    page.write_watchdog_wish(&wish_of(&device));
    wait_until("set", TTL, || device.count(Deed::SetTimeout(2)) == 1);
    assert_eq!(policy_of_the_worker(&fencer).as_deref(), Some("0"), "it opens");
    wait_until("opened", TTL, || report(&mut page).open);
    assert_eq!(policy_of_the_worker(&fencer).as_deref(), Some("1"), "it pets");
}

/// A driver may wait for a slow controller.
#[test]
fn a_device_that_hangs_holds_up_no_kill() {
    if !in_namespace("a_device_that_hangs_holds_up_no_kill") {
        return;
    }
    let (mut host, fencer, mut page, device) = watched();
    let mut domain = host.start_domain(1);
    host.wait_for_scan_of(&mut page, &domain);
    // Long enough that it is petted for two seconds yet.
    host.arm(&mut page, Duration::from_millis(4500));
    device.behaves(|manners| manners.hangs = true);
    let end = host.half.lease_end.0;
    domain.assert_killed(TTL);
    let took = leasefence_clock::instant().since_by_faster(end);
    wait_until("CLEAN", SOON, || fencer_half(&mut page).clean.is_some());
    assert!(took < Duration::from_millis(300), "{took:?} after the lease's end");
    // Whoever waits for an answer of the file cannot be killed: the file goes first.
    drop(device);
    drop(fencer);
}
