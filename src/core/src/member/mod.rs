//! The whole of a host's part in the protocol: one state machine that the agent (and the simulator) drives.
//!
//! `handle(now, input)` takes what happened, `poll_command(now)` hands out what to do, `wake_at()` says when to come
//! back. It composes slot, renewal, watch, lease and recovery, and owns the order in which they may use the storage
//! thread.

mod command;
mod input;
mod status;

pub use command::{Command, LogLevel, Note, Reply};
pub use input::{
    DomainReport, Input, LeaseMedium, MemberConfig, Protection, Request, RequestId, StartFailure, StopReason,
};
pub use status::{
    ClusterStatus, Decision, DomainStatus, HostStatus, MemberStatus, OwnStatus, RecoveryStatus,
};

use crate::time::{Instant, Now};

/// A host's part in the protocol.
#[derive(Clone, Debug)]
pub struct Member {
    config: MemberConfig,
    commands: std::collections::VecDeque<Command>,
}

impl Member {
    /// A member that waits for [`Input::Opened`].
    #[must_use]
    pub fn new(config: MemberConfig) -> Self {
        Self { config, commands: std::collections::VecDeque::new() }
    }

    /// Takes what happened. Poll for commands afterwards, until there is none.
    #[expect(clippy::needless_pass_by_value, reason = "inputs are consumed once composed")]
    pub fn handle(&mut self, _now: &Now, _input: Input) {}

    /// The next command; execute each before polling for the next.
    pub fn poll_command(&mut self, _now: &Now) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to send [`Input::Tick`], if nothing else happens before; none while only an input can change anything.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        None
    }

    /// Why an incarnation is gone, and since when this host could say so; none: it is not known to be gone. Also for
    /// earlier lives of a slot: a verdict is about the life that was there when it was asked for (PROTOCOL 3).
    #[must_use]
    pub fn evidence(&self, _incarnation: crate::ids::Incarnation) -> Option<(crate::evidence::Evidence, Now)> {
        None
    }

    /// All that it knows, for people.
    #[must_use]
    pub fn status(&self, _now: &Now) -> MemberStatus {
        MemberStatus {
            own: OwnStatus { terms: self.config.terms, ..OwnStatus::default() },
            ..MemberStatus::default()
        }
    }
}
