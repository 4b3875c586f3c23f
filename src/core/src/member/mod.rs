//! The whole of a host's part in the protocol: one state machine that the agent (and the simulator) drives.
//!
//! `handle(now, input)` takes what happened, `poll_command()` hands out what to do, `wake_at()` says when to come back.
//! It composes slot, renewal, watch, lease and recovery, and owns the order in which they may use the storage thread.

mod command;
mod input;

pub use command::{Command, LogLevel, Note, Reply};
pub use input::{
    DomainReport, Input, LeaseMedium, MemberConfig, Protection, Request, RequestId, StartFailure, StopReason,
};
