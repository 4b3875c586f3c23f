//! The proof of the end: CLEAN only when no domain process is left, no start token is open, and every storage is quiet.
//! Killed is not quiesced (R6): of the kinds of storage only `one-kernel` has process exits for a proof, and `unprovable` none.

use crate::fencing::fencer::{Fencer, exempts, note_seen};
use crate::fencing::state::{End, State};
use crate::fencing::{Clean, DomainProcess, Event, QuiesceTarget, StartToken, StorageKind, Unproven};
use crate::planted::planted;
use crate::time::{Instant, Now, ObserverDeadline};

/// One scan of the host's processes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scan<'a> {
    /// Before the first look.
    pub started: Instant,
    /// False when something could not be read, so that a domain may be missing.
    pub complete: bool,
    /// When the last search for what libvirt's files do not show began, of those that have ended; none when there was none lately,
    /// or it could not tell of everything. A proof needs it. Pets after CLEAN do not: they rest on what is seen.
    pub searched: Option<Instant>,
    /// The domain processes that have not been *seen to exit*: known from before, or found now.
    pub processes: &'a [DomainProcess],
}

/// How a storage was shown quiet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Quiet {
    /// The path works, and everything was acknowledged.
    Acknowledged,
    /// By force: the server may still hold a write for `write_drain`.
    Forced,
    /// It could not be shown.
    Unproven,
}

impl Fencer {
    /// Takes the end of a scan.
    pub fn handle_scan(&mut self, now: &Now, scan: &Scan<'_>) {
        self.searched = scan.searched.is_some();
        if scan.complete && self.searched {
            self.half.scans += 1;
        }
        let number = self.half.scans;
        self.half.processes.clear();
        self.half.processes.extend(scan.processes.iter().map(|p| DomainProcess { scan: number, ..*p }));
        self.note_seen_starts(scan.processes);
        let any = scan.processes.iter().any(|process| self.protects(process));
        self.clear_scan = (scan.complete && !any).then_some(scan.started);
        let open = self.tokens.iter().any(|token| self.is_open(token));
        let written = self.quiesce.iter().any(|target| self.is_written(target));
        if let State::Ended(end) = &mut self.state {
            end.ran |= any;
            for process in scan.processes {
                if !exempts(&self.exempt, process.domain) {
                    note_seen(&mut end.seen, process.domain);
                }
            }
            let stirs = any || open || written || !scan.complete || !has_searched(end, scan);
            // The first scan that shows nothing more says only that it ended before now, and not that it had when this was begun.
            if std::mem::replace(&mut end.stirred, stirs) || stirs {
                end.unquiet = now.instant;
            }
        }
        self.prove(now.instant, scan);
        self.say_when_unproven(now.instant);
        self.show_state();
    }

    /// Takes the outcome of quiescing one storage after the latch, and when that was begun. It counts unless a domain process,
    /// or a token of one that may come, was there since: what that has written it cannot have waited for. That a storage was
    /// forced once is remembered, whatever is shown later (PROTOCOL 8).
    pub fn handle_quiesced(&mut self, target: &QuiesceTarget, begun: Instant, outcome: Quiet) {
        if !self.owes_proof() || outcome == Quiet::Unproven {
            return;
        }
        if let State::Ended(end) = &mut self.state {
            end.forced |= outcome == Quiet::Forced;
        }
        self.quiet.retain(|(known, _)| known != target);
        self.quiet.push((target.clone(), begun));
    }

    /// True while a proof is owed and this storage has to be shown quiet for it, or to be shown so again.
    #[must_use]
    pub fn owes_quiet(&self, target: &QuiesceTarget) -> bool {
        match &self.state {
            State::Ended(end) if end.clean.is_none() => !self.is_quiet(end, target),
            _ => false,
        }
    }

    /// A token counts as a running domain until its process was seen: one of that domain that started after it was opened.
    fn note_seen_starts(&mut self, processes: &[DomainProcess]) {
        for token in &self.tokens {
            let key = (token.domain, token.term, token.opened);
            if !self.seen_starts.contains(&key) && processes.iter().any(|process| token.came_up_as(process)) {
                self.seen_starts.push(key);
            }
        }
    }

    fn is_open(&self, token: &StartToken) -> bool {
        !self.seen_starts.contains(&(token.domain, token.term, token.opened))
    }

    fn is_quiet(&self, end: &End, target: &QuiesceTarget) -> bool {
        let shown = self.quiet.iter().find(|(quiet, _)| quiet == target);
        shown.is_some_and(|(_, begun)| ObserverDeadline(end.unquiet).reached(*begun))
    }

    fn prove(&mut self, now: Instant, scan: &Scan<'_>) {
        let State::Ended(end) = &self.state else { return };
        if end.clean.is_some() {
            return;
        }
        let obstacle = self.obstacle(end, scan);
        let forced = end.forced && self.quiesce.iter().any(|target| target.kind != StorageKind::OneKernel);
        let State::Ended(end) = &mut self.state else { return };
        let incarnation = end.lease.incarnation;
        if let Some(obstacle) = obstacle {
            end.obstacle = obstacle;
            // Of what is hopeless, or later, it is said that it is unproven.
            let waits = !obstacle.is_hopeless() && !self.half.unproven;
            if waits && end.said.replace(obstacle) != Some(obstacle) {
                self.note(Event::Waits(incarnation, obstacle));
            }
            return;
        }
        end.clean = Some(Clean { generation: incarnation.generation, at: now, forced });
        let after = now.since_by_faster(end.at);
        self.note(Event::Clean(incarnation, after));
    }

    /// What stands between this scan and the proof.
    fn obstacle(&self, end: &End, scan: &Scan<'_>) -> Option<Unproven> {
        // The tokens are read first and the scan begins after it: a process whose token was closed by then shows.
        let tokens_known = end.tokens_read.is_some_and(|read| ObserverDeadline(read).reached(scan.started));
        if !scan.complete {
            Some(Unproven::ScanFailed)
        } else if scan.processes.iter().any(|process| self.protects(process)) {
            Some(Unproven::ProcessLeft)
        } else if !has_searched(end, scan) {
            Some(Unproven::ScanFailed)
        } else if !tokens_known {
            Some(Unproven::TokensUnknown)
        } else if self.storage_is_unknown(end) {
            Some(Unproven::StorageUnknown)
        } else if self.tokens.iter().any(|token| self.is_open(token)) && !planted!(ReceiptWithToken) {
            Some(Unproven::TokenOpen)
        } else {
            self.storage_obstacle(end)
        }
    }

    fn storage_obstacle(&self, end: &End) -> Option<Unproven> {
        let shown = |target: &QuiesceTarget| {
            !self.is_written(target) && (target.kind == StorageKind::OneKernel || self.is_quiet(end, target))
        };
        let left = |unprovable: bool| {
            let of_kind = |target: &&QuiesceTarget| (target.kind == StorageKind::Unprovable) == unprovable;
            self.quiesce.iter().filter(of_kind).any(|target| !shown(target))
        };
        match (left(true), left(false)) {
            _ if planted!(ReceiptBeforeQuiescence) => None,
            (true, _) => Some(Unproven::StorageUnprovable),
            (false, true) => Some(Unproven::StorageNotQuiet),
            (false, false) => None,
        }
    }

    /// A domain was killed whose storages nobody has named: one that a user started while the agent was away, or that no
    /// uuid was found for. That the named ones are quiet says nothing of its writes (R6).
    fn storage_is_unknown(&self, end: &End) -> bool {
        let unnamed =
            end.seen.iter().any(|domain| !self.covered.contains(domain)) && !planted!(ReceiptOverUnnamed);
        (unnamed || self.quiesce.is_empty() && end.ran) && !planted!(ReceiptBeforeQuiescence)
    }

    /// Without a proof at the end of the budget the host is to be reset: its watchdog, where it has one, is petted no more. Until
    /// then, and where nothing resets it, it says `unproven`. A storage without a proof is said at once: waiting does not help.
    pub(super) fn say_when_unproven(&mut self, now: Instant) {
        let State::Ended(end) = &self.state else { return };
        let hopeless = end.obstacle.is_hopeless();
        if end.clean.is_some() || !(hopeless || end.budget_over(now, self.half.terms.fence_budget)) {
            return;
        }
        let (who, reason) = (end.lease.incarnation, end.obstacle);
        if self.half.unproven_reason != Some(reason) {
            self.note(Event::Unproven(who, reason));
        }
        (self.half.unproven, self.half.unproven_reason) = (true, Some(reason));
    }
}

/// Nobody but a search shows what no file does, and one that began before the end may have missed what started before it.
fn has_searched(end: &End, scan: &Scan<'_>) -> bool {
    scan.searched.is_some_and(|searched| ObserverDeadline(end.at).reached(searched))
}
