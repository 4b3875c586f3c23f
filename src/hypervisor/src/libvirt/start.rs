//! Starting a domain from a definition, and finding out for certain that a failed start is over.

use std::time::{Duration, Instant};

use leasefence_core::ids::DomainId;
use leasefence_core::member::StartFailure;
use virt::connect::Connect;
use virt::domain::Domain as Handle;
use virt_sys as sys;

use super::{calls, words};
use crate::domain_xml::DomainXml;
use crate::{Activity, HypervisorError, StartError};

/// How long "shut off, no job" is waited for after a failure.
const SETTLING: Duration = Duration::from_secs(30);
const SETTLING_STEP: Duration = Duration::from_millis(100);

/// Defines and starts, and returns once the domain was seen running.
pub(super) fn start(connect: &Connect, domain: DomainId, xml: &str) -> Result<(), StartError> {
    let tried = check(domain, xml)
        .and_then(|()| not_running(connect, domain))
        .and_then(|()| run(connect, domain, xml));
    match tried {
        Err(StartError::Failed(failure)) => Err(settled(connect, domain, failure)),
        other => other,
    }
}

/// What libvirt could misread: another domain's definition, or text that its C strings would cut.
fn check(domain: DomainId, xml: &str) -> Result<(), StartError> {
    let failed = |why: String| Err(StartError::Failed(StartFailure::Definition(why)));
    match DomainXml::parse(xml) {
        Ok(parsed) if parsed.id != domain => failed(format!("the definition is of domain {}", parsed.id)),
        Ok(_) if xml.contains('\0') => failed("the definition holds a zero byte".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => failed(error.to_string()),
    }
}

/// One that runs already was started by somebody else: neither a success of this start nor a domain that is off.
fn not_running(connect: &Connect, domain: DomainId) -> Result<(), StartError> {
    match calls::find(connect, domain) {
        Err(HypervisorError::NoSuchDomain(_)) => Ok(()),
        Err(error) => Err(StartError::Unknown(error.to_string())),
        Ok(handle) => match calls::state(&handle, domain, "looking before a start") {
            Ok(activity) if activity.is_running() => {
                Err(StartError::Unknown("it runs here already, started by somebody else".to_owned()))
            }
            Ok(_) | Err(HypervisorError::NoSuchDomain(_)) => Ok(()),
            Err(error) => Err(StartError::Unknown(error.to_string())),
        },
    }
}

fn run(connect: &Connect, domain: DomainId, xml: &str) -> Result<(), StartError> {
    let failed = |doing: &str, error: &virt::error::Error| {
        let message = error.message();
        if words::is_image_lock_refusal(message) {
            return StartError::Failed(StartFailure::ImageLocked);
        }
        StartError::Failed(StartFailure::Failed(format!("{doing}: {message}")))
    };
    let handle = Handle::define_xml(connect, xml).map_err(|error| failed("defining it", &error))?;
    // A managed save that lies on this host is of an older run: its memory on today's disk would destroy the disk.
    handle
        .create_with_flags(sys::VIR_DOMAIN_START_FORCE_BOOT)
        .map_err(|error| failed("starting it", &error))?;
    match calls::state(&handle, domain, "looking after a start") {
        Ok(Activity::Running { .. }) => Ok(()),
        Ok(Activity::Off { last } | Activity::OffNoJob { last }) => {
            let message = format!("it ended as soon as it was started: {}", last.as_str());
            Err(StartError::Failed(StartFailure::Failed(message)))
        }
        Err(error) => Err(StartError::Unknown(error.to_string())),
    }
}

/// A failure may be told as one only after libvirt answered "shut off, no job".
fn settled(connect: &Connect, domain: DomainId, failure: StartFailure) -> StartError {
    let begun = Instant::now();
    loop {
        let last_answer = match calls::activity(connect, domain) {
            Ok(Activity::OffNoJob { .. }) | Err(HypervisorError::NoSuchDomain(_)) => {
                return StartError::Failed(failure);
            }
            Ok(activity) => format!("{activity:?}"),
            Err(error) => error.to_string(),
        };
        if begun.elapsed() > SETTLING {
            return StartError::Unknown(format!(
                "after a failed start ({failure:?}) libvirt says: {last_answer}"
            ));
        }
        std::thread::sleep(SETTLING_STEP);
    }
}
