//! How a fencer begins: from the marker in the run directory and, where it got its page back, from both halves of it.
//! In doubt it was armed.

use crate::fencing::fencer::{Fencer, MOST, exempts, note_seen, within_ttl};
use crate::fencing::state::{End, Guard, LeaseName, State};
use crate::fencing::{AgentHalf, ArmedMarker, EndCause, FencerHalf, Marker, MarkerFound, Unproven, Wish};
use crate::ids::{BootId, DomainId};
use crate::planted::planted;
use crate::time::{HolderDeadline, Now};

/// A page that was got back, from the service manager or as the agent's copy: what could be read of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RestoredPage<'a> {
    /// What the fencer before this one wrote.
    pub own: Option<&'a FencerHalf>,
    /// What the agent wrote.
    pub agent: Option<&'a AgentHalf>,
}

/// What to do with a copy of the page that an agent offers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CopyUse {
    /// It is of another boot or lease, or the page in hand is in use: hand out that.
    Refuse,
    /// Take it over, and begin anew from it by [`Fencer::start`].
    Restart,
    /// Take it over for its start tokens; the lease stays ended.
    KeepEnded,
}

impl Fencer {
    /// A fencer that has just been started in the boot `boot_id`.
    #[must_use]
    pub fn start(now: &Now, boot_id: BootId, marker: MarkerFound, page: &RestoredPage<'_>) -> Self {
        let agent = page.agent.filter(|half| half.boot_id == boot_id);
        let page = RestoredPage { agent, ..*page };
        let belief = believed(boot_id, marker, &page);
        let marker_owed = matches!(belief, Belief::Armed(None));
        let state = match belief {
            Belief::NeverArmed => State::NeverArmed,
            Belief::Disarmed(arm_count) => {
                State::Disarmed { arm_count, lease: agent.map(LeaseName::of).unwrap_or_default() }
            }
            Belief::Armed(marker) => armed(now, marker.as_ref(), &page),
        };
        let mut half = page.own.cloned().unwrap_or_default();
        half.beat = now.instant;
        half.armed_since_boot |= state != State::NeverArmed;
        if let Some(agent) = agent.filter(|_| page.own.is_none()) {
            half.terms = agent.terms;
        }
        let mut fencer = Self::in_state(boot_id, state, half);
        fencer.marker_owed = marker_owed;
        if let Some(agent) = agent {
            fencer.take_lists(agent);
        }
        fencer
    }

    /// An agent's copy was taken over while the lease stays ended ([`CopyUse::KeepEnded`]): the latch does not stand in it
    /// yet, and an agent that has not seen it there may still permit a start after this fencer's look at its tokens.
    pub fn page_replaced(&mut self) {
        if let State::Ended(end) = &mut self.state {
            (end.published, end.tokens_read) = (false, None);
        }
    }

    /// What to do with a copy whose agent's half is `agent`, while the page in hand is `page_in_use` (the agent has written
    /// to it) or new.
    #[must_use]
    pub fn judge_copy(&self, agent: &AgentHalf, page_in_use: bool) -> CopyUse {
        if agent.boot_id != self.boot_id || page_in_use {
            return CopyUse::Refuse;
        }
        match &self.state {
            State::Armed(guard) if guard.end.is_none() && guard.lease.fits(agent) => CopyUse::Restart,
            State::Ended(end) if end.clean.is_none() && end.lease.fits(agent) => CopyUse::KeepEnded,
            State::Armed(_) | State::Ended(_) => CopyUse::Refuse,
            State::NeverArmed | State::Disarmed { .. } => CopyUse::Restart,
        }
    }
}

enum Belief {
    NeverArmed,
    Disarmed(u32),
    Armed(Option<ArmedMarker>),
}

/// A disarmed marker that differs from the page, or is of another boot, means armed; so does one that cannot be read. An
/// armed marker of another boot says nothing about this one.
fn believed(boot_id: BootId, marker: MarkerFound, page: &RestoredPage<'_>) -> Belief {
    match marker {
        MarkerFound::Marker(Marker::Disarmed { boot_id: of, arm_count }) => {
            if of == boot_id && !differs(arm_count, page) && !planted!(DisarmedKillsAfterRestart) {
                Belief::Disarmed(arm_count)
            } else {
                Belief::Armed(None)
            }
        }
        MarkerFound::Marker(Marker::Armed(armed)) if armed.boot_id == boot_id => Belief::Armed(Some(armed)),
        MarkerFound::Unreadable => Belief::Armed(None),
        MarkerFound::None | MarkerFound::Marker(Marker::Armed(_)) => {
            if page.own.is_some_and(|own| own.armed_since_boot) {
                Belief::Armed(None)
            } else {
                Belief::NeverArmed
            }
        }
    }
}

fn differs(arm_count: u32, page: &RestoredPage<'_>) -> bool {
    page.own.is_some_and(|own| own.armed && own.arm_count != arm_count)
        || page.agent.is_some_and(|agent| agent.wish != Wish::Joining && agent.arm_count != arm_count)
}

/// The state of one that was armed, in doubt the stricter one.
fn armed(now: &Now, marker: Option<&ArmedMarker>, page: &RestoredPage<'_>) -> State {
    match page.own {
        Some(own) if own.latched.is_some() => ended(now, own, marker, page.agent),
        Some(own) if own.armed => {
            let lease = LeaseName { incarnation: own.incarnation, ..known_lease(marker, page.agent) };
            guarding(now, marker, lease, own.arm_count, Some(own.lease_end))
        }
        // Armed in the marker, and never echoed: the agent's half has the end, if it is one that may be taken.
        Some(_) => match page.agent.filter(|agent| agent.wish != Wish::Joining) {
            Some(agent) => {
                let end = if within_ttl(now, agent) { agent.lease_end } else { HolderDeadline(now.instant) };
                guarding(now, marker, LeaseName::of(agent), agent.arm_count, Some(end))
            }
            None => waiting(now, marker),
        },
        None => waiting(now, marker),
    }
}

fn guarding(
    now: &Now,
    marker: Option<&ArmedMarker>,
    lease: LeaseName,
    arm_count: u32,
    end: Option<HolderDeadline>,
) -> State {
    let suspended_ns = marker.map_or(now.suspended_ns, |marker| marker.suspended_ns);
    State::Armed(Guard { lease, arm_count, end, suspended_ns, bad_since: None })
}

/// Armed, and nothing says until when: the agent's copy may come within one pet interval.
fn waiting(now: &Now, marker: Option<&ArmedMarker>) -> State {
    let arm_count = marker.map_or(0, |marker| marker.arm_count);
    guarding(now, marker, known_lease(marker, None), arm_count, None)
}

fn known_lease(marker: Option<&ArmedMarker>, agent: Option<&AgentHalf>) -> LeaseName {
    match (marker, agent) {
        (Some(marker), _) => LeaseName { file_id: marker.file_id, incarnation: marker.incarnation },
        (None, Some(agent)) => LeaseName::of(agent),
        (None, None) => LeaseName::default(),
    }
}

/// An end that was latched stays latched, and a CLEAN that was proven stays proven.
fn ended(now: &Now, own: &FencerHalf, marker: Option<&ArmedMarker>, agent: Option<&AgentHalf>) -> State {
    let lease = LeaseName { incarnation: own.incarnation, ..known_lease(marker, agent) };
    // What is exempt lives on, and nothing is owed for it.
    let exempt =
        agent.filter(|agent| lease.fits(agent)).map(|agent| agent.exempt.as_slice()).unwrap_or_default();
    let ended = || own.processes.iter().filter(|process| !exempts(exempt, process.domain));
    let mut seen = Vec::with_capacity(MOST);
    ended().for_each(|process| note_seen(&mut seen, process.domain));
    if own.unproven_reason == Some(Unproven::StorageUnknown) {
        // Which domain it was is forgotten, and that there was one is not.
        note_seen(&mut seen, DomainId::default());
    }
    State::Ended(End {
        lease,
        arm_count: own.arm_count,
        latched: own.latched.unwrap_or(HolderDeadline(now.instant)),
        at: now.instant,
        cause: EndCause::Passed,
        published: true,
        tokens_read: None,
        ran: ended().next().is_some(),
        seen,
        unquiet: now.instant,
        stirred: true,
        // What the process before it has forced nobody knows.
        forced: true,
        obstacle: Unproven::ProcessLeft,
        said: None,
        clean: own.clean,
    })
}
