//! A hypervisor in memory, for the unit tests of those who use the trait.
//!
//! It follows libvirt where callers depend on it: events come after the change, a domain that is off keeps the reason
//! of its last end, calls fail while it is away, and events that happen meanwhile are lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasefence_core::ids::DomainId;
use leasefence_core::member::{Protection, StartFailure};

use crate::domain_xml::DomainXml;
use crate::{
    Activity, Definition, Domain, Hypervisor, HypervisorError, HypervisorEvent, StartError, StopDetail,
};

#[derive(Debug)]
struct FakeDomain {
    xml: String,
    activity: Activity,
    protection: Protection,
}

#[derive(Debug, Default)]
struct Inner {
    domains: BTreeMap<DomainId, FakeDomain>,
    away: Option<String>,
    start_results: VecDeque<StartError>,
    autostart: Vec<DomainId>,
    starts: Vec<DomainId>,
    destroyed: Vec<DomainId>,
}

/// Domains in memory.
#[derive(Debug)]
pub struct FakeHypervisor {
    inner: Mutex<Inner>,
    events: Sender<HypervisorEvent>,
}

impl FakeHypervisor {
    /// A hypervisor without domains that answers; its first event, [`HypervisorEvent::Back`], is in the channel.
    #[must_use]
    pub fn new() -> (Arc<Self>, Receiver<HypervisorEvent>) {
        let (events, receiver) = mpsc::channel();
        let this = Arc::new(Self { inner: Mutex::default(), events });
        this.tell(HypervisorEvent::Back);
        (this, receiver)
    }

    /// Defines a domain, running or not, and returns its uuid.
    ///
    /// # Errors
    /// [`crate::XmlError`] when `xml` is not a domain's XML.
    pub fn add(&self, xml: &str, running: bool) -> Result<DomainId, crate::XmlError> {
        let parsed = DomainXml::parse(xml)?;
        let activity = if running {
            Activity::Running { paused: false }
        } else {
            Activity::Off { last: StopDetail::Unknown }
        };
        let domain = FakeDomain { xml: xml.to_owned(), activity, protection: parsed.protection };
        self.lock().domains.insert(parsed.id, domain);
        self.tell(HypervisorEvent::Defined(parsed.id));
        if running {
            self.tell(HypervisorEvent::Started(parsed.id));
        }
        Ok(parsed.id)
    }

    /// A small domain's XML with one disk, for [`FakeHypervisor::add`].
    #[must_use]
    pub fn sample_xml(domain: DomainId, name: &str, disk: &str) -> String {
        format!(
            "<domain type='qemu'><name>{name}</name><uuid>{domain}</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
             <devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{disk}'/>\
             <target dev='hda'/></disk></devices></domain>"
        )
    }

    /// Libvirt goes away, with this reason.
    pub fn go_away(&self, reason: &str) {
        self.lock().away = Some(reason.to_owned());
        self.send(HypervisorEvent::Away(reason.to_owned()));
    }

    /// Libvirt answers again.
    pub fn come_back(&self) {
        self.lock().away = None;
        self.send(HypervisorEvent::Back);
    }

    /// A running domain ends, for this reason.
    pub fn stop(&self, domain: DomainId, detail: StopDetail) {
        if let Some(entry) = self.lock().domains.get_mut(&domain) {
            entry.activity = Activity::Off { last: detail };
        }
        self.tell(HypervisorEvent::Stopped { domain, detail });
    }

    /// A user starts a domain.
    pub fn run(&self, domain: DomainId) {
        if let Some(entry) = self.lock().domains.get_mut(&domain) {
            entry.activity = Activity::Running { paused: false };
        }
        self.tell(HypervisorEvent::Started(domain));
    }

    /// The live XML becomes another, as after a snapshot.
    pub fn change_xml(&self, domain: DomainId, xml: &str) {
        if let Some(entry) = self.lock().domains.get_mut(&domain) {
            xml.clone_into(&mut entry.xml);
        }
        self.tell(HypervisorEvent::DefinitionChanged(domain));
    }

    /// The next start fails like this; several calls make a queue.
    pub fn fail_start(&self, error: StartError) {
        self.lock().start_results.push_back(error);
    }

    /// This domain starts by itself.
    pub fn starts_by_itself(&self, domain: DomainId) {
        self.lock().autostart.push(domain);
    }

    /// All starts asked for so far, failed ones included.
    #[must_use]
    pub fn starts(&self) -> Vec<DomainId> {
        self.lock().starts.clone()
    }

    /// All domains that were destroyed so far.
    #[must_use]
    pub fn destroyed(&self) -> Vec<DomainId> {
        self.lock().destroyed.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answering(&self) -> Result<MutexGuard<'_, Inner>, HypervisorError> {
        let inner = self.lock();
        match &inner.away {
            Some(reason) => Err(HypervisorError::Away(reason.clone())),
            None => Ok(inner),
        }
    }

    fn tell(&self, event: HypervisorEvent) {
        if self.lock().away.is_none() {
            self.send(event);
        }
    }

    fn send(&self, event: HypervisorEvent) {
        // A test that dropped the receiver does not look at events.
        let _nobody_listens = self.events.send(event);
    }
}

fn describe(entry: &FakeDomain) -> Result<Domain, HypervisorError> {
    let parsed = DomainXml::parse(&entry.xml).map_err(|error| malformed(&error))?;
    Ok(Domain { protection: entry.protection, ..parsed.into_domain(entry.activity, true) })
}

fn malformed(error: &crate::XmlError) -> HypervisorError {
    HypervisorError::Malformed { doing: "describing a domain".to_owned(), message: error.to_string() }
}

impl Hypervisor for FakeHypervisor {
    fn domains(&self) -> Result<Vec<Domain>, HypervisorError> {
        self.answering()?.domains.values().map(describe).collect()
    }

    fn domain(&self, domain: DomainId) -> Result<Domain, HypervisorError> {
        let inner = self.answering()?;
        describe(inner.domains.get(&domain).ok_or(HypervisorError::NoSuchDomain(domain))?)
    }

    fn live_xml(&self, domain: DomainId) -> Result<String, HypervisorError> {
        let inner = self.answering()?;
        inner.domains.get(&domain).map(|entry| entry.xml.clone()).ok_or(HypervisorError::NoSuchDomain(domain))
    }

    fn inactive_xml(&self, domain: DomainId) -> Result<String, HypervisorError> {
        self.live_xml(domain)
    }

    fn definition(&self, domain: DomainId) -> Result<Definition, HypervisorError> {
        Definition::from_live(&self.live_xml(domain)?, None).map_err(|error| malformed(&error))
    }

    fn start(&self, domain: DomainId, xml: &str) -> Result<(), StartError> {
        let failed = |message: String| StartError::Failed(StartFailure::Failed(message));
        let parsed = DomainXml::parse(xml).map_err(|error| failed(error.to_string()))?;
        {
            let mut inner = self.answering().map_err(|error| StartError::Unknown(error.to_string()))?;
            inner.starts.push(domain);
            if let Some(error) = inner.start_results.pop_front() {
                return Err(error);
            }
            if parsed.id != domain {
                return Err(failed(format!("the definition is of {}", parsed.id)));
            }
            let activity = Activity::Running { paused: false };
            let entry = FakeDomain { xml: xml.to_owned(), activity, protection: parsed.protection };
            inner.domains.insert(domain, entry);
        }
        self.tell(HypervisorEvent::Started(domain));
        Ok(())
    }

    fn autostart(&self, domain: DomainId) -> Result<bool, HypervisorError> {
        {
            let mut inner = self.answering()?;
            let off = inner.domains.get(&domain).is_some_and(|entry| !entry.activity.is_running());
            if !off || !inner.autostart.contains(&domain) {
                return Ok(false);
            }
            inner.starts.push(domain);
        }
        self.run(domain);
        Ok(true)
    }

    fn destroy(&self, domain: DomainId) -> Result<(), HypervisorError> {
        {
            let mut inner = self.answering()?;
            let entry = inner.domains.get(&domain).ok_or(HypervisorError::NoSuchDomain(domain))?;
            if !entry.activity.is_running() {
                return Ok(());
            }
            inner.destroyed.push(domain);
        }
        self.stop(domain, StopDetail::Destroyed);
        Ok(())
    }

    fn activity(&self, domain: DomainId) -> Result<Activity, HypervisorError> {
        let inner = self.answering()?;
        let entry = inner.domains.get(&domain).ok_or(HypervisorError::NoSuchDomain(domain))?;
        Ok(match entry.activity {
            Activity::Off { last } => Activity::OffNoJob { last },
            other => other,
        })
    }

    fn migrates_away(&self, domain: DomainId) -> Result<bool, HypervisorError> {
        self.activity(domain).map(|_| false)
    }

    fn set_protection(&self, domain: DomainId, protection: Protection) -> Result<(), HypervisorError> {
        {
            let mut inner = self.answering()?;
            let entry = inner.domains.get_mut(&domain).ok_or(HypervisorError::NoSuchDomain(domain))?;
            entry.protection = protection;
        }
        self.tell(HypervisorEvent::MetadataChanged(domain));
        Ok(())
    }

    fn free_memory_mib(&self) -> Result<u32, HypervisorError> {
        self.answering().map(|_| 4096)
    }
}
