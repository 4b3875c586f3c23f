//! Whether a start may be permitted, and in words why not.

use super::NOT_YET;
use crate::format::HostState;
use crate::ids::Incarnation;
use crate::lease::{AcquireOutcome, Conflict};
use crate::member::Member;
use crate::member::phase::Phase;
use crate::time::Now;

impl Member {
    /// True while this host may start domains: it holds its lease, and is not on its way to give it back.
    #[must_use]
    pub fn may_start_now(&self, now: &Now) -> bool {
        self.may_start(now).is_ok()
    }

    /// Whether this host may start anything now, and why not.
    pub(in crate::member) fn may_start(&self, now: &Now) -> Result<(), String> {
        match &self.phase {
            Phase::Held if self.lease_is_live(now.instant) => Ok(()),
            Phase::Held => Err("this host's own lease has just ended".to_owned()),
            Phase::Ending(ending) => Err(format!("this host is being fenced ({})", ending.reason)),
            Phase::Disarmed => Err("this host is in maintenance: `leasefence arm` first".to_owned()),
            Phase::Weakening(weakening) if weakening.to == HostState::Disarmed => {
                Err("this host enters maintenance".to_owned())
            }
            Phase::Weakening(_) | Phase::Over => Err("this host has released its lease".to_owned()),
            _ => Err(format!("{NOT_YET} ({})", self.summary())),
        }
    }

    /// Why a start's lease was not acquired, for the user who started it.
    pub(in crate::member) fn why_not_acquired(&self, outcome: &AcquireOutcome) -> String {
        match outcome {
            AcquireOutcome::Busy { who, conflict } => {
                let who = self.name_of(*who);
                match conflict {
                    Conflict::Own => format!("busy: {who} owns it"),
                    Conflict::Incoming => format!("busy: it is being migrated to {who}"),
                    Conflict::Want => format!("busy: {who} is acquiring it"),
                }
            }
            AcquireOutcome::Unreadable(slot) => {
                format!("slot {slot}'s sector of its lease page is unreadable: `leasefence lease list`")
            }
            AcquireOutcome::Full => "its lease page is full (62 domains): exempt or remove one".to_owned(),
            AcquireOutcome::GaveUp => "other hosts got in between at each try: start it again".to_owned(),
            AcquireOutcome::ReadFailed(why) => format!("its lease page cannot be read: {why}"),
            AcquireOutcome::Unknown => {
                "a write of its lease page has an unknown outcome: start it again in a minute".to_owned()
            }
            AcquireOutcome::LostLease => "this host's own lease ended".to_owned(),
            AcquireOutcome::NotRecoverable(why) => why.clone(),
            AcquireOutcome::Acquired(_) | AcquireOutcome::AlreadyOwn(_) => {
                "its lease has ended again".to_owned()
            }
        }
    }

    /// A host's name as in its record, for people.
    pub(in crate::member) fn name_of(&self, who: Incarnation) -> String {
        let record =
            self.watch.as_ref().and_then(|watch| watch.slot(who.slot)).and_then(|slot| slot.record());
        record.map_or_else(|| format!("host {who}"), |record| record.host_name.as_str().to_owned())
    }
}
