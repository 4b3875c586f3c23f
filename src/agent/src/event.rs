//! All that reaches the main loop from the agent's threads. None of them ever waits for the loop.

use std::time::Duration;

use leasefence_core::ids::{DomainId, Term};
use leasefence_core::member::{
    DomainReport, LeaseMedium, MigrationNews, StartActivity, StartFailure, StopReason,
};
use leasefence_core::storage::IoDone;
use leasefence_core::time::Instant;
use leasefence_disk::OpenError;
use leasefence_page::Page;
use tokio::sync::mpsc::UnboundedSender;

use crate::domains::DomainStorages;
use crate::hook::Asked;

/// Something happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The storage thread has opened the lease file, or not.
    Opened(Result<LeaseMedium, OpenError>),
    /// The storage thread has done something.
    Io(IoDone),
    /// The fencer handed out a page: the first one, or another than before.
    Page(Page),
    /// The fencer is attached, or why not.
    Link(Result<(), String>),
    /// What libvirt knows here, and for people where the disks lie.
    Domains(Vec<DomainReport>, DomainStorages),
    /// Free memory in MiB.
    Capacity(u32),
    /// Libvirt does not answer.
    LibvirtAway(String),
    /// A domain stopped running.
    Stopped(DomainId, StopReason),
    /// A start barrier was acknowledged, or not.
    Barrier(DomainId, Instant, Result<Duration, String>),
    /// A start ended.
    StartEnded(DomainId, Term, Result<(), StartFailure>),
    /// Domains whose CPUs run, as libvirt lists them.
    CpusRun(Vec<DomainId>),
    /// Libvirt has just let the CPUs of a domain run.
    Resumed(DomainId),
    /// Something happened to a domain that migrates.
    Migration(DomainId, MigrationNews),
    /// Libvirt's hook asks.
    Hook(Asked),
    /// A start whose token was new was not permitted.
    StartRefused(DomainId, Instant),
    /// What libvirt says of a start of which nobody has told the end.
    Activity(DomainId, Instant, StartActivity),
    /// Something that a worker could not do, for people.
    Trouble(&'static str, String),
}

/// The way to the main loop.
pub(crate) type Events = UnboundedSender<Event>;

/// Sends an event. After the loop has ended nobody is interested, and the process is about to end.
pub(crate) fn send(events: &Events, event: Event) {
    drop(events.send(event));
}
