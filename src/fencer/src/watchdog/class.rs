//! What a device proves to this host's peers. What cannot be known is said, and counts low: peers start a dead host's
//! domains by its class (ARCHITECTURE 4).

use leasefence_core::format::WatchdogClass;
use leasefence_page::UNSEEN;

/// Drivers whose hardware resets this machine whatever its kernel does, by their identities: each was read (drivers/watchdog of
/// Linux 6.1). Another counts as `soft` until somebody has read it.
const HARDWARE: [&str; 3] = ["wdat_wdt", "SP5100 TCO timer", "HPE iLO2+ HW Watchdog Timer"];

/// Of these a bite must have been seen: the timer's first running out raises an SMI, and there are boards whose firmware takes
/// that and never lets it run out again (`drivers/watchdog/iTCO_vendor_support.c`).
const UNSEEN_HARDWARE: &str = "iTCO_wdt";

/// QEMU's. The chip that it stands for is of 2004: where this shows, the host is a virtual machine, whatever else it says.
const EMULATED: &str = "i6300ESB timer";

/// What softdog does when it fires, by what it says in the kernel's log as it is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Softdog {
    /// Resets the machine at once.
    Resets,
    /// `soft_noboot`: nothing.
    Ignores,
    /// `soft_panic`: a kernel that has crashed still answers interrupts, and may send what its sockets hold.
    Panics,
    /// `soft_reboot_cmd`: it shuts down in order, and resets a minute later where that hangs.
    ShutsDown,
}

/// What is known of a device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Facts {
    /// The driver's name for itself.
    pub(super) identity: String,
    /// True for a character device.
    pub(super) is_device: bool,
    /// True when a device of this machine stands behind it in sysfs; none where sysfs does not show the watchdog.
    pub(super) has_parent: Option<bool>,
    /// True when this host is a virtual machine, or may be one.
    pub(super) virtual_host: bool,
    /// `WDIOF_ALARMONLY`.
    pub(super) alarm_only: bool,
    /// True when its driver stops it as its last descriptor closes (neither `WDIOF_MAGICCLOSE` nor nowayout).
    pub(super) stops_when_closed: bool,
    /// What softdog does; none where it was not to be found out.
    pub(super) softdog: Option<Softdog>,
    /// The IPMI driver's `action`; none where it was not to be found out.
    pub(super) ipmi_action: Option<String>,
}

/// True when it would count as `hardware` if somebody had seen it reset this machine.
pub(super) fn is_unseen(facts: &Facts) -> bool {
    judge(facts) == (WatchdogClass::Soft, UNSEEN)
}

/// The class, and what people should know of it.
pub(super) fn judge(facts: &Facts) -> (WatchdogClass, &'static str) {
    use WatchdogClass::{Hardware, None, Soft, Virtual};
    let identity = facts.identity.as_str();
    if facts.alarm_only {
        return (None, "it raises an alarm and resets nothing");
    }
    if facts.stops_when_closed {
        return (None, "its driver stops it when it is closed: it would not outlive the fencer");
    }
    if identity == "Software Watchdog" {
        return match facts.softdog {
            Some(Softdog::Resets) => (Soft, "a crashed kernel does not run it"),
            Some(Softdog::Ignores) => (None, "softdog was loaded with soft_noboot: it resets nothing"),
            Some(Softdog::Panics) => (
                None,
                "softdog was loaded with soft_panic: a crashed kernel is no reset, it may still send writes",
            ),
            Some(Softdog::ShutsDown) => (
                None,
                "softdog was loaded with soft_reboot_cmd: it shuts down in order, which may take a minute",
            ),
            Option::None => (
                None,
                "softdog: how it was loaded is not to be seen in the kernel's log any more; load it again",
            ),
        };
    }
    if identity == "IPMI" {
        return match facts.ipmi_action.as_deref() {
            Some("reset" | "power_cycle" | "power_off") => (
                Soft,
                "ipmi_watchdog gives a kernel that crashes 255 s more (panic_wdt_timeout): it counts as soft",
            ),
            Some("none") => (None, "ipmi_watchdog has action=none: it resets nothing"),
            _ => (None, "ipmi_watchdog: its action is not to be found out"),
        };
    }
    if !facts.is_device {
        return (Soft, "it is no device: no driver is known to stand behind it");
    }
    if facts.virtual_host || identity == EMULATED {
        return (
            Virtual,
            "a virtual machine's: what its hypervisor does when it fires cannot be seen from inside (it must reset)",
        );
    }
    match facts.has_parent {
        Some(true) if HARDWARE.contains(&identity) => (Hardware, ""),
        Some(true) if identity == UNSEEN_HARDWARE => (Soft, UNSEEN),
        Some(true) => {
            (Soft, "its driver is not among those that are known to reset a machine: it counts as soft")
        }
        Some(false) => (Soft, "no hardware stands behind it"),
        Option::None => (Soft, "sysfs does not show what stands behind it: it counts as soft"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use WatchdogClass::{Hardware, None, Soft, Virtual};

    fn hardware(identity: &str) -> Facts {
        Facts { identity: identity.to_owned(), is_device: true, has_parent: Some(true), ..Facts::default() }
    }

    fn softdog(softdog: Option<Softdog>) -> Facts {
        Facts { has_parent: Some(false), softdog, ..hardware("Software Watchdog") }
    }

    fn ipmi(action: Option<&str>) -> Facts {
        Facts { ipmi_action: action.map(str::to_owned), ..hardware("IPMI") }
    }

    #[test]
    fn a_device_that_resets_nothing_counts_as_none_and_what_is_not_known_counts_low() {
        let table = [
            (hardware("iTCO_wdt"), Soft),
            (hardware("wdat_wdt"), Hardware),
            (hardware("HPE iLO2+ HW Watchdog Timer"), Hardware),
            (Facts { virtual_host: true, ..hardware("wdat_wdt") }, Virtual),
            (Facts { virtual_host: true, ..hardware("iTCO_wdt") }, Virtual),
            (hardware("i6300ESB timer"), Virtual),
            (softdog(Some(Softdog::Resets)), Soft),
            (Facts { virtual_host: true, ..softdog(Some(Softdog::Resets)) }, Soft),
            (softdog(Some(Softdog::Ignores)), None),
            (softdog(Some(Softdog::Panics)), None),
            (softdog(Some(Softdog::ShutsDown)), None),
            (softdog(Option::None), None),
            (ipmi(Some("reset")), Soft),
            (ipmi(Some("none")), None),
            (ipmi(Option::None), None),
            (Facts { alarm_only: true, ..hardware("wdat_wdt") }, None),
            (Facts { stops_when_closed: true, ..hardware("wdat_wdt") }, None),
            (hardware("iTCO_wdt of tomorrow"), Soft),
            (Facts { has_parent: Some(false), ..hardware("wdat_wdt") }, Soft),
            (Facts { has_parent: Option::None, ..hardware("wdat_wdt") }, Soft),
            (Facts { is_device: false, ..hardware("wdat_wdt") }, Soft),
        ];
        for (facts, class) in table {
            let (said, why) = judge(&facts);
            assert_eq!(said, class, "{facts:?}");
            assert!(class == Hardware || !why.is_empty(), "{facts:?}");
            let seen_would_do = facts == hardware("iTCO_wdt");
            assert_eq!(is_unseen(&facts), seen_would_do, "{facts:?}");
        }
    }
}
