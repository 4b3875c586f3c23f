//! The one choice about time: a preset, or a ttl from which the rest follows; and what is judged by it.

use std::fmt;
use std::time::Duration;

use leasefence_core::fencing::StorageKind;
use leasefence_core::format::WatchdogClass;
use leasefence_core::terms::{self, Preset, Setting, Terms, WATCHDOG_GRANULE};
use serde::{Deserialize, Deserializer};

use crate::keys::{Reset, StorageHint};
use crate::{Config, ConfigError};

/// What the configuration says about time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Timing {
    /// A preset.
    Preset(Preset),
    /// A lease ttl: everything else is derived from it.
    LeaseTtl(Duration),
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preset(preset) => write!(f, "preset {preset}"),
            Self::LeaseTtl(ttl) => write!(f, "lease_ttl {}", humantime::format_duration(*ttl)),
        }
    }
}

pub(crate) fn preset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Preset>, D::Error> {
    let word = String::deserialize(deserializer)?;
    word.parse().map(Some).map_err(serde::de::Error::custom)
}

/// A watchdog that a host has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HasWatchdog {
    /// What it proves to peers; not `none`.
    pub class: WatchdogClass,
    /// How long after a pet it may reset the host at the earliest, but for the steps in which it counts.
    pub earliest: Duration,
    /// How long it holds at most.
    pub latest: Duration,
}

impl HasWatchdog {
    /// One that resets the host when its time-out is over.
    #[must_use]
    pub fn exact(class: WatchdogClass, timeout: Duration) -> Self {
        Self { class, earliest: timeout, latest: timeout }
    }

    /// By how much it may be earlier than what is counted on: a TCO timer resets when it has run out once, or twice.
    fn spread(&self) -> Duration {
        self.latest.saturating_sub(self.earliest)
    }
}

impl Config {
    /// What it says about time; the preset `default` when it says nothing.
    #[must_use]
    pub fn timing(&self) -> Timing {
        match self.lease_ttl {
            Some(ttl) => Timing::LeaseTtl(ttl),
            None => Timing::Preset(self.preset.unwrap_or_default()),
        }
    }

    /// What the watchdog's device is set to, where there is one: whole seconds.
    #[must_use]
    pub fn watchdog_timeout(&self) -> Duration {
        self.overrides.watchdog_timeout.unwrap_or(self.base_timing().watchdog_timeout)
    }

    /// The terms and all that they are judged by, refused or not: for `leasefence config check`, which prints every bound.
    /// `storage` is the kind that takes longest to show quiet of those that are known; the configured hint wins.
    #[must_use]
    pub fn setting(&self, storage: Option<StorageKind>, watchdog: Option<HasWatchdog>) -> Setting {
        let without =
            terms::Timing { terms: self.derived_terms(), watchdog_timeout: self.watchdog_timeout() };
        let (mut terms, class) = match &watchdog {
            Some(has) => (without.terms_with_watchdog(has.latest, WATCHDOG_GRANULE), has.class),
            None => (without.terms, WatchdogClass::None),
        };
        // It is petted by the latest reset and must not come before the host has shown itself fenced by the earliest.
        let spread = watchdog.as_ref().map(HasWatchdog::spread).unwrap_or_default();
        if self.overrides.fence_budget.is_none() {
            terms.fence_budget += spread;
        }
        let mut setting = Setting::assumed(terms, class, self.storage_kind(storage));
        setting.granule += spread;
        setting.reset_on = self.fence.reset == Reset::On;
        setting.unknown_hold = self.unknown_hold;
        setting
    }

    /// The terms that this host promises, with the watchdog that it has.
    ///
    /// # Errors
    /// [`ConfigError::Unsafe`] with every bound that does not hold.
    pub fn terms(&self, watchdog: Option<HasWatchdog>) -> Result<Terms, ConfigError> {
        let setting = self.setting(None, watchdog);
        let refusals: Vec<String> = setting.check().iter().map(ToString::to_string).collect();
        if refusals.is_empty() {
            Ok(setting.terms)
        } else {
            Err(ConfigError::Unsafe { path: self.path().to_owned(), refusals })
        }
    }

    fn base_timing(&self) -> terms::Timing {
        match self.timing() {
            Timing::Preset(preset) => preset.timing(),
            Timing::LeaseTtl(ttl) => terms::Timing::derive(ttl),
        }
    }

    fn derived_terms(&self) -> Terms {
        let base = self.base_timing().terms;
        let given = &self.overrides;
        Terms {
            fence_budget: given.fence_budget.unwrap_or(base.fence_budget),
            write_drain: given.write_drain.unwrap_or(base.write_drain),
            renewal_interval: given.renewal_interval.unwrap_or(base.renewal_interval),
            scan_interval: given.scan_interval.unwrap_or(base.scan_interval),
            drift_ppm: given.clock_drift_ppm.unwrap_or(base.drift_ppm),
            ..base
        }
    }

    fn storage_kind(&self, found: Option<StorageKind>) -> StorageKind {
        match self.storage {
            StorageHint::Nfs => StorageKind::Nfs,
            StorageHint::Iscsi => StorageKind::Iscsi,
            StorageHint::OneKernel => StorageKind::OneKernel,
            StorageHint::Auto => found.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(rest: &str) -> Config {
        let text = format!("cluster = \"lab\"\nlease = \"/lease\"\n{rest}");
        Config::parse(&text, Path::new("leasefence.toml")).expect("it is well formed")
    }

    #[test]
    fn every_preset_is_accepted_and_one_number_gives_all_the_others() {
        for preset in Preset::ALL {
            let terms = parse(&format!("preset = \"{preset}\"")).terms(None).expect("presets are safe");
            assert_eq!(terms.lease_ttl, preset.lease_ttl());
        }
        let terms = parse("lease_ttl = \"12 s\"").terms(None).expect("it is safe");
        assert_eq!(terms.verdict_after(), Duration::from_millis(16_517));
    }

    #[test]
    fn an_override_changes_its_term_and_no_other() {
        let terms =
            parse("preset = \"fast\"\n[terms]\nwrite_drain = \"3s\"").terms(None).expect("it is safe");
        assert_eq!(terms, Terms { write_drain: Duration::from_secs(3), ..Preset::Fast.timing().terms });
    }

    #[test]
    fn a_watchdogs_time_is_part_of_the_terms_and_fast_is_refused_with_one() {
        let watchdog = HasWatchdog::exact(WatchdogClass::Hardware, Duration::from_secs(5));
        let config = parse("lease_ttl = \"12 s\"");
        assert_eq!(config.watchdog_timeout(), watchdog.latest);
        let terms = config.terms(Some(watchdog)).expect("it is safe");
        assert_eq!(terms.watchdog_actual, Duration::from_secs(6));
        assert_eq!(parse("[terms]\nwatchdog_timeout = \"10s\"").watchdog_timeout(), Duration::from_secs(10));
        let fast = parse("preset = \"fast\"");
        let watchdog = HasWatchdog::exact(watchdog.class, fast.watchdog_timeout());
        let text = fast.terms(Some(watchdog)).expect_err("steps of a second").to_string();
        assert!(text.contains("granule <= fence_budget is broken"), "{text}");
    }

    /// A TCO timer that the firmware lets reset at its first running out would do so before the lease's end.
    #[test]
    fn a_watchdog_that_may_be_early_gets_a_longer_budget_or_is_refused() {
        let seconds = Duration::from_secs;
        let early = HasWatchdog { class: WatchdogClass::Soft, earliest: seconds(5), latest: seconds(10) };
        let terms = parse("").terms(Some(early)).expect("its budget is longer");
        assert_eq!((terms.watchdog_actual, terms.fence_budget), (seconds(11), Duration::from_millis(8_500)));
        // What is petted last is petted by the latest reset; the earliest one after that comes after kill and quiesce.
        let last_pet = terms.lease_ttl + terms.fence_budget - terms.watchdog_actual - terms::RESET_LATENCY;
        let shown = terms::kill_bound() + terms::quiesce_bound(StorageKind::Unprovable);
        assert!(last_pet - terms::PET_INTERVAL + early.earliest >= terms.lease_ttl + shown);
        for rest in ["preset = \"fast\"", "[terms]\nfence_budget = \"3500ms\""] {
            let text = parse(rest).terms(Some(early)).expect_err("no room").to_string();
            assert!(text.contains("granule <= fence_budget is broken"), "{text}");
        }
    }

    #[test]
    fn unsafe_timing_is_refused_with_the_bound_that_does_not_hold() {
        let error =
            parse("lease_ttl = \"8s\"\n[terms]\nrenewal_interval = \"3s\"").terms(None).expect_err("unsafe");
        let text = error.to_string();
        assert!(text.contains("lease_ttl >= 4 x renewal_interval is broken"), "{text}");
    }
}
