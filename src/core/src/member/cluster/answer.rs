//! What has come of a request to the whole cluster, and the sentence that says so.

use super::ClusterAsk;
use super::ask::{Followed, is_weakening};
use crate::evidence::Verdict;
use crate::member::fence_requests::OPEN_FOR;
use crate::watch::HostReport;

/// Where each host stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    is_fresh: bool,
    /// Each by its name.
    followed: Vec<String>,
    /// Each in words.
    left: Vec<String>,
    absent: Vec<String>,
}

impl Standing {
    /// Of this host, `own` its name, or in words why it is not done, and of the others. `is_fresh`: they were read since it was asked for.
    pub(super) fn new<'a>(
        ask: ClusterAsk,
        own: Result<String, String>,
        is_fresh: bool,
        others: impl Iterator<Item = &'a HostReport>,
    ) -> Self {
        let (followed, left) = match own {
            Ok(name) => (vec![name], Vec::new()),
            Err(why) => (Vec::new(), vec![why]),
        };
        let mut standing = Self { is_fresh, followed, left, absent: Vec::new() };
        for report in others {
            let (name, verdict) = (&report.view.name, &report.view.verdict);
            let is = match verdict {
                Verdict::Unknown(why) => format!("{name} is unknown ({why})"),
                Verdict::Disarmed if ask == ClusterAsk::Disarm => {
                    format!("{name} does not say yet that its fencer has let go")
                }
                Verdict::Alive if is_weakening(report) => {
                    format!("{name} is alive, and on its way to maintenance or to a release")
                }
                _ => format!("{name} is {}", verdict.as_str()),
            };
            match ask.followed(report) {
                Followed::Yes => standing.followed.push(name.clone()),
                Followed::Absent => standing.absent.push(is),
                Followed::No => standing.left.push(is),
            }
        }
        standing.followed.sort_unstable();
        standing
    }

    /// True when this host and all others have done it.
    pub(super) fn is_done(&self) -> bool {
        self.is_fresh && self.left.is_empty()
    }

    /// The answer.
    pub(super) fn text(&self, ask: ClusterAsk) -> String {
        let (verb, done) = (ask.verb(), ask.done());
        let absent = if self.absent.is_empty() {
            String::new()
        } else {
            format!("; not asked: {}", self.absent.join(", "))
        };
        if self.is_done() {
            let hosts = if self.followed.len() == 1 { "host" } else { "hosts" };
            return format!(
                "the whole cluster is {done}: {} {hosts} ({}){absent}. A host that joins later has not heard of it: `leasefence {verb}` there",
                self.followed.len(),
                self.followed.join(", ")
            );
        }
        let left = if self.is_fresh {
            self.left.join(", ")
        } else {
            "this host has not read the others since it was asked for".to_owned()
        };
        let seconds = OPEN_FOR.as_secs();
        format!(
            "not every host is {done} within {seconds} s: {left}{absent}. One that is left may still follow: look at `leasefence status` and at its log, then run `leasefence {verb}` there. A host that joins later has not heard of it"
        )
    }
}
