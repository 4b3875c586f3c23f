//! What goes out: commands in their order, replies, and notes for people. It decides nothing.

use std::collections::VecDeque;

use super::{Command, Decision, LogLevel, Note, Reply, RequestId};
use crate::storage::IoId;
use crate::time::Now;

/// How many decisions `status` shows.
const DECISIONS_KEPT: usize = 200;

/// The outgoing side of a member.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Desk {
    commands: VecDeque<Command>,
    decisions: VecDeque<Decision>,
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

    /// Tells people. All but what is said at each renewal is kept for `status`.
    pub(super) fn note(&mut self, now: &Now, level: LogLevel, event: &'static str, text: impl Into<String>) {
        let text = text.into();
        if level > LogLevel::Debug {
            if self.decisions.len() == DECISIONS_KEPT {
                self.decisions.pop_front();
            }
            self.decisions.push_back(Decision { at_wall_ns: now.wall_ns, level, event, text: text.clone() });
        }
        self.push(Command::Note(Note { level, event, text }));
    }

    pub(super) fn decisions(&self) -> Vec<Decision> {
        self.decisions.iter().cloned().collect()
    }
}
