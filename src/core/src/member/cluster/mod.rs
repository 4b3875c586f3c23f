//! Maintenance of the whole cluster by one request (PROTOCOL 6): what this host asks of all is in `raised`, what it has read of
//! others in `rises`. Obeying is exactly what an operator asks of the own host alone, with its checks, its order (R12) and its refusals.

mod answer;
mod ask;
mod raised;
mod rises;

use super::phase::{Phase, WeakenStep, Weakening};
use super::{LogLevel, Member, RequestId};
use crate::format::{HostState, RecordFlags};
use crate::ids::Slot;
use crate::time::{Instant, Now};
use answer::Standing;
pub use ask::ClusterAsk;
use raised::{Open, Raised};
use rises::Rises;

/// What is asked of the whole cluster, here and elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Cluster {
    /// What this host asks of all.
    pub(super) own: Raised,
    rises: Rises,
}

impl Cluster {
    /// True while a request of this host, or of another one, is open: passes are hurried.
    pub(super) fn any_open(&self, now: Instant) -> bool {
        self.own.get().is_some() || self.rises.any_open(now)
    }
}

impl Member {
    /// Does it to this host, and asks all others for it. Answered once they have followed, or their time is over.
    ///
    /// # Errors
    /// A sentence, when this host cannot do it itself: then nobody is asked.
    pub(super) fn ask_cluster(&mut self, now: &Now, id: RequestId, ask: ClusterAsk) -> Result<(), String> {
        if self.cluster.own.get().is_some() {
            return Err(
                "this host asks the whole cluster for something already: wait for that answer".to_owned()
            );
        }
        self.maintain(now, ask, None)?;
        self.cluster.own.open(Open { id, ask, opened: now.instant });
        self.desk.note(
            LogLevel::Info,
            "cluster-asked",
            format!("the whole cluster is asked to {}", ask.verb()),
        );
        self.pass.hurry();
        Ok(())
    }

    /// Does it to this host, as an operator asks it here: what others asked for before and have not got counts no more.
    ///
    /// # Errors
    /// A sentence, when this host cannot do it now.
    pub(super) fn maintain(
        &mut self,
        now: &Now,
        ask: ClusterAsk,
        id: Option<RequestId>,
    ) -> Result<(), String> {
        self.do_as_asked(now, ask, id)?;
        self.cluster.rises.overtake(ask, now.instant);
        Ok(())
    }

    /// Does it to this host, for whoever asks. What this host asks of the whole cluster is over when that is the opposite.
    fn do_as_asked(&mut self, now: &Now, ask: ClusterAsk, id: Option<RequestId>) -> Result<(), String> {
        match ask {
            ClusterAsk::Disarm => self.disarm(now, id),
            ClusterAsk::Arm => self.arm_again(now, id),
        }?;
        if let Some(open) = self.cluster.own.get().filter(|open| open.ask != ask) {
            let text = format!(
                "taken back: this host was asked to {} since. Others may have followed before that: look at `leasefence status`",
                ask.verb()
            );
            self.desk.note(LogLevel::Warn, "cluster-answered", text.clone());
            self.desk.reply(open.id, false, text);
            self.cluster.own.close();
            self.pass.hurry();
        }
        Ok(())
    }

    /// After a scan: obeys what other hosts ask of the whole cluster.
    pub(super) fn look_for_cluster_asks(&mut self, now: &Now, ended: Instant) {
        let Some(watch) = &self.watch else { return };
        let others = watch.records().filter(|record| record.host_key != self.config.host_key);
        let mut asked = Vec::new();
        for record in others {
            let gone = watch.evidence(record.incarnation).is_some();
            if let Some(ask) = self.cluster.rises.look(record, gone, ended) {
                asked.push((record.incarnation.slot, ask, record.host_name.as_str().to_owned()));
            }
        }
        for (slot, ask, by) in asked {
            if self.cluster.rises.counts(slot) {
                self.obey_cluster(now, slot, ask, &by);
            }
        }
    }

    fn obey_cluster(&mut self, now: &Now, slot: Slot, ask: ClusterAsk, by: &str) {
        let text = format!("{by} asks the whole cluster to {}", ask.verb());
        match self.do_as_asked(now, ask, None) {
            Ok(()) => {
                self.cluster.rises.obeyed(slot);
                self.desk.note(LogLevel::Info, "cluster-obeyed", text);
            }
            Err(why) if self.cluster.rises.refused(slot) => {
                let text = format!("{text}: {why}; tried again while it is asked for");
                self.desk.note(LogLevel::Warn, "cluster-refused", text);
            }
            Err(_) => {}
        }
    }

    /// Answers the own request once all have followed, or its time is over.
    pub(super) fn close_cluster_ask(&mut self, now: &Now) {
        let Some(open) = self.cluster.own.get() else { return };
        let over = open.is_over(now.instant) || matches!(self.phase, Phase::Over);
        let standing = self.standing(now.instant, &open);
        if !over && !standing.is_done() {
            return;
        }
        let level = if standing.is_done() { LogLevel::Info } else { LogLevel::Warn };
        let text = standing.text(open.ask);
        self.desk.note(level, "cluster-answered", text.clone());
        self.desk.reply(open.id, standing.is_done(), text);
        self.cluster.own.close();
        // The bit comes down at once.
        self.pass.hurry();
    }

    /// The flags of the record that is about to be issued that stand for a moment only.
    pub(super) fn issue_cluster_flags(&mut self, now: Instant) -> RecordFlags {
        let read_within = self.read_by_all_within();
        let asks = self.cluster.own.issue(now, read_within).map(ClusterAsk::bit).unwrap_or_default();
        let let_go = matches!(self.phase, Phase::Disarmed) && !self.is_guarded();
        let weakens = matches!(
            self.phase,
            Phase::Weakening(Weakening { from: HostState::Held, step: WeakenStep::Draining, .. })
        );
        asks.set(RecordFlags::LET_GO, let_go).set(RecordFlags::WEAKENS, weakens)
    }

    fn standing(&self, now: Instant, open: &Open) -> Standing {
        let own_done = match open.ask {
            ClusterAsk::Disarm => matches!(self.phase, Phase::Disarmed),
            ClusterAsk::Arm => matches!(self.phase, Phase::Held),
        };
        let own = if own_done {
            Ok(self.config.host_name.clone())
        } else {
            Err(format!("this host is {}", self.stands_at()))
        };
        // What was read before it was asked for says nothing.
        let scan = self.watch.as_ref().and_then(crate::watch::Watch::last_scan);
        let is_fresh = scan.is_some_and(|scan| scan.instant.boot_ns > open.opened.boot_ns);
        let own_slot = self.incarnation().map(|own| own.slot);
        let reports = self.watch.as_ref().map(|watch| watch.reports(now)).unwrap_or_default();
        let others = reports.iter().filter(|report| Some(report.view.slot) != own_slot);
        Standing::new(open.ask, own, is_fresh, others)
    }
}
