//! The transport under the lease: judged at the start, and a stuck NFS connection made anew.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use leasefence_config::Config;
use leasefence_core::terms::Terms;
use leasefence_transport::{Activity, Keeper, Transport};
use tracing::{info, warn};

use crate::event::{Event, Events, send};

/// Why the agent does not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// A write may be applied twice there (ARCHITECTURE 9: the assumptions).
    #[error(
        "the lease {lease} lies on NFS {}.{} ({source_name}), whose server may apply a write twice: mount it with vers=4.1, or \
         set accept_old_nfs = true to accept that risk", version.0, version.1
    )]
    OldNfs {
        /// The lease's path.
        lease: String,
        /// `server:/export`.
        source_name: String,
        /// Of the protocol.
        version: (u8, u8),
    },
    /// The mounts could not be read, or no thread be made.
    #[error("looking at the transport under the lease: {0}")]
    Io(#[from] io::Error),
}

/// The lease's transport.
pub(crate) struct Connection {
    activity: Arc<Activity>,
    /// What in its settings makes a link cut cost more than itself: for `status`.
    pub(crate) advice: Vec<String>,
}

impl Connection {
    /// Judges the transport, and starts to keep its connection where that is safe.
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub(crate) fn start(config: &Config, terms: &Terms, events: &Events) -> Result<Self, ConnectionError> {
        let transport = Transport::of(&config.lease)?;
        let advice = transport.advice(terms.lease_ttl);
        advice.iter().for_each(|advice| warn!("{advice}"));
        let activity = Arc::new(Activity::default());
        activity.set(true);
        if let Transport::Nfs(mount) = &transport {
            if !mount.applies_once() && !config.accept_old_nfs {
                return Err(ConnectionError::OldNfs {
                    lease: config.lease.display().to_string(),
                    source_name: mount.source.clone(),
                    version: mount.version,
                });
            }
            if let Some(server) = mount.keepable() {
                let events = events.clone();
                Keeper::start(server, patience(terms), terms.lease_ttl, &activity, move |text| {
                    send(&events, Event::Trouble("connection", text));
                })?;
                info!("the connection to NFS server {server} is made anew when it is stuck");
            }
        }
        Ok(Self { activity, advice })
    }

    /// Something was submitted to an idle storage, or has ended: whether anything is under way.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.activity.set(busy);
    }
}

/// Two renewals that should have been there.
fn patience(terms: &Terms) -> Duration {
    terms.renewal_interval.saturating_mul(2)
}
