//! Fence requests: those of this host, and those that others write about it (PROTOCOL 3).
//!
//! A request names an incarnation and expires after 30 s. It is obeyed only if the requester's own lease is live and its
//! record advanced since the request was seen: a dead host's last words are obeyed by nobody.

use std::time::Duration;

use super::RequestId;
use crate::format::{FENCE_REQUESTS, FenceRequest, HostRecord, HostState};
use crate::ids::{Incarnation, Sequence};
use crate::planted::planted;
use crate::time::{HolderDeadline, Instant};

/// How long a request is open.
pub(super) const OPEN_FOR: Duration = Duration::from_secs(30);
/// Between two passes of requester and victim while one is open.
pub(super) const HURRIED_INTERVAL: Duration = Duration::from_millis(250);

/// When one that was opened, or first seen, then is over.
pub(super) fn end_of(opened: Instant) -> Instant {
    opened.plus(OPEN_FOR)
}

/// True once that one is over.
pub(super) fn has_ended(opened: Instant, now: Instant) -> bool {
    HolderDeadline(end_of(opened)).reached(now)
}

/// A request of this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ask {
    pub(super) id: RequestId,
    pub(super) name: String,
    pub(super) request: FenceRequest,
    pub(super) opened: Instant,
}

/// A request about this host, as first seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    requester: Incarnation,
    nonce: u32,
    at_sequence: Sequence,
    since: Instant,
}

/// All open requests.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct FenceRequests {
    asks: Vec<Ask>,
    seen: Vec<Seen>,
}

impl FenceRequests {
    /// Opens a request; false when the record has no room for another one.
    pub(super) fn open(&mut self, ask: Ask) -> bool {
        let room = self.asks.len() < FENCE_REQUESTS;
        if room {
            self.asks.push(ask);
        }
        room
    }

    /// What the own record carries.
    pub(super) fn carried(&self) -> [Option<FenceRequest>; FENCE_REQUESTS] {
        let mut carried = [None; FENCE_REQUESTS];
        for (place, ask) in carried.iter_mut().zip(&self.asks) {
            *place = Some(ask.request);
        }
        carried
    }

    /// Closes the own requests for which `is_over` says so, or whose time is over: true for the former.
    pub(super) fn close(&mut self, now: Instant, is_over: impl Fn(Incarnation) -> bool) -> Vec<(Ask, bool)> {
        let mut closed = Vec::new();
        self.asks.retain(|ask| {
            let proven = is_over(ask.request.target);
            let keep = !proven && !has_ended(ask.opened, now);
            if !keep {
                closed.push((ask.clone(), proven));
            }
            keep
        });
        closed
    }

    /// When the next own request is over, if nothing is proven before.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.asks.iter().map(|ask| end_of(ask.opened)).min_by_key(|end| end.boot_ns)
    }

    /// All own requests, closed: the incarnation that asked is over.
    pub(super) fn close_all(&mut self) -> Vec<Ask> {
        self.seen.clear();
        std::mem::take(&mut self.asks)
    }

    /// True while one of this host, or one about it, is open: passes are hurried.
    pub(super) fn any_open(&self, now: Instant) -> bool {
        !self.asks.is_empty() || self.seen.iter().any(|seen| is_open(seen, now))
    }

    /// Takes another host's record, read by a scan that ended at `ended`, its lease being `live`. True: `me` must obey
    /// the request in it.
    pub(super) fn must_obey(
        &mut self,
        me: Incarnation,
        record: &HostRecord,
        live: bool,
        ended: Instant,
    ) -> bool {
        let about_me = record.fence_requests.iter().flatten().filter(|request| request.target == me);
        let mut obey = false;
        for request in about_me {
            let requester = record.incarnation;
            let known =
                self.seen.iter().find(|seen| seen.requester == requester && seen.nonce == request.nonce);
            match known {
                None => {
                    let (nonce, at_sequence, since) = (request.nonce, record.sequence, ended);
                    self.seen.push(Seen { requester, nonce, at_sequence, since });
                }
                Some(seen) => {
                    let advanced = record.sequence > seen.at_sequence;
                    let alive = advanced && live && record.state == HostState::Held;
                    obey |= (alive || planted!(DeadRequesterObeyed)) && is_open(seen, ended);
                }
            }
        }
        obey
    }
}

fn is_open(seen: &Seen, now: Instant) -> bool {
    !has_ended(seen.since, now)
}
