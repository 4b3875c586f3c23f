//! What agent and fencer tell each other of the watchdog: the agent what its configuration wants, the fencer what came of
//! it. Nothing is decided by it here; when the device may be petted is `leasefence_core::fencing`'s.

use std::time::Duration;

use leasefence_core::format::WatchdogClass;
use leasefence_core::time::Instant;

use crate::layout::{IDENTITY_BYTES, NOTE_BYTES, PATH_BYTES};
use crate::text::Text;

/// A device's path.
pub type DevicePath = Text<PATH_BYTES>;

/// Which device is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum WatchdogDevice {
    /// None: the host's class is `none`.
    #[default]
    None,
    /// The strongest that this host has.
    Auto,
    /// This one and no other.
    Path(DevicePath),
}

/// What the agent's configuration wants of the watchdog.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct WatchdogWish {
    /// Which device.
    pub device: WatchdogDevice,
    /// What it is to be set to. Drivers take whole seconds.
    pub timeout: Duration,
}

/// What the fencer says of the watchdog.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct WatchdogReport {
    /// The wish that this answers.
    pub wish: WatchdogWish,
    /// What the device proves to this host's peers.
    pub class: WatchdogClass,
    /// True while the fencer holds a device open: it resets the host unless it is petted.
    pub open: bool,
    /// True when the device cannot be stopped once it was opened.
    pub nowayout: bool,
    /// True when the wish must wait until nothing is armed: what is said is what goes on meanwhile.
    pub deferred: bool,
    /// True when it is hardware that some machines' firmware keeps from ever resetting them: it counts as `class` says until
    /// somebody has seen that it resets this one.
    pub unseen: bool,
    /// The device that is open; empty without one.
    pub device: DevicePath,
    /// Its driver's name for itself.
    pub identity: Text<IDENTITY_BYTES>,
    /// What the driver says that it is set to.
    pub timeout: Duration,
    /// When the last pet ended; meaningless before the first.
    pub last_pet: Instant,
    /// What people should know of it: why there is none, why it counts for less, what was not to be found out.
    pub note: Text<NOTE_BYTES>,
}

/// What people should know of a device that is [`unseen`](WatchdogReport::unseen).
pub const UNSEEN: &str = "some machines' firmware keeps iTCO_wdt from ever resetting them (iTCO_vendor_support): it counts as soft until \
     `watchdog_seen_to_reset = true` says that it was seen to reset this one";

impl WatchdogReport {
    /// How long the device holds at most after a pet, but for the steps in which it counts. The TCO timer behind these two
    /// resets the machine when it has run out twice, unless the firmware does so at the first. `iTCO_wdt` counts on the firmware:
    /// a patch that did not was reverted in Linux 5.15 (6e7733ef0bb9), which "may result in some boards to only reset after
    /// twice the configured timeout".
    #[must_use]
    pub fn holds(&self) -> Duration {
        let may_run_out_twice = ["iTCO_wdt", "wdat_wdt"].contains(&self.identity.as_str());
        self.timeout * if may_run_out_twice { 2 } else { 1 }
    }
}
