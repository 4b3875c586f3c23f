//! What a device proves to this host's peers. What cannot be known is said, and counts low: peers start a dead host's
//! domains by its class (ARCHITECTURE 4).

use leasefence_core::format::WatchdogClass;

/// Drivers of hardware that resets a machine whatever its kernel does, by their identities (the kernel's drivers/watchdog).
/// Another counts as `soft` until somebody has read its driver.
const HARDWARE: [&str; 11] = [
    "iTCO_wdt",
    "wdat_wdt",
    "SP5100 TCO timer",
    "HPE iLO2+ HW Watchdog Timer",
    "IPMI",
    "i6300ESB timer",
    "iamt_wdt",
    "NV_TCO",
    "ie6xx_wdt",
    "IT87 WDT",
    "SBSA Generic Watchdog",
];

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
    /// softdog's `soft_noboot`; none where it was not to be found out.
    pub(super) soft_noboot: Option<bool>,
    /// The IPMI driver's `action`; none where it was not to be found out.
    pub(super) ipmi_action: Option<String>,
}

/// The class, and what people should know of it.
pub(super) fn judge(facts: &Facts) -> (WatchdogClass, &'static str) {
    use WatchdogClass::{Hardware, None, Soft, Virtual};
    let identity = facts.identity.as_str();
    if facts.alarm_only {
        return (None, "it raises an alarm and resets nothing");
    }
    if identity == "Software Watchdog" {
        return match facts.soft_noboot {
            Some(false) => (Soft, "a crashed kernel does not run it"),
            Some(true) => (None, "softdog was loaded with soft_noboot=1: it resets nothing"),
            Option::None => (
                None,
                "softdog: whether it was loaded with soft_noboot is not to be seen in the kernel's log; load it again",
            ),
        };
    }
    if identity == "IPMI" {
        match facts.ipmi_action.as_deref() {
            Some("reset" | "power_cycle" | "power_off") => {}
            Some("none") => return (None, "ipmi_watchdog has action=none: it resets nothing"),
            _ => return (None, "ipmi_watchdog: its action is not to be found out"),
        }
    }
    if !facts.is_device {
        return (Soft, "it is no device: no driver is known to stand behind it");
    }
    if facts.virtual_host {
        return (
            Virtual,
            "a virtual machine's: what its hypervisor does when it fires cannot be seen from inside (it must reset)",
        );
    }
    match facts.has_parent {
        Some(true) if HARDWARE.iter().any(|known| identity.starts_with(known)) => (Hardware, ""),
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

    #[test]
    fn a_device_that_resets_nothing_counts_as_none_and_what_is_not_known_counts_low() {
        let softdog =
            |soft_noboot| Facts { has_parent: Some(false), soft_noboot, ..hardware("Software Watchdog") };
        let ipmi =
            |action: Option<&str>| Facts { ipmi_action: action.map(str::to_owned), ..hardware("IPMI") };
        let table = [
            (hardware("iTCO_wdt"), Hardware),
            (hardware("HPE iLO2+ HW Watchdog Timer"), Hardware),
            (Facts { virtual_host: true, ..hardware("i6300ESB timer") }, Virtual),
            (Facts { virtual_host: true, ..hardware("iTCO_wdt") }, Virtual),
            (hardware("i6300ESB timer"), Hardware),
            (softdog(Some(false)), Soft),
            (Facts { virtual_host: true, ..softdog(Some(false)) }, Soft),
            (softdog(Some(true)), None),
            (softdog(Option::None), None),
            (ipmi(Some("reset")), Hardware),
            (ipmi(Some("none")), None),
            (ipmi(Option::None), None),
            (Facts { alarm_only: true, ..hardware("iTCO_wdt") }, None),
            (hardware("a driver of tomorrow"), Soft),
            (Facts { has_parent: Some(false), ..hardware("iTCO_wdt") }, Soft),
            (Facts { has_parent: Option::None, ..hardware("iTCO_wdt") }, Soft),
            (Facts { is_device: false, ..hardware("iTCO_wdt") }, Soft),
        ];
        for (facts, class) in table {
            let (said, why) = judge(&facts);
            assert_eq!(said, class, "{facts:?}");
            assert!(class == Hardware || !why.is_empty(), "{facts:?}");
        }
    }
}
