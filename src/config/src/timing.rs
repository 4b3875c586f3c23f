//! The one choice about time: a preset, or a ttl from which the rest follows.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// A set of terms with a name (ARCHITECTURE, timing).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// ttl 8 s: for storage without failover pauses.
    Fast,
    /// ttl 30 s.
    #[default]
    Default,
    /// ttl 120 s: survives the failover of a storage server.
    NasFailover,
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fast => "fast",
            Self::Default => "default",
            Self::NasFailover => "nas-failover",
        })
    }
}

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
