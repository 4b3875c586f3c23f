//! Timing from one word or one number: the presets, and the rule that derives all of a host's terms from its ttl.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::terms::Terms;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The named choices of timing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Preset {
    /// Takeover in 11.5 s; storage must never stall for longer than 7.5 s.
    Fast,
    /// Takeover in 36.5 s; survives a stall of 29 s.
    #[default]
    Default,
    /// Takeover in 129.6 s; survives the failover of a storage server that takes up to 119 s.
    NasFailover,
}

impl Preset {
    /// All of them, for tables.
    pub const ALL: [Self; 3] = [Self::Fast, Self::Default, Self::NasFailover];

    /// Its word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Default => "default",
            Self::NasFailover => "nas-failover",
        }
    }

    /// The one number that the rest follows from.
    #[must_use]
    pub fn lease_ttl(self) -> Duration {
        match self {
            Self::Fast => ms(8_000),
            Self::Default => ms(30_000),
            Self::NasFailover => ms(120_000),
        }
    }

    /// All that follows from it.
    #[must_use]
    pub fn timing(self) -> Timing {
        Timing::derive(self.lease_ttl())
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|preset| preset.as_str() == text).ok_or_else(|| {
            format!("no preset {text:?}: there are `fast`, `default` and `nas-failover` (or set `lease_ttl`)")
        })
    }
}

/// The terms, and what the watchdog's device is to be set to (the terms carry what it then says that it has).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Timing {
    /// The terms, without a watchdog (`watchdog_actual` zero).
    pub terms: Terms,
    /// What the watchdog device is set to, where there is one.
    pub watchdog_timeout: Duration,
}

impl Timing {
    /// All timing from `lease_ttl`. One rule gives the three presets and everything between:
    ///
    /// - intervals of renewal and scan: a sixteenth of the ttl, at least 0.5 s and at most 1 s;
    /// - `write_drain`: a fifteenth of the ttl, at least 1 s and at most 5 s;
    /// - `fence_budget` 3.5 s with a watchdog of 5 s; below a ttl of 10 s, 2 s with a watchdog of 3 s;
    /// - drift 500 ppm.
    ///
    /// Rounded down to whole milliseconds. Values that cannot work are refused by [`Setting::check`](crate::terms::Setting::check).
    #[must_use]
    pub fn derive(lease_ttl: Duration) -> Self {
        let whole_ms = |duration: Duration| ms(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        let interval = whole_ms((lease_ttl / 16).clamp(ms(500), ms(1_000)));
        let short = lease_ttl < ms(10_000);
        Self {
            terms: Terms {
                lease_ttl: whole_ms(lease_ttl),
                fence_budget: if short { ms(2_000) } else { ms(3_500) },
                write_drain: whole_ms((lease_ttl / 15).clamp(ms(1_000), ms(5_000))),
                renewal_interval: interval,
                scan_interval: interval,
                drift_ppm: 500,
                watchdog_actual: Duration::ZERO,
            },
            watchdog_timeout: if short { ms(3_000) } else { ms(5_000) },
        }
    }

    /// The terms with a watchdog: its device was set to `timeout` (as its driver returned it), and counts in steps of
    /// `granule`. Rounded up to the 10 ms that the record can say.
    #[must_use]
    pub fn terms_with_watchdog(&self, timeout: Duration, granule: Duration) -> Terms {
        let tens = (timeout + granule).as_nanos().div_ceil(10_000_000);
        let watchdog_actual = ms(u64::try_from(tens).unwrap_or(u64::MAX).saturating_mul(10));
        Terms { watchdog_actual, ..self.terms }
    }
}
