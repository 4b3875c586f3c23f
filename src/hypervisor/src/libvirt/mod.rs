//! The trait on real libvirt.
//!
//! A keeper thread owns the connection and makes it anew; each call runs on a thread of its own, so that one which
//! never returns costs its caller no more than a deadline. Nothing here waits for libvirt without a bound.

mod callbacks;
mod calls;
mod event_loop;
mod job;
mod keeper;
mod lost_starts;
mod session;
mod shared;
mod start;
mod words;

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use leasefence_core::ids::DomainId;
use leasefence_core::member::Protection;

use virt::connect::Connect;

use crate::{Activity, Definition, Domain, Hypervisor, HypervisorError, HypervisorEvent, StartError};
use keeper::Keeper;
use shared::Shared;

/// How libvirt is reached and how long it is waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LibvirtConfig {
    /// Libvirt's connection URI.
    pub uri: String,
    /// How often the daemon is pinged (whole seconds): a connection on which it leaves two pings unanswered is given
    /// up, which is three intervals after it hung.
    pub keepalive_interval: Duration,
    /// Longest that a question may take: beyond it the connection is given up. It must hold for a domain that is
    /// locked by its own start, which libvirt does for a second or two.
    pub question_deadline: Duration,
    /// Longest that ending a domain or asking for its jobs may take: libvirt gives itself 40 s for each.
    pub slow_deadline: Duration,
    /// Longest that a start may take.
    pub start_deadline: Duration,
    /// How many calls may be under way or stuck at once; a further one is answered "away" without a try.
    pub most_calls: usize,
}

impl Default for LibvirtConfig {
    fn default() -> Self {
        Self {
            uri: "qemu:///system".to_owned(),
            keepalive_interval: Duration::from_secs(1),
            question_deadline: Duration::from_secs(8),
            slow_deadline: Duration::from_mins(1),
            start_deadline: Duration::from_mins(2),
            most_calls: 24,
        }
    }
}

/// Libvirt's daemon on this host.
#[derive(Debug)]
pub struct Libvirt {
    shared: Arc<Shared>,
    config: LibvirtConfig,
}

impl Libvirt {
    /// Begins to connect, and returns at once: whether and when there is a connection, the channel tells, with
    /// [`HypervisorEvent::Back`] or [`HypervisorEvent::Away`] first. Without a connection every call answers
    /// [`HypervisorError::Away`]. The connection is kept up until the value is dropped.
    ///
    /// # Errors
    /// [`HypervisorError::Refused`] when libvirt's library or the threads that serve it cannot be set up: nothing
    /// that waiting would heal.
    pub fn connect(config: LibvirtConfig) -> Result<(Self, Receiver<HypervisorEvent>), HypervisorError> {
        event_loop::run().map_err(|message| HypervisorError::Refused {
            doing: "setting up libvirt's event loop".to_owned(),
            message,
        })?;
        let (events, receiver) = mpsc::channel();
        let shared = Keeper::spawn(config.clone(), events).map_err(|error| HypervisorError::Refused {
            doing: "making the thread that keeps the connection to libvirt".to_owned(),
            message: error.to_string(),
        })?;
        Ok((Self { shared, config }, receiver))
    }

    fn ask<T: Send + 'static>(
        &self,
        doing: &'static str,
        question: impl FnOnce(&Connect) -> Result<T, HypervisorError> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        self.shared.call(doing, self.config.question_deadline, question)
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Hypervisor for Libvirt {
    fn domains(&self) -> Result<Vec<Domain>, HypervisorError> {
        self.ask("listing the domains", calls::domains)
    }

    fn domain(&self, domain: DomainId) -> Result<Domain, HypervisorError> {
        self.ask("describing a domain", move |connect| calls::domain(connect, domain))
    }

    fn live_xml(&self, domain: DomainId) -> Result<String, HypervisorError> {
        self.ask("reading a domain's live XML", move |connect| calls::live_xml(connect, domain))
    }

    fn inactive_xml(&self, domain: DomainId) -> Result<String, HypervisorError> {
        self.ask("reading a domain's configured XML", move |connect| calls::inactive_xml(connect, domain))
    }

    fn definition(&self, domain: DomainId) -> Result<Definition, HypervisorError> {
        self.ask("reading a domain's definition", move |connect| calls::definition(connect, domain))
    }

    fn start(&self, domain: DomainId, xml: &str) -> Result<(), StartError> {
        let xml = xml.to_owned();
        let ticket = self.shared.ticket().map_err(|error| StartError::Unknown(error.to_string()))?;
        let (session, _age) = ticket.session();
        // Noted before it is sent: the answer may be lost with this thread.
        self.shared.lost_starts.lost(domain, session);
        let result =
            self.shared.call_with(ticket, "starting a domain", self.config.start_deadline, move |connect| {
                Ok(start::start(connect, domain, &xml))
            });
        match result {
            Ok(result) => {
                self.shared.lost_starts.answered(domain, session);
                result
            }
            Err(error) => Err(StartError::Unknown(error.to_string())),
        }
    }

    fn autostart(&self, domain: DomainId) -> Result<bool, HypervisorError> {
        self.shared.call(
            "starting a domain that starts by itself",
            self.config.start_deadline,
            move |connect| calls::autostart(connect, domain),
        )
    }

    fn destroy(&self, domain: DomainId) -> Result<(), HypervisorError> {
        self.shared.call("ending a domain", self.config.slow_deadline, move |connect| {
            calls::destroy(connect, domain)
        })
    }

    fn activity(&self, domain: DomainId) -> Result<Activity, HypervisorError> {
        let ticket = self.shared.ticket()?;
        let asked_over = ticket.session();
        let deadline = self.config.slow_deadline;
        let answer = self.shared.call_with(ticket, "asking for a domain's jobs", deadline, move |connect| {
            calls::activity(connect, domain)
        });
        self.shared.lost_starts.believe(domain, asked_over, answer)
    }

    fn migrates_away(&self, domain: DomainId) -> Result<bool, HypervisorError> {
        self.ask("asking for a domain's job", move |connect| job::migrates_away(connect, domain))
    }

    fn set_protection(&self, domain: DomainId, protection: Protection) -> Result<(), HypervisorError> {
        self.shared.call("writing a domain's metadata", self.config.slow_deadline, move |connect| {
            calls::set_protection(connect, domain, protection)
        })
    }

    fn free_memory_mib(&self) -> Result<u32, HypervisorError> {
        self.ask("asking for free memory", calls::free_memory_mib)
    }
}
