//! A report of the watchdog in words, for the log.

use std::fmt;

use leasefence_core::format::WatchdogClass;
use leasefence_page::{UNSEEN, WatchdogDevice, WatchdogReport};

/// One line.
pub(crate) struct Told<'a>(pub(crate) &'a WatchdogReport);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        if report.open {
            let (seconds, most) = (report.timeout.as_secs(), report.holds().as_secs());
            write!(f, "watchdog {} ({}), class {}", report.device, report.identity, report.class.as_str())?;
            write!(f, ", resets this host {seconds} s after the last pet")?;
            if most > seconds {
                write!(f, ", or {most} s: it may have to run out twice")?;
            }
            if report.unseen {
                write!(f, "; {UNSEEN}")?;
            }
            if report.nowayout {
                f.write_str(", cannot be stopped (nowayout)")?;
            }
        } else {
            let wanted = report.wish.device != WatchdogDevice::None && report.class == WatchdogClass::None;
            f.write_str(if wanted { "warning: no watchdog" } else { "no watchdog" })?;
        }
        if report.note.is_empty() { Ok(()) } else { write!(f, ": {}", report.note) }
    }
}
