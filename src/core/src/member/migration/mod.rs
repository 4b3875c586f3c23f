//! Live migrations that this host takes part in (PROTOCOL 4): as the destination in `arrivals`, as the source in `departures`, and
//! as a source that libvirt has resumed in `returns`; what is remembered of them is in `migrations`. Here is what they need of the driver,
//! and what the driver tells of them.

mod arrival;
mod arrivals;
mod departures;
mod migrations;
mod returns;

use crate::fencing::DomainProcess;
use crate::lease::Destination;
pub(super) use migrations::{Migrations, Return, Told};
pub(super) use returns::STANDS_STILL;

/// One thing to do for a domain that migrates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MigrationStep {
    /// Read the command line of this process, on a thread: whether it waits for a migration (`-incoming`). Answer
    /// [`MigrationNews::Process`].
    LookAt(DomainProcess),
    /// Ask libvirt, on a thread, whether it migrates the domain away just now. Answer [`MigrationNews::Job`], with this mark.
    AskJob {
        /// Which destination was seen before it is asked; none where one could not be read.
        beside: Option<Destination>,
    },
    /// Stop every process of the domain (SIGSTOP by pidfd): it may run on another host. Asked for again and again: the fencer's
    /// half may have shown none of them.
    Halt,
    /// Let those go on that are stopped (SIGCONT, where their state is T). Asked for twice, as for [`Halt`](Self::Halt), and of
    /// domains that never were stopped too: the agent before this one may have stopped them.
    GoOn,
}

/// What happened to a domain that migrates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MigrationNews {
    /// Libvirt has stopped its CPUs here, in order to migrate it away.
    Suspended,
    /// Whether a process of it waits, or has waited, for a migration; none while that cannot be read, or it has not become QEMU yet.
    Process {
        /// Which.
        process: DomainProcess,
        /// What its command line says.
        incoming: Option<bool>,
    },
    /// What libvirt says of its job.
    Job {
        /// The mark of the question.
        beside: Option<Destination>,
        /// Whether libvirt migrates it away; none when libvirt does not say.
        migrates: Option<bool>,
    },
}
