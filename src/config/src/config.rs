//! The configuration as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leasefence_core::terms::Preset;
use serde::Deserialize;

use crate::ConfigError;
use crate::keys::{
    DrillPolicy, Fence, Libvirt, Log, OnUnproven, Protect, Reset, StorageHint, TermOverrides, Watchdog,
};
use crate::locate::{key_at, line_at, line_of};
use crate::timing::preset;

/// The most that a host's name may have in its record.
const HOST_NAME_BYTES: usize = 48;

/// The configuration of one host.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The cluster's name: the lease file must carry it.
    pub cluster: String,
    /// The lease file, or the block device that is one.
    pub lease: PathBuf,
    /// This host's name in its record; the machine's host name when absent.
    pub host_name: Option<String>,
    #[serde(default, deserialize_with = "preset")]
    pub(crate) preset: Option<Preset>,
    #[serde(default, with = "humantime_serde")]
    pub(crate) lease_ttl: Option<Duration>,
    /// Single terms that differ (`[terms]`).
    #[serde(default, rename = "terms")]
    pub overrides: TermOverrides,
    /// What kind of storage carries the disks.
    #[serde(default)]
    pub storage: StorageHint,
    /// How long a write whose call returned without success stays unknown (R11: a late write may still land).
    #[serde(default = "unknown_hold", with = "humantime_serde")]
    pub unknown_hold: Duration,
    /// Allows a lease on an NFS older than 4.1, which may apply a write twice.
    #[serde(default)]
    pub accept_old_nfs: bool,
    /// Lets peers call this host expired without a hardware watchdog, where the header's policy allows it too.
    #[serde(default)]
    pub expire_without_hardware: bool,
    /// Which watchdog ends this host when the fencer cannot.
    #[serde(default)]
    pub watchdog: Watchdog,
    /// The watchdog was seen to reset this machine: for those that some machines' firmware keeps from it (`iTCO_wdt`).
    #[serde(default)]
    pub watchdog_seen_to_reset: bool,
    /// Whether `leasefence drill` may end this host's lease through its agent.
    #[serde(default)]
    pub drill: DrillPolicy,
    /// What happens at the lease's end when there is no proof.
    #[serde(default)]
    pub fence: Fence,
    /// Sockets and state of this boot.
    #[serde(default = "run_dir")]
    pub run_dir: PathBuf,
    /// This machine's identity.
    #[serde(default = "state_dir")]
    pub state_dir: PathBuf,
    /// Where domain definitions are kept for the others; beside the lease file when absent.
    definitions_dir: Option<PathBuf>,
    /// Libvirt.
    #[serde(default)]
    pub libvirt: Libvirt,
    /// Logging.
    #[serde(default)]
    pub log: Log,
    /// Which domains are not guarded.
    #[serde(default)]
    pub protect: Protect,
    #[serde(skip)]
    origin: Origin,
}

/// Where a configuration came from: its errors name file and line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Origin {
    path: PathBuf,
    text: String,
}

fn unknown_hold() -> Duration {
    Duration::from_secs(60)
}

fn run_dir() -> PathBuf {
    "/run/leasefence".into()
}

fn state_dir() -> PathBuf {
    "/var/lib/leasefence".into()
}

impl Config {
    /// Reads and parses a file. Its timing is not judged yet: see [`Self::terms`].
    ///
    /// # Errors
    /// [`ConfigError::Read`], and those of [`Self::parse`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Parses a text; `path` is for messages only.
    ///
    /// # Errors
    /// [`ConfigError::Form`] for what is no such configuration, [`ConfigError::Value`] for values that cannot be.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| form_error(&error, text, path))?;
        config.origin = Origin { path: path.to_owned(), text: text.to_owned() };
        config.check_values()?;
        Ok(config)
    }

    /// The directory in which domain definitions are kept for the others: beside the lease file unless configured;
    /// none for a lease on a block device without one, where no domain can be restarted.
    #[must_use]
    pub fn definitions_dir(&self, lease_is_block_device: bool) -> Option<PathBuf> {
        self.definitions_dir.clone().or_else(|| {
            (!lease_is_block_device)
                .then(|| self.lease.parent().unwrap_or(Path::new("/")).join("definitions"))
        })
    }

    /// The name in this host's record.
    ///
    /// # Errors
    /// The kernel's error when the machine's host name is needed and cannot be read.
    pub fn host_name(&self) -> io::Result<String> {
        match &self.host_name {
            Some(name) => Ok(name.clone()),
            None => Ok(fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned()),
        }
    }

    /// The file that it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.origin.path
    }

    /// The line of a key, from 1: for messages about values that only others can judge.
    #[must_use]
    pub fn line_of(&self, key: &[&str]) -> usize {
        line_of(&self.origin.text, key)
    }

    fn check_values(&self) -> Result<(), ConfigError> {
        self.check_names()?;
        self.check_paths()?;
        if self.preset.is_some() && self.lease_ttl.is_some() {
            return Err(self.value(
                &["lease_ttl"],
                "preset and lease_ttl are both given",
                "allowed is one of the two",
            ));
        }
        if self.fence.on_unproven == Some(OnUnproven::NoReceipt) && self.fence.reset == Reset::On {
            return Err(self.value(
                &["fence", "on_unproven"],
                "\"no-receipt\" is asked for, but fence.reset is \"on\", and the peers count on it",
                "allowed is \"reset\", or fence.reset = \"off\"",
            ));
        }
        if self.fence.on_unproven == Some(OnUnproven::Reset) && self.fence.reset == Reset::Off {
            return Err(self.value(
                &["fence", "on_unproven"],
                "\"reset\" is asked for, but fence.reset is \"off\"",
                "allowed is \"no-receipt\", or fence.reset = \"on\"",
            ));
        }
        self.check_durations()
    }

    fn check_names(&self) -> Result<(), ConfigError> {
        let word = |text: &str| {
            !text.is_empty()
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        let allowed = "allowed are 1 to 48 letters, digits, '-', '_' and '.'";
        if !word(&self.cluster) || self.cluster.len() > HOST_NAME_BYTES {
            return Err(self.value(&["cluster"], &format!("{:?} is no cluster name", self.cluster), allowed));
        }
        match &self.host_name {
            Some(name) if !word(name) || name.len() > HOST_NAME_BYTES => {
                Err(self.value(&["host_name"], &format!("{name:?} is no host name"), allowed))
            }
            _ => Ok(()),
        }
    }

    fn check_paths(&self) -> Result<(), ConfigError> {
        let paths = [
            ("lease", Some(&self.lease)),
            ("run_dir", Some(&self.run_dir)),
            ("state_dir", Some(&self.state_dir)),
            ("definitions_dir", self.definitions_dir.as_ref()),
        ];
        for (key, path) in paths {
            if path.is_some_and(|path| !path.is_absolute()) {
                return Err(self.value(&[key], "the path is relative", "allowed is a path from the root"));
            }
        }
        if self.state_dir.starts_with(&self.run_dir) {
            let allowed = "allowed is a directory that keeps the machine's identity over a boot";
            return Err(self.value(&["state_dir"], "it lies in run_dir, which a boot empties", allowed));
        }
        Ok(())
    }

    fn check_durations(&self) -> Result<(), ConfigError> {
        let given: [(&[&str], Option<Duration>); 9] = [
            (&["lease_ttl"], self.lease_ttl),
            (&["unknown_hold"], Some(self.unknown_hold)),
            (&["terms", "fence_budget"], self.overrides.fence_budget),
            (&["terms", "write_drain"], self.overrides.write_drain),
            (&["terms", "renewal_interval"], self.overrides.renewal_interval),
            (&["terms", "scan_interval"], self.overrides.scan_interval),
            (&["terms", "watchdog_timeout"], self.overrides.watchdog_timeout),
            (&["libvirt", "call_timeout"], Some(self.libvirt.call_timeout)),
            (&["libvirt", "start_timeout"], Some(self.libvirt.start_timeout)),
        ];
        for (key, duration) in given {
            let Some(duration) = duration else { continue };
            let whole = duration.subsec_nanos().is_multiple_of(1_000_000);
            if !whole || duration.is_zero() || duration > Duration::from_secs(86_400) {
                let problem = format!("{} cannot be", humantime::format_duration(duration));
                return Err(self.value(key, &problem, "allowed are whole milliseconds from 1 ms to 1 day"));
            }
        }
        match self.overrides.watchdog_timeout {
            Some(timeout) if timeout.subsec_nanos() != 0 => Err(self.value(
                &["terms", "watchdog_timeout"],
                &format!("{} cannot be", humantime::format_duration(timeout)),
                "allowed are whole seconds: drivers take no others",
            )),
            _ => Ok(()),
        }
    }

    fn value(&self, key: &[&str], problem: &str, allowed: &str) -> ConfigError {
        ConfigError::Value {
            path: self.origin.path.clone(),
            line: self.line_of(key),
            key: key.join("."),
            problem: problem.to_owned(),
            allowed: allowed.to_owned(),
        }
    }
}

fn form_error(error: &toml::de::Error, text: &str, path: &Path) -> ConfigError {
    let span = error.span();
    ConfigError::Form {
        path: path.to_owned(),
        line: span.as_ref().map_or(1, |span| line_at(text, span.start)),
        key: span.filter(|span| span.len() < text.len()).and_then(|span| key_at(text, &span)),
        problem: error.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timing;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/etc/leasefence/leasefence.toml"))
    }

    fn refusal(text: &str) -> String {
        parse(text).expect_err("it must be refused").to_string()
    }

    const LEAST: &str = "cluster = \"lab\"\nlease = \"/mnt/lease/leasefence.lease\"\n";

    #[test]
    fn two_keys_are_enough_and_the_rest_has_defaults() {
        let config = parse(LEAST).expect("it is complete");
        assert_eq!(config.timing(), Timing::Preset(Preset::Default));
        assert_eq!(config.run_dir, Path::new("/run/leasefence"));
        assert_eq!(config.definitions_dir(false).as_deref(), Some(Path::new("/mnt/lease/definitions")));
        assert_eq!(config.definitions_dir(true), None, "a block device has no directory");
        assert_eq!(config.fence.reset, Reset::Off);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_with_the_keys_that_there_are() {
        let text = refusal(&format!("{LEAST}renewal = \"1s\"\n"));
        assert!(text.contains("/etc/leasefence/leasefence.toml, line 3, `renewal`"), "{text}");
        assert!(text.contains("expected one of `cluster`, `lease`"), "{text}");
    }

    #[test]
    fn a_missing_key_is_named() {
        let text = refusal("cluster = \"lab\"\n");
        assert!(text.contains("missing field `lease`"), "{text}");
    }

    #[test]
    fn a_duration_without_a_unit_is_refused_with_line_and_key() {
        let text = refusal(&format!("{LEAST}lease_ttl = \"12\"\n"));
        assert!(text.contains("line 3, `lease_ttl`"), "{text}");
        let text = refusal(&format!("{LEAST}\n[terms]\nfence_budget = 3\n"));
        assert!(text.contains("line 5, `terms.fence_budget`"), "{text}");
    }

    #[test]
    fn a_preset_and_a_ttl_at_once_are_refused() {
        let text = refusal(&format!("{LEAST}preset = \"fast\"\nlease_ttl = \"12 s\"\n"));
        assert!(text.contains("line 4, `lease_ttl`") && text.contains("one of the two"), "{text}");
    }

    #[test]
    fn an_unknown_word_is_refused_with_the_words_that_there_are() {
        let text = refusal(&format!("{LEAST}preset = \"faster\"\n"));
        assert!(text.contains("line 3, `preset`") && text.contains("`nas-failover`"), "{text}");
        let text = refusal(&format!("{LEAST}watchdog = \"maybe\"\n"));
        assert!(text.contains("line 3, `watchdog`") && text.contains("/dev/watchdog0"), "{text}");
    }

    #[test]
    fn resetting_without_leave_to_reset_is_refused() {
        let text = refusal(&format!("{LEAST}[fence]\non_unproven = \"reset\"\n"));
        assert!(text.contains("line 4, `fence.on_unproven`"), "{text}");
    }

    #[test]
    fn a_relative_path_and_a_strange_name_are_refused() {
        assert!(refusal("cluster = \"lab\"\nlease = \"lease\"\n").contains("line 2, `lease`"));
        assert!(refusal("cluster = \"my lab\"\nlease = \"/lease\"\n").contains("line 1, `cluster`"));
    }

    #[test]
    fn an_identity_that_a_boot_would_remove_is_refused() {
        let text = refusal(&format!("{LEAST}run_dir = \"/run/lf\"\nstate_dir = \"/run/lf/state\"\n"));
        assert!(text.contains("line 4, `state_dir`"), "{text}");
    }

    #[test]
    fn no_receipt_in_the_place_of_the_reset_that_peers_count_on_is_refused() {
        let text = refusal(&format!("{LEAST}[fence]\nreset = \"on\"\non_unproven = \"no-receipt\"\n"));
        assert!(text.contains("line 5, `fence.on_unproven`"), "{text}");
        let both = parse(&format!("{LEAST}[fence]\nreset = \"on\"\non_unproven = \"reset\"\n"));
        assert_eq!(both.expect("they agree").fence.reset, Reset::On);
    }

    /// With the reset on, kill and quiescence must fit in before it, whether there is a watchdog or not.
    #[test]
    fn a_budget_without_room_before_the_reset_is_refused() {
        let text = format!("{LEAST}preset = \"fast\"\nstorage = \"iscsi\"\n");
        assert!(parse(&text).expect("it is complete").terms(None).is_ok());
        let on = parse(&format!("{text}[fence]\nreset = \"on\"\n")).expect("it is complete");
        let refused = on.terms(None).expect_err("it must be refused").to_string();
        assert!(refused.contains("fence.reset") && refused.contains("2.25s"), "{refused}");
    }

    #[test]
    fn a_watchdog_is_a_word_or_a_path_and_none_unless_the_file_says_so() {
        let watchdog = |line: &str| parse(&format!("{LEAST}{line}\n")).expect("it is allowed").watchdog;
        assert_eq!(watchdog(""), Watchdog::None);
        assert_eq!(watchdog("watchdog = \"auto\""), Watchdog::Auto);
        assert_eq!(watchdog("watchdog = \"/dev/watchdog1\""), Watchdog::Path("/dev/watchdog1".into()));
        let text = refusal(&format!("{LEAST}watchdog = \"/{}\"\n", "d".repeat(128)));
        assert!(text.contains("128 bytes"), "{text}");
        let text = refusal(&format!("{LEAST}[watchdog]\ndevice = \"auto\"\n"));
        assert!(text.contains("line 3, `watchdog`") && text.contains("(no table)"), "{text}");
        let text = refusal(&format!("{LEAST}[terms]\nwatchdog_timeout = \"2500ms\"\n"));
        assert!(text.contains("`terms.watchdog_timeout`") && text.contains("whole seconds"), "{text}");
    }
}
