//! What goes out: commands in their order, replies, and notes for people. It decides nothing.

use std::collections::VecDeque;

use super::{Command, LogLevel, Note, Reply, RequestId};
use crate::storage::IoId;

/// The outgoing side of a member.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Desk {
    commands: VecDeque<Command>,
    ios: u64,
}

impl Desk {
    pub(super) fn push(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    pub(super) fn pop(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    pub(super) fn next_io(&mut self) -> IoId {
        self.ios += 1;
        IoId(self.ios)
    }

    pub(super) fn reply(&mut self, request: RequestId, ok: bool, text: impl Into<String>) {
        self.push(Command::Reply(request, Reply { ok, text: text.into() }));
    }

    /// Answers who asked here; where another host did, there is nobody to answer.
    pub(super) fn reply_if_asked(&mut self, request: Option<RequestId>, ok: bool, text: impl Into<String>) {
        if let Some(request) = request {
            self.reply(request, ok, text);
        }
    }

    /// Tells people.
    pub(super) fn note(&mut self, level: LogLevel, event: &'static str, text: impl Into<String>) {
        self.push(Command::Note(Note { level, event, text: text.into() }));
    }
}
