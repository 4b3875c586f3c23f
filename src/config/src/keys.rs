//! The tables of the configuration file and their words.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// The longest path of a watchdog's device: what agent and fencer can tell each other.
const DEVICE_PATH_BYTES: usize = 128;

/// What kind of storage carries the disks, where the agent cannot tell by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StorageHint {
    /// Found out from the mounts and devices of the disks.
    #[default]
    Auto,
    /// NFS.
    Nfs,
    /// iSCSI.
    Iscsi,
    /// A local file system that several "hosts" on one kernel share: for tests, needs the header's `test` bit.
    OneKernel,
}

/// Single terms that differ from what preset or ttl give. Each is checked like the derived one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TermOverrides {
    /// From the lease's end until killed and quiesced, or reset.
    #[serde(with = "humantime_serde")]
    pub fence_budget: Option<Duration>,
    /// The longest that storage holds a write it has received.
    #[serde(with = "humantime_serde")]
    pub write_drain: Option<Duration>,
    /// Between renewals.
    #[serde(with = "humantime_serde")]
    pub renewal_interval: Option<Duration>,
    /// Between scans.
    #[serde(with = "humantime_serde")]
    pub scan_interval: Option<Duration>,
    /// What the watchdog's device is set to, in whole seconds.
    #[serde(with = "humantime_serde")]
    pub watchdog_timeout: Option<Duration>,
    /// Bound on each oscillator's drift, in parts per million.
    pub clock_drift_ppm: Option<u16>,
}

/// Which watchdog ends this host when the fencer cannot.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Watchdog {
    /// The strongest that this host has, if it has one.
    Auto,
    /// None: the host's class is `none`, and peers call it expired only where header and record allow it.
    #[default]
    None,
    /// This one.
    Path(PathBuf),
}

impl fmt::Display for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Watchdog {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(WatchdogWord)
    }
}

struct WatchdogWord;

impl Visitor<'_> for WatchdogWord {
    type Value = Watchdog;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\"none\", \"auto\", or a path like \"/dev/watchdog0\" of at most {DEVICE_PATH_BYTES} bytes (no table)"
        )
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Watchdog, E> {
        match word {
            "auto" => Ok(Watchdog::Auto),
            "none" => Ok(Watchdog::None),
            path if path.starts_with('/') && path.len() <= DEVICE_PATH_BYTES => {
                Ok(Watchdog::Path(path.into()))
            }
            other => Err(E::invalid_value(Unexpected::Str(other), &self)),
        }
    }
}

/// Whether `leasefence drill` may have this host's agent end its own lease.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillPolicy {
    /// It may not.
    #[default]
    Refused,
    /// It may, for root, and while no domain runs here that was not named to it.
    Allowed,
}

/// Whether this host may reset itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reset {
    /// Never.
    #[default]
    Off,
    /// When its domains' writes cannot be shown to have ended in time.
    On,
}

/// What the fencer does when it cannot prove that nothing of this host can still be written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnproven {
    /// It writes no receipt: peers wait for expiry where that is allowed, or for an operator.
    NoReceipt,
    /// It resets the host.
    Reset,
}

/// `[fence]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fence {
    /// Whether this host may reset itself.
    pub reset: Reset,
    /// What to do when there is no proof: what `reset` says, and nothing else. A record that says "reset on" promises it of
    /// whatever stands in the way of the proof.
    pub on_unproven: Option<OnUnproven>,
}

/// `[libvirt]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Libvirt {
    /// Where it is asked.
    pub uri: String,
    /// Longest that a question to it may take.
    #[serde(with = "humantime_serde")]
    pub call_timeout: Duration,
    /// Longest that a domain's start may take before it is given up.
    #[serde(with = "humantime_serde")]
    pub start_timeout: Duration,
}

impl Default for Libvirt {
    fn default() -> Self {
        Self {
            uri: "qemu:///system".to_owned(),
            call_timeout: Duration::from_secs(5),
            start_timeout: Duration::from_secs(120),
        }
    }
}

/// `[log]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter like `info,leasefence_agent=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned() }
    }
}

/// `[protect]`: every domain is, but these.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Protect {
    /// Names or uuids of domains that take no lease and are not killed, as long as what they write is this host's alone.
    pub exempt: Vec<String>,
}
