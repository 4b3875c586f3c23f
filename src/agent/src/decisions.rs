//! The last decisions with their reasons, in memory: what `leasefence status` shows and the log may have lost.

use std::collections::VecDeque;

use leasefence_api::Decision;
use leasefence_core::member::{LogLevel, Note};
use leasefence_core::time::Now;
use tracing::{debug, error, info, warn};

use crate::convert;

/// How many are kept.
const KEPT: usize = 200;

/// The ring. What it is told also goes to the log.
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    kept: VecDeque<Decision>,
}

impl Decisions {
    /// Logs a note, and keeps it unless it is one of those that each renewal brings.
    pub(crate) fn note(&mut self, now: &Now, note: &Note) {
        let Note { level, event, text } = note;
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

    /// Oldest first.
    pub(crate) fn list(&self) -> Vec<Decision> {
        self.kept.iter().cloned().collect()
    }
}
