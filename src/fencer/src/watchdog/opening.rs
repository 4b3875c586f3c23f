//! Opening what the agent wants: the strongest device of this host, or the one that is named. Each that cannot serve says
//! why; a device whose class is `none` is closed again, since it would hold nothing up.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leasefence_core::format::WatchdogClass;
use leasefence_core::time::Instant;
use leasefence_page::{DevicePath, Text, WatchdogDevice, WatchdogReport, WatchdogWish};

use super::class::{Facts, is_unseen, judge};
use super::device::{Device, Support};
use super::holder::explain;
use super::host::{Host, Shown};
use super::worker::is_past;

/// Time-outs for a device that cannot be stopped, when it is let go: long enough to shut a host down, as far as it goes.
const LONGEST: [Duration; 3] = [Duration::from_secs(600), Duration::from_secs(255), Duration::from_secs(60)];

/// What people must know of a device that was opened and cannot be stopped.
pub(super) const RUNS_ON: &str =
    "it cannot be stopped (nowayout): it resets this host unless somebody pets it";

/// What people must know of one that another is configured in the place of.
pub(super) const KEPT: &str =
    "it cannot be stopped (nowayout), so it is kept and petted: what is configured is taken at the next boot";

const HAS_RESET: &str = "it has reset this host before this boot; ";

/// Opens what is wanted. The report says what came of it, and has a device open exactly when one is returned: it was set
/// and petted once, so that its class may be told.
pub(super) fn open(host: &Host, wish: &WatchdogWish) -> (Option<Device>, WatchdogReport) {
    let mut report = WatchdogReport { wish: *wish, ..WatchdogReport::default() };
    let candidates = match &wish.device {
        WatchdogDevice::None => return (None, report),
        WatchdogDevice::Path(path) => vec![PathBuf::from(path.as_str())],
        WatchdogDevice::Auto => strongest_first(host.watchdogs()),
    };
    let mut reasons = Vec::new();
    if candidates.is_empty() {
        reasons.push(
            "this host has no watchdog: load its driver's module (softdog, where there is no hardware)"
                .to_owned(),
        );
    }
    for path in candidates {
        match open_one(host, &path, wish.timeout) {
            Ok((device, found)) => {
                // What was passed over is worth a word: somebody may have meant that one.
                reasons.insert(0, found.note.as_str().to_owned());
                report = WatchdogReport { wish: *wish, note: joined(&reasons), ..found };
                return (Some(device), report);
            }
            Err(why) => reasons.push(format!("{}: {why}", path.display())),
        }
    }
    report.note = joined(&reasons);
    (None, report)
}

/// Opens a device again that is running out, with what was promised by it as it was. Opening it is a pet, so it comes not after
/// `until`; nor is the device let go where something fails, since it must bite then.
pub(super) fn open_again(
    host: &Host,
    known: &WatchdogReport,
    until: Instant,
) -> (Option<Device>, WatchdogReport) {
    let path = Path::new(known.device.as_str());
    let opened = if is_past(leasefence_clock::instant(), until) {
        Err("its moment has passed".to_owned())
    } else {
        Device::open(path).map_err(|error| refused("", &error, path))
    };
    let set = opened.and_then(|device| {
        let failed = |doing| move |error: io::Error| refused(doing, &error, path);
        let support = device.support().map_err(failed("asked what it is (WDIOC_GETSUPPORT): "))?;
        let judged = judged(host, &device, &support);
        // What softdog does was said when it was loaded, and the kernel's log may have lost that since.
        let class = if judged.identity == known.identity { known.class } else { judged.class };
        if class == WatchdogClass::None {
            return Err(judged.note.as_str().to_owned());
        }
        let timeout = device
            .set_timeout(known.timeout, &support)
            .map_err(failed("set to its time-out (WDIOC_SETTIMEOUT): "))?;
        let last_pet = leasefence_clock::instant();
        Ok((device, WatchdogReport { class, timeout, last_pet, open: true, ..judged }))
    });
    let (wish, deferred) = (known.wish, known.deferred);
    match set {
        Ok((device, report)) => (Some(device), WatchdogReport { wish, deferred, ..report }),
        Err(why) => {
            (None, WatchdogReport { wish, deferred, note: Text::cut(&why), ..WatchdogReport::default() })
        }
    }
}

fn joined(reasons: &[String]) -> Text<255> {
    let said: Vec<&str> = reasons.iter().map(String::as_str).filter(|reason| !reason.is_empty()).collect();
    Text::cut(&said.join("; "))
}

/// Those that reset anything, by the strength of their class and then by number.
fn strongest_first(shown: Vec<Shown>) -> Vec<PathBuf> {
    let rank = |shown: &Shown| match judge(&shown.facts).0 {
        WatchdogClass::Hardware => 0,
        WatchdogClass::Virtual => 1,
        WatchdogClass::Soft if is_unseen(&shown.facts) => 2,
        WatchdogClass::Soft => 3,
        WatchdogClass::None => 4,
    };
    let mut ranked: Vec<_> = shown.into_iter().map(|shown| (rank(&shown), shown.path)).collect();
    // Stable: equals stay by number.
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, path)| path).collect()
}

fn open_one(host: &Host, path: &Path, timeout: Duration) -> Result<(Device, WatchdogReport), String> {
    // Before it is opened: opening starts its timer, and one that cannot be stopped then runs until the next boot.
    let number = path.metadata().map_err(|error| refused("", &error, path))?.rdev();
    let shown = host.watchdog_of(number);
    if let Some((WatchdogClass::None, why)) = shown.as_ref().map(|shown| judge(&shown.facts)) {
        return Err(why.to_owned());
    }
    let device = Device::open(path).map_err(|error| refused("", &error, path))?;
    let (why, nowayout) = match set_up(host, &device, timeout) {
        Ok(report) if report.class != WatchdogClass::None => return Ok((device, report)),
        Ok(report) => (report.note.as_str().to_owned(), report.nowayout),
        Err(why) => (why, shown.is_some_and(|shown| shown.nowayout)),
    };
    let stopped = let_go(device, nowayout).is_ok() && !nowayout;
    Err(if stopped { why } else { format!("{why}; {RUNS_ON}") })
}

/// Sets a device that has just been opened, and pets it once.
fn set_up(host: &Host, device: &Device, timeout: Duration) -> Result<WatchdogReport, String> {
    let failed = |doing| move |error: io::Error| refused(doing, &error, device.path());
    let support = device.support().map_err(failed("asked what it is (WDIOC_GETSUPPORT): "))?;
    let report = judged(host, device, &support);
    if report.class == WatchdogClass::None {
        return Ok(report);
    }
    let timeout =
        device.set_timeout(timeout, &support).map_err(failed("set to its time-out (WDIOC_SETTIMEOUT): "))?;
    device.pet().map_err(failed("petted (WDIOC_KEEPALIVE): "))?;
    Ok(WatchdogReport { timeout, last_pet: leasefence_clock::instant(), open: true, ..report })
}

/// What an open device is, by its driver and by what this host shows of it.
fn judged(host: &Host, device: &Device, support: &Support) -> WatchdogReport {
    let shown = device.number().and_then(|number| host.watchdog_of(number));
    let nowayout = shown.as_ref().is_some_and(|shown| shown.nowayout);
    let facts = Facts {
        is_device: device.number().is_some(),
        alarm_only: support.alarm_only,
        stops_when_closed: !support.magic_close && !nowayout,
        has_parent: shown.as_ref().and_then(|shown| shown.facts.has_parent),
        ..host.facts(&support.identity)
    };
    let unseen = is_unseen(&facts);
    // Whoever reads the report knows what to say of that, and whether somebody has seen it meanwhile.
    let (class, note) = if unseen { (judge(&facts).0, "") } else { judge(&facts) };
    let note = if device.has_reset() { format!("{HAS_RESET}{note}") } else { note.to_owned() };
    WatchdogReport {
        class,
        nowayout,
        unseen,
        device: DevicePath::cut(&device.path().to_string_lossy()),
        identity: Text::cut(&support.identity),
        note: Text::cut(&note),
        ..WatchdogReport::default()
    }
}

/// True when the device that is open is the one that `wish` would have opened.
pub(super) fn is_wanted(host: &Host, device: &Device, wish: &WatchdogWish) -> bool {
    match &wish.device {
        WatchdogDevice::None => false,
        WatchdogDevice::Path(path) => device.path() == Path::new(path.as_str()),
        WatchdogDevice::Auto => {
            strongest_first(host.watchdogs()).first().is_some_and(|strongest| strongest == device.path())
        }
    }
}

/// Sets an open device as another wish wants it.
pub(super) fn set_anew(
    device: &Device,
    wish: &WatchdogWish,
    report: &WatchdogReport,
) -> io::Result<WatchdogReport> {
    let timeout = device.set_timeout(wish.timeout, &device.support()?)?;
    device.pet()?;
    // Where another was wanted in between, the note was about that.
    let note = if report.deferred { Text::default() } else { report.note };
    let last_pet = leasefence_clock::instant();
    Ok(WatchdogReport { wish: *wish, timeout, last_pet, deferred: false, note, ..*report })
}

/// What a device is and what it is set to, of which only the descriptor was kept.
pub(super) fn look_again(host: &Host, device: &Device) -> Result<WatchdogReport, String> {
    let failed = |doing| move |error: io::Error| refused(doing, &error, device.path());
    let support = device.support().map_err(failed("asked what it is (WDIOC_GETSUPPORT): "))?;
    let timeout = device.timeout().map_err(failed("asked what it is set to (WDIOC_GETTIMEOUT): "))?;
    Ok(WatchdogReport { timeout, open: true, ..judged(host, device, &support) })
}

/// Lets a device go that nothing was promised by. One that cannot be stopped gets the longest time that it takes.
pub(super) fn let_go(device: Device, nowayout: bool) -> Result<(), String> {
    if nowayout && let Ok(support) = device.support() {
        let takes = |wanted: &Duration| device.set_timeout(*wanted, &support).is_ok();
        LONGEST.iter().find(|wanted| takes(wanted));
        device.pet().ok();
    }
    device.close_by_magic().map_err(|error| format!("closing it by the magic letter: {error}"))
}

fn refused(doing: &str, error: &io::Error, path: &Path) -> String {
    match error.kind() {
        ErrorKind::ResourceBusy => explain(path),
        ErrorKind::NotFound => "there is no such device: is its driver's module loaded?".to_owned(),
        _ if error.raw_os_error() == Some(nix::libc::EIO) && doing.is_empty() => {
            "its driver cannot start it (iTCO_wdt: NO_REBOOT is set by the firmware): it would reset nothing"
                .to_owned()
        }
        _ => format!("{doing}{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchdog::class::Softdog;

    fn shown(number: u32, identity: &str, has_parent: bool, virtual_host: bool) -> Shown {
        let facts = Facts {
            identity: identity.to_owned(),
            is_device: true,
            has_parent: Some(has_parent),
            virtual_host,
            softdog: Some(Softdog::Resets),
            ..Facts::default()
        };
        Shown { path: format!("/dev/watchdog{number}").into(), facts, nowayout: false }
    }

    #[test]
    fn the_strongest_is_tried_first_and_among_equals_the_first() {
        let all = vec![
            shown(0, "Software Watchdog", false, false),
            shown(1, "a driver of tomorrow", true, false),
            shown(2, "iTCO_wdt", true, false),
            shown(3, "SP5100 TCO timer", true, false),
        ];
        let order: Vec<_> = strongest_first(all).iter().map(|path| path.display().to_string()).collect();
        assert_eq!(order, ["/dev/watchdog3", "/dev/watchdog2", "/dev/watchdog0", "/dev/watchdog1"]);
    }

    /// Nothing of this machine is looked at: the path does not exist.
    #[test]
    fn what_cannot_be_opened_says_why_and_leaves_nothing_open() {
        let path = DevicePath::cut("/nonexistent/watchdog");
        let wish = WatchdogWish { device: WatchdogDevice::Path(path), timeout: Duration::from_secs(5) };
        let (device, report) = open(&Host::default(), &wish);
        assert!(device.is_none() && !report.open && report.class == WatchdogClass::None);
        assert_eq!(report.wish, wish, "it is an answer all the same");
        assert!(report.note.as_str().contains("is its driver's module loaded?"), "{report:?}");
    }
}
