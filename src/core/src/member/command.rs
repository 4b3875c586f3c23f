//! What a member asks its driver to do.

use crate::fencing::AgentHalf;
use crate::ids::{DomainId, Term};
use crate::member::{MigrationStep, RequestId};
use crate::storage::IoRequest;
use crate::time::Instant;

/// How loud a note is (CONTRIBUTING: error = somebody must act, warn = a margin got thin, info = state changes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LogLevel {
    /// Each renewal.
    Debug,
    /// A state changed.
    Info,
    /// A margin got thin.
    Warn,
    /// Somebody must act.
    Error,
}

/// A sentence for people: decisions carry their reasons.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Note {
    /// How loud.
    pub level: LogLevel,
    /// A stable word for the kind of event (`lease-end`, `verdict`, `recovery`, …), for timelines and metrics.
    pub event: &'static str,
    /// The sentence.
    pub text: String,
}

/// The end of a request. The text says what happened, or what to do.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reply {
    /// Whether it was done.
    pub ok: bool,
    /// In words.
    pub text: String,
}

/// All that a member asks for. Commands are executed in the order in which they are polled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Hand this to the storage thread. Never more than one outstanding.
    Io(IoRequest),
    /// Write this into the agent's half of the page, before any later command is executed (R11, R12). Just before, close or
    /// open the [`StartGate`](super::StartGate) by it; after it, tell [`Sight::wrote`](super::Sight::wrote).
    Page(Box<AgentHalf>),
    /// Write and sync a barrier on every storage of the domain's disks (ARCHITECTURE 6, 7), begun after this command; answer
    /// `Input::Barrier`, however long it takes. [`Barriers`](super::Barriers) says when.
    Barrier {
        /// Which domain.
        domain: DomainId,
        /// Its mark, echoed in the answer.
        asked: Instant,
        /// Hash of the disk chain in the lease entry: the stored definition of this chain names the disks.
        definition_hash: u64,
    },
    /// Start the domain from its stored definition, whose disk chain must hash to this; answer `Input::StartEnded`. Only if
    /// [`Sight::permits_start`](super::Sight::permits_start), by the steps of [`Starting`](super::Starting); else it is
    /// [`Starting::refused`](super::Starting::refused).
    Start {
        /// Which domain.
        domain: DomainId,
        /// Under which term: its own entry is acknowledged.
        term: Term,
        /// Hash of the disk chain in the lease entry.
        definition_hash: u64,
    },
    /// Answer libvirt's hook, whose start has its token in the page since the command before: yes only if
    /// [`Sight::permits_start`](super::Sight::permits_start), by a read after that write, and the hook still waits. Else refuse, and if
    /// the token is new say so by `Input::StartRefused`.
    PermitStart {
        /// The hook's question.
        id: RequestId,
        /// Which domain.
        domain: DomainId,
        /// The mark of the permission, when it was asked for.
        opened: Instant,
        /// True when nothing was permitted under that token before.
        token_is_new: bool,
    },
    /// Ask libvirt whether the start of this domain is over, on a thread; answer `Input::Activity`.
    AskActivity {
        /// Which domain.
        domain: DomainId,
        /// The mark that goes back in the answer.
        opened: Instant,
    },
    /// Kill every process of this domain at once, by pidfd: it runs without a lease that it can win (PROTOCOL 6). Which
    /// [`Sight::to_kill`](super::Sight::to_kill) says, and [`destroy_needs_libvirt`](super::destroy_needs_libvirt) what else.
    Destroy {
        /// Which domain.
        domain: DomainId,
        /// Why, for the log.
        reason: String,
    },
    /// A step of a live migration.
    Migration {
        /// Which domain.
        domain: DomainId,
        /// What to do.
        step: MigrationStep,
    },
    /// Store the live definition again under this version, before an entry that names it is written.
    StoreDefinition {
        /// Which domain.
        domain: DomainId,
    },
    /// Kill all domains here and now: the second line where the watchdog's class is `none` and the fencer is silent. As for
    /// one domain; through libvirt all that are [`guarded`](super::guarded).
    KillAll,
    /// Answer a request.
    Reply(RequestId, Reply),
    /// Tell people.
    Note(Note),
    /// This host can no longer take part and why; the process must end with an error (a clone, a foreign record, …).
    /// The fencer goes on.
    Fatal(String),
}
