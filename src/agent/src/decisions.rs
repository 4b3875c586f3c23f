//! The last decisions with their reasons, in memory: what `leasefence status` shows and the log may have lost.

use std::collections::VecDeque;

use leasefence_api::Decision;
use leasefence_core::member::{LogLevel, Note};
use leasefence_core::time::Now;
use tracing::{debug, error, info, warn};

use crate::convert;

/// How many are kept.
const KEPT: usize = 200;
/// How often a warning is said that each pass brings anew.
const AGAIN_MS: u64 = 60_000;

/// The ring. What it is told also goes to the log.
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    kept: VecDeque<Decision>,
}

impl Decisions {
    /// Logs a note, and keeps it unless it is one of those that each renewal brings. A warning in the same words is said once a
    /// minute: each pass brings those of a storage that is gone.
    pub(crate) fn note(&mut self, now: &Now, note: &Note) {
        let Note { level, event, text } = note;
        if *level == LogLevel::Warn && self.was_just_said(now, note) {
            return;
        }
        match level {
            LogLevel::Debug => debug!(event, "{text}"),
            LogLevel::Info => info!(event, "{text}"),
            LogLevel::Warn => warn!(event, "{text}"),
            LogLevel::Error => error!(event, "{text}"),
        }
        if *level == LogLevel::Debug {
            return;
        }
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Decision {
            at_unix_ms: now.wall_ns / 1_000_000,
            level: convert::level(*level).to_owned(),
            event: (*event).to_owned(),
            text: text.clone(),
        });
    }

    fn was_just_said(&self, now: &Now, note: &Note) -> bool {
        self.kept.iter().rev().any(|said| {
            let age_ms = (now.wall_ns / 1_000_000).checked_sub(said.at_unix_ms);
            said.event == note.event && said.text == note.text && age_ms.is_some_and(|age| age < AGAIN_MS)
        })
    }

    /// Oldest first.
    pub(crate) fn list(&self) -> Vec<Decision> {
        self.kept.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_that_each_pass_brings_is_said_once_a_minute() {
        let mut decisions = Decisions::default();
        let mut note = |second: u64, level, text: &str| {
            let now = Now { wall_ns: second * 1_000_000_000, ..Now::default() };
            decisions.note(&now, &Note { level, event: "scan-failed", text: text.to_owned() });
            decisions.list().len()
        };
        assert_eq!([0, 1, 59].map(|second| note(second, LogLevel::Warn, "no answer")), [1; 3]);
        assert_eq!(note(60, LogLevel::Warn, "no answer"), 2, "a minute is over");
        assert_eq!(note(61, LogLevel::Warn, "another"), 3, "it is another");
        assert_eq!(note(62, LogLevel::Warn, "no answer"), 3, "said two seconds ago");
        assert_eq!(note(63, LogLevel::Error, "no answer"), 4, "an error is always said");
        assert_eq!(note(64, LogLevel::Error, "no answer"), 5);
    }

    /// A storage that is gone fails the scan of each pass, and the write of one copy and of the other by turns.
    #[test]
    fn warnings_that_take_turns_are_each_said_once_a_minute() {
        let mut decisions = Decisions::default();
        for second in 0..120_u64 {
            let copy = format!("no answer at copy {}", second % 2);
            for (event, text) in [("renewal-unknown", copy), ("scan-failed", "no answer".to_owned())] {
                let now = Now { wall_ns: second * 1_000_000_000, ..Now::default() };
                decisions.note(&now, &Note { level: LogLevel::Warn, event, text });
            }
        }
        assert_eq!(decisions.list().len(), 6, "three warnings in two minutes");
    }
}
