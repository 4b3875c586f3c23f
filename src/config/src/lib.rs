//! The configuration of a host (`/etc/leasefence/leasefence.toml`): its keys, their defaults, and what is refused.
//!
//! Read by the agent and by `leasefence config check`, so that both refuse the same things in the same words. Nothing
//! here opens the lease file, and no key has a silent meaning: unknown keys are errors, and every error names the file,
//! the line, the key, and what is allowed.

mod config;
mod error;
mod keys;
mod locate;
mod timing;

pub use config::Config;
pub use error::ConfigError;
pub use keys::{
    DrillPolicy, Fence, Libvirt, Log, OnUnproven, Protect, Reset, StorageHint, TermOverrides, Watchdog,
};
pub use timing::{HasWatchdog, Timing};

/// Where the configuration is unless the command line says otherwise.
pub const DEFAULT_PATH: &str = "/etc/leasefence/leasefence.toml";
