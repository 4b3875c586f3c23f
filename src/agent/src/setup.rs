//! Who this machine is, before anything is written: its identity and its lock, this boot, and what the member is told of
//! the configuration.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use leasefence_config::{Config, HasWatchdog};
use leasefence_core::fencing::AgentHalf;
use leasefence_core::format::WatchdogClass;
use leasefence_core::ids::{HostKey, Nonce};
use leasefence_core::member::MemberConfig;
use leasefence_core::recovery::RecoveryPolicy;
use leasefence_core::terms::Terms;
use leasefence_disk::{IdentityError, IdentityLock, IdentityStore, MachineFacts};

/// Why the agent cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// The identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] leasefence_config::ConfigError),
    /// Something of the machine cannot be read.
    #[error("reading {what}: {source}")]
    Read {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// This machine, this boot and this process.
pub(crate) struct Setup {
    /// Held by the storage thread too, until it has ended: a second agent cannot begin while a write of this one is stuck.
    pub(crate) lock: Arc<IdentityLock>,
    /// This boot.
    pub(crate) facts: MachineFacts,
    /// The host's name in its record.
    pub(crate) host_name: String,
    host_key: HostKey,
    /// What this host promises without a watchdog.
    pub(crate) terms: Terms,
    process_nonce: Nonce,
    seed: u64,
}

impl Setup {
    /// Reads it all, judges the timing, and takes the lock.
    ///
    /// # Errors
    /// [`SetupError`], each with what to do; nothing is written but a missing identity.
    pub(crate) fn new(config: &Config) -> Result<Self, SetupError> {
        let terms = config.terms(None)?;
        let host_name =
            config.host_name().map_err(|source| SetupError::Read { what: "the host's name", source })?;
        let facts = MachineFacts::read()?;
        let IdentityStore { identity, lock, .. } = IdentityStore::open(&config.state_dir, &facts)?;
        Ok(Self {
            lock: Arc::new(lock),
            facts,
            host_name,
            host_key: identity.host_key,
            terms,
            process_nonce: Nonce(random()?),
            seed: random()?,
        })
    }

    /// What the member is told; `reset_on` is whether the fencer resets this host, and `page` is the agent's half as the process before this one left it.
    ///
    /// # Errors
    /// [`leasefence_config::ConfigError::Unsafe`] when this timing cannot be kept with this watchdog.
    pub(crate) fn member(
        &self,
        config: &Config,
        watchdog: Option<HasWatchdog>,
        reset_on: bool,
        page: Option<AgentHalf>,
    ) -> Result<MemberConfig, leasefence_config::ConfigError> {
        let terms = if watchdog.is_some() { config.terms(watchdog)? } else { self.terms };
        Ok(MemberConfig {
            host_key: self.host_key,
            boot_id: self.facts.boot_id,
            process_nonce: self.process_nonce,
            host_name: self.host_name.clone(),
            cluster_name: config.cluster.clone(),
            terms,
            watchdog_class: watchdog.map_or(WatchdogClass::None, |watchdog| watchdog.class).code(),
            reset_on,
            expire_without_hardware: config.expire_without_hardware,
            unknown_hold: config.unknown_hold,
            has_machine_uuid: self.facts.dmi_uuid.is_some(),
            uptime: self.facts.uptime,
            seed: self.seed,
            page,
            recovery: RecoveryPolicy::default(),
        })
    }
}

fn random() -> Result<u64, SetupError> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|source| SetupError::Read { what: "/dev/urandom", source })?;
    Ok(u64::from_le_bytes(bytes))
}
