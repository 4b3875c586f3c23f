//! Where every guest runs, as nobody in the race knows it: a second start while the first still runs is a split brain.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasefence_core::ids::{DomainId, Incarnation};

/// Shared by all hosts of a round.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    running: BTreeMap<DomainId, (u8, Incarnation)>,
    violations: Vec<String>,
    story: Vec<String>,
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A guest starts. Where it runs elsewhere already, that is written down.
    pub(crate) fn start(&self, host: u8, incarnation: Incarnation, domain: DomainId) {
        let mut book = self.book();
        if let Some((other, life)) = book.running.insert(domain, (host, incarnation)) {
            book.violations
                .push(format!("{domain} starts on host {host} while it runs on host {other} ({life})"));
        }
        book.story.push(format!("host {host}: {domain} starts under {incarnation}"));
    }

    /// The guests that run on a host.
    pub(crate) fn guests_of(&self, host: u8) -> Vec<DomainId> {
        let book = self.book();
        book.running.iter().filter(|(_, (on, _))| *on == host).map(|(domain, _)| *domain).collect()
    }

    /// A guest is killed on this host.
    pub(crate) fn kill(&self, host: u8, domain: DomainId) {
        let mut book = self.book();
        if book.running.get(&domain).is_some_and(|(on, _)| *on == host) {
            book.running.remove(&domain);
        }
        book.story.push(format!("host {host}: {domain} is killed"));
    }

    /// The incarnation under which a guest runs.
    pub(crate) fn runs_on(&self, domain: DomainId) -> Option<Incarnation> {
        self.book().running.get(&domain).map(|(_, incarnation)| *incarnation)
    }

    /// A line of a host's log.
    pub(crate) fn tell(&self, line: String) {
        self.book().story.push(line);
    }

    pub(crate) fn story(&self) -> String {
        self.book().story.join("\n")
    }

    pub(crate) fn assert_one_owner(&self) {
        let book = self.book();
        assert!(
            book.violations.is_empty(),
            "SPLIT BRAIN: {}\n{}",
            book.violations.join("\n"),
            book.story.join("\n")
        );
    }
}
