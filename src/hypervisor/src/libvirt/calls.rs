//! The questions and orders themselves, as calls of libvirt that may block: each is run under a deadline by the caller.

use leasefence_core::ids::DomainId;
use leasefence_core::member::Protection;
use virt::connect::Connect;
use virt::domain::Domain as Handle;
use virt::error::{Error, ErrorNumber};
use virt_sys as sys;

use super::words;
use crate::domain_xml::DomainXml;
use crate::guard::{GUARD_NAMESPACE, GUARD_PREFIX, guard_element};
use crate::{
    Activity, ChainLink, Definition, Disk, DiskSource, Domain, HypervisorError, StopDetail, XmlError,
};

pub(super) fn domains(connect: &Connect) -> Result<Vec<Domain>, HypervisorError> {
    let doing = "listing the domains";
    let handles = connect.list_all_domains(0).map_err(|error| refused(doing, &error))?;
    let described = handles.iter().map(|handle| describe(handle, doing));
    // A domain that was undefined since the list was made is no error.
    described.filter(|domain| !matches!(domain, Err(HypervisorError::NoSuchDomain(_)))).collect()
}

pub(super) fn domain(connect: &Connect, domain: DomainId) -> Result<Domain, HypervisorError> {
    describe(&find(connect, domain)?, "describing a domain")
}

pub(super) fn live_xml(connect: &Connect, domain: DomainId) -> Result<String, HypervisorError> {
    xml(&find(connect, domain)?, sys::VIR_DOMAIN_XML_SECURE, "reading a domain's live XML")
}

pub(super) fn inactive_xml(connect: &Connect, domain: DomainId) -> Result<String, HypervisorError> {
    let flags = sys::VIR_DOMAIN_XML_SECURE | sys::VIR_DOMAIN_XML_INACTIVE;
    xml(&find(connect, domain)?, flags, "reading a domain's configured XML")
}

pub(super) fn definition(connect: &Connect, domain: DomainId) -> Result<Definition, HypervisorError> {
    let doing = "reading a domain's definition";
    let handle = find(connect, domain)?;
    // "Migratable" leaves out what only this version of libvirt would understand.
    let live = xml(&handle, sys::VIR_DOMAIN_XML_SECURE | sys::VIR_DOMAIN_XML_MIGRATABLE, doing)?;
    let persistent = handle.is_persistent().map_err(|error| about(domain, doing, &error))?;
    let flags = sys::VIR_DOMAIN_XML_SECURE | sys::VIR_DOMAIN_XML_INACTIVE;
    let inactive = if persistent { Some(xml(&handle, flags, doing)?) } else { None };
    Definition::from_live(&live, inactive.as_deref()).map_err(|error| malformed(doing, &error))
}

pub(super) fn autostart(connect: &Connect, domain: DomainId) -> Result<bool, HypervisorError> {
    let doing = "starting a domain that starts by itself";
    let handle = match find(connect, domain) {
        Err(HypervisorError::NoSuchDomain(_)) => return Ok(false),
        found => found?,
    };
    let told = |error: &Error| about(domain, doing, error);
    let active = handle.is_active().map_err(|error| told(&error))?;
    if active || !handle.get_autostart().map_err(|error| told(&error))? {
        return Ok(false);
    }
    handle.create().map(|_| true).map_err(|error| told(&error))
}

pub(super) fn destroy(connect: &Connect, domain: DomainId) -> Result<(), HypervisorError> {
    match find(connect, domain)?.destroy() {
        // It was off already.
        Err(error) if error.code() == ErrorNumber::OperationInvalid => Ok(()),
        other => other.map_err(|error| about(domain, "ending a domain", &error)),
    }
}

/// The jobs are asked for first: libvirt grants the question once no other job is under way, so a domain that is off
/// after it did not come up through a start that began before it.
pub(super) fn activity(connect: &Connect, domain: DomainId) -> Result<Activity, HypervisorError> {
    let handle = find(connect, domain)?;
    let no_job = match handle.get_job_info() {
        Ok(job) => u32::try_from(job.r#type) == Ok(sys::VIR_DOMAIN_JOB_NONE),
        // "Domain is not running", said after the question was granted.
        Err(error) if error.code() == ErrorNumber::OperationInvalid => true,
        Err(error) if error.code() == ErrorNumber::NoDomain => {
            return Err(HypervisorError::NoSuchDomain(domain));
        }
        Err(error) => {
            tracing::debug!("jobs of {domain}: {}", error.message());
            false
        }
    };
    match state(&handle, domain, "asking for a domain's state")? {
        Activity::Off { last } if no_job => Ok(Activity::OffNoJob { last }),
        other => Ok(other),
    }
}

pub(super) fn set_protection(
    connect: &Connect,
    domain: DomainId,
    protection: Protection,
) -> Result<(), HypervisorError> {
    let doing = "writing a domain's metadata";
    let handle = find(connect, domain)?;
    let told = |error: &Error| about(domain, doing, error);
    let mut flags = sys::VIR_DOMAIN_AFFECT_CURRENT;
    if handle.is_active().map_err(|error| told(&error))? {
        flags |= sys::VIR_DOMAIN_AFFECT_LIVE;
    }
    if handle.is_persistent().map_err(|error| told(&error))? {
        flags |= sys::VIR_DOMAIN_AFFECT_CONFIG;
    }
    let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or(i32::MAX);
    let element = guard_element(protection);
    handle
        .set_metadata(kind, Some(&element), Some(GUARD_PREFIX), Some(GUARD_NAMESPACE), flags)
        .map(drop)
        .map_err(|error| told(&error))
}

/// The kernel's own estimate of what new processes can have without swapping: libvirt's figure leaves out the page
/// cache, which makes way. Libvirt is asked all the same: memory of a host whose libvirt is away is of no use.
pub(super) fn free_memory_mib(connect: &Connect) -> Result<u32, HypervisorError> {
    let doing = "asking for free memory";
    let free_bytes = connect.get_free_memory().map_err(|error| refused(doing, &error))?;
    let available = std::fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(available_kib);
    let mib = available.map_or(free_bytes >> 20, |kib| kib >> 10);
    Ok(u32::try_from(mib).unwrap_or(u32::MAX))
}

fn available_kib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

pub(super) fn find(connect: &Connect, domain: DomainId) -> Result<Handle, HypervisorError> {
    Handle::lookup_by_uuid_string(connect, &domain.to_string())
        .map_err(|error| about(domain, "looking up a domain", &error))
}

/// Whether it runs, without a look at its jobs.
pub(super) fn state(handle: &Handle, domain: DomainId, doing: &str) -> Result<Activity, HypervisorError> {
    let (state, reason) = handle.get_state().map_err(|error| about(domain, doing, &error))?;
    match state {
        sys::VIR_DOMAIN_SHUTOFF => Ok(Activity::Off { last: words::shutoff_reason(reason) }),
        // "Crashed" may mean a process that is kept for a look at it, "no state" one that begins or ends.
        sys::VIR_DOMAIN_CRASHED | sys::VIR_DOMAIN_NOSTATE => {
            let active = handle.is_active().map_err(|error| about(domain, doing, &error))?;
            let last =
                if state == sys::VIR_DOMAIN_CRASHED { StopDetail::Crashed } else { StopDetail::Unknown };
            Ok(if active { Activity::Running { paused: true } } else { Activity::Off { last } })
        }
        sys::VIR_DOMAIN_PAUSED | sys::VIR_DOMAIN_PMSUSPENDED => Ok(Activity::Running { paused: true }),
        // A state that this version does not know counts as running.
        _ => Ok(Activity::Running { paused: false }),
    }
}

fn describe(handle: &Handle, doing: &str) -> Result<Domain, HypervisorError> {
    let uuid = handle.get_uuid().map_err(|error| refused(doing, &error))?;
    let id = DomainId(*uuid.as_bytes());
    let activity = state(handle, id, doing)?;
    let persistent = handle.is_persistent().map_err(|error| about(id, doing, &error))?;
    let text = xml(handle, 0, doing)?;
    match DomainXml::parse(&text) {
        Ok(parsed) => Ok(parsed.into_domain(activity, persistent)),
        Err(error) => {
            unreadable(handle, id, activity, persistent, &error).map_err(|error| about(id, doing, &error))
        }
    }
}

/// A domain that runs is reported whatever its XML says: it must not go unguarded.
fn unreadable(
    handle: &Handle,
    id: DomainId,
    activity: Activity,
    persistent: bool,
    error: &XmlError,
) -> Result<Domain, Error> {
    Ok(Domain {
        id,
        name: handle.get_name()?,
        activity,
        persistent,
        protection: Protection::default(),
        vcpus: 0,
        memory_mib: 0,
        disks: vec![unknown_disk()],
        warnings: vec![error.to_string()],
    })
}

/// What it writes to nobody knows: that is said to be unprovable, not left out.
fn unknown_disk() -> Disk {
    let source = DiskSource::Other("the domain's XML cannot be read".to_owned());
    Disk {
        target: "unknown".to_owned(),
        readonly: false,
        shareable: true,
        chain: vec![ChainLink { source, format: None }],
    }
}

fn xml(handle: &Handle, flags: u32, doing: &str) -> Result<String, HypervisorError> {
    let text = handle.get_xml_desc(flags);
    text.map_err(|error| {
        let id = handle.get_uuid().map(|uuid| DomainId(*uuid.as_bytes())).unwrap_or_default();
        about(id, doing, &error)
    })
}

pub(super) fn about(domain: DomainId, doing: &str, error: &Error) -> HypervisorError {
    match error.code() {
        ErrorNumber::NoDomain => HypervisorError::NoSuchDomain(domain),
        _ => refused(&format!("{doing} ({domain})"), error),
    }
}

pub(super) fn refused(doing: &str, error: &Error) -> HypervisorError {
    HypervisorError::Refused { doing: doing.to_owned(), message: error.message().to_owned() }
}

fn malformed(doing: &str, error: &XmlError) -> HypervisorError {
    HypervisorError::Malformed { doing: doing.to_owned(), message: error.to_string() }
}
