//! Maintenance of the whole cluster by one request (PROTOCOL 6): what this host asks of all is in `raised`, what it has read of
//! others in `rises`. Obeying is exactly what an operator asks of the own host alone, with its checks, its order (R12) and its refusals.

mod answer;
mod ask;
mod raised;
mod rises;

use super::phase::Phase;
use super::{LogLevel, Member, RequestId};
use crate::format::RecordFlags;
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
        self.do_as_asked(now, ask)?;
        self.cluster.own.open(Open { id, ask, opened: now.instant });
        self.desk.note(
            LogLevel::Info,
            "cluster-asked",
            format!("the whole cluster is asked to {}", ask.verb()),
        );
        self.pass.hurry();
        Ok(())
    }

    fn do_as_asked(&mut self, now: &Now, ask: ClusterAsk) -> Result<(), String> {
        match ask {
            ClusterAsk::Disarm => self.disarm(now, None),
            ClusterAsk::Arm => self.arm_again(now, None),
        }
    }

    /// After a scan: obeys what other hosts ask of the whole cluster.
    pub(super) fn look_for_cluster_asks(&mut self, now: &Now, ended: Instant) {
        let Some(watch) = &self.watch else { return };
        let others = watch.records().filter(|record| record.host_key != self.config.host_key);
        let mut asked = Vec::new();
        for record in others {
            let gone = watch.evidence(record.incarnation).is_some();
            if let Some(ask) = self.cluster.rises.look(record, gone, ended) {
                asked.push((ask, record.host_name.as_str().to_owned()));
            }
        }
        for (ask, by) in asked {
            self.obey_cluster(now, ask, &by);
        }
    }

    fn obey_cluster(&mut self, now: &Now, ask: ClusterAsk, by: &str) {
        let text = format!("{by} asks the whole cluster to {}", ask.verb());
        match self.do_as_asked(now, ask) {
            Ok(()) => self.desk.note(LogLevel::Info, "cluster-obeyed", text),
            Err(why) => self.desk.note(LogLevel::Warn, "cluster-refused", format!("{text}: {why}")),
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
        asks.set(RecordFlags::LET_GO, let_go)
    }

    fn standing(&self, now: Instant, open: &Open) -> Standing {
        let own_done = match open.ask {
            ClusterAsk::Disarm => matches!(self.phase, Phase::Disarmed),
            ClusterAsk::Arm => matches!(self.phase, Phase::Held),
        };
        let own = (!own_done).then(|| format!("this host is {} ({})", self.state_word(), self.summary()));
        // What was read before it was asked for says nothing.
        let scan = self.watch.as_ref().and_then(crate::watch::Watch::last_scan);
        let is_fresh = scan.is_some_and(|scan| scan.instant.boot_ns > open.opened.boot_ns);
        let own_slot = self.incarnation().map(|own| own.slot);
        let reports = self.watch.as_ref().map(|watch| watch.reports(now)).unwrap_or_default();
        let others = reports.iter().filter(|report| Some(report.view.slot) != own_slot);
        Standing::new(open.ask, own, is_fresh, others)
    }
}
