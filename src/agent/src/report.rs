//! Answers to the API's questions, from the engine's state. It changes nothing but a domain's metadata, when asked to.

use std::thread;

use leasefence_api as api;
use leasefence_api::{Answer, LeaseList, Status, VerdictAnswer, words};
use leasefence_config::DrillPolicy;
use leasefence_core::ids::{DomainId, Incarnation};
use leasefence_core::member::{MemberStatus, Protection, Request};
use leasefence_core::time::Now;
use tokio::sync::oneshot;

use crate::ask::Ask;
use crate::convert;
use crate::engine::Engine;
use crate::leases::Question;

/// What an HA domain gets that never had a priority.
const DEFAULT_PRIORITY: u8 = 100;

impl Engine {
    /// Answers a question, or sees to it that it is answered later.
    pub(crate) fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Status(answer) => drop(answer.send(Box::new(self.status()))),
            Ask::Metrics(answer) => drop(answer.send(self.metrics.text(&self.status()))),
            Ask::Verdict { host, incarnation, answer } => drop(answer.send(self.verdict(&host, incarnation))),
            Ask::Change(request, answer) => self.request(request, answer),
            Ask::Resume { domain, answer } => match self.domain(&domain) {
                Ok(domain) => self.request(Request::Resume { domain }, answer),
                Err(text) => drop(answer.send(Answer { ok: false, text })),
            },
            Ask::Ha { domain, enabled, priority, answer } => self.set_ha(&domain, enabled, priority, answer),
            Ask::Drill { request, answer } => self.drill(&request, answer),
            Ask::Leases { domain, answer } => self.leases(domain.as_deref(), answer),
        }
    }

    /// One line for `systemctl status`.
    pub(crate) fn summary(&self) -> String {
        match &self.member {
            Some(member) => member.status(&leasefence_clock::now()).summary,
            None => self.waiting_for(),
        }
    }

    fn status(&self) -> Status {
        let now = leasefence_clock::now();
        let member = self.member.as_ref().map(|member| member.status(&now)).unwrap_or_default();
        Status {
            api_version: api::API_VERSION,
            agent: self.agent_info(&member),
            cluster: self.cluster_info(&member),
            own: convert::own(&member.own, self.fencer_info(&now)),
            hosts: member.hosts.iter().map(convert::host).collect(),
            domains: member
                .domains
                .iter()
                .map(|domain| {
                    let exemption = self.parts.exemptions.said(domain.domain);
                    convert::domain(domain, self.storages.get(&domain.domain), exemption)
                })
                .collect(),
            recoveries: member
                .recoveries
                .iter()
                .map(|recovery| convert::recovery(recovery, &member))
                .collect(),
            maintenance: convert::maintenance(&member),
            hypervisor: api::HypervisorInfo {
                uri: self.parts.config.libvirt.uri.clone(),
                connected: self.libvirt.is_ok(),
                error: self.libvirt.as_ref().err().cloned(),
            },
            hook: self.hooks.info(&self.names),
            warnings: self.warnings(&member),
            decisions: self.decisions.list(),
        }
    }

    fn agent_info(&self, member: &MemberStatus) -> api::AgentInfo {
        let summary = if self.member.is_some() { member.summary.clone() } else { self.waiting_for() };
        api::AgentInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            host_name: self.parts.setup.host_name.clone(),
            started_unix_ms: self.started.wall_ns / 1_000_000,
            summary,
            drill_allowed: self.parts.config.drill == DrillPolicy::Allowed,
        }
    }

    fn cluster_info(&self, member: &MemberStatus) -> api::ClusterInfo {
        let config = &self.parts.config;
        let mut info = api::ClusterInfo {
            name: config.cluster.clone(),
            lease_path: config.lease.display().to_string(),
            open: self.medium.is_some(),
            error: self.fatal().map(str::to_owned),
            last_scan_age_ms: member.last_scan_age.map(words::ms),
            ..api::ClusterInfo::default()
        };
        if let Some(cluster) = &member.cluster {
            convert::cluster(cluster, &mut info);
        }
        info
    }

    fn fencer_info(&self, now: &Now) -> api::FencerInfo {
        let half = self.fencer.as_ref().and_then(|fencer| fencer.sight().seen());
        api::FencerInfo {
            connected: self.link.is_ok() && self.fencer.is_some(),
            reset: convert::reset(&self.reset),
            last_fence: self.ladder.info(),
            ..convert::fencer(half, convert::watchdog(&self.watchdog.report(), now), now)
        }
    }

    fn warnings(&self, member: &MemberStatus) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Err(why) = &self.link {
            warnings.push(format!("There is no fencer: {why}"));
        }
        let bad_reads = self.fencer.as_ref().map_or(0, |fencer| fencer.sight().bad_reads());
        if bad_reads > 0 {
            warnings.push(format!("The fencer's half of the page was unreadable {bad_reads} times."));
        }
        warnings.extend(self.hooks.warnings(&self.names));
        warnings.extend(self.watchdog.warnings(leasefence_clock::instant()));
        warnings.extend(self.reset.warnings(self.watchdog.has().is_some()));
        warnings.extend(self.parts.connection.advice.iter().cloned());
        warnings.extend(member.warnings.iter().cloned());
        warnings
    }

    fn verdict(&self, name: &str, incarnation: Option<Incarnation>) -> Result<VerdictAnswer, String> {
        let now = leasefence_clock::now();
        let Some(member) = &self.member else {
            return Err(format!("nothing is known of any host yet: {}", self.waiting_for()));
        };
        let status = member.status(&now);
        let bound = |slot| incarnation.is_none_or(|incarnation| incarnation.slot == slot);
        let host = status.hosts.iter().find(|host| host.name == name && bound(host.slot));
        let Some(host) = host else {
            let mut names: Vec<&str> = status.hosts.iter().map(|host| host.name.as_str()).collect();
            names.sort_unstable();
            return Err(format!("no host named {name} has a slot; there are: {}", names.join(", ")));
        };
        match incarnation {
            Some(earlier) if earlier.generation != host.generation => {
                Ok(convert::earlier_verdict(host, earlier.generation, member.evidence(earlier)))
            }
            _ => Ok(convert::verdict(host)),
        }
    }

    /// A domain by name or uuid. A uuid needs not be known here: a dead host's domain is not.
    fn domain(&self, word: &str) -> Result<DomainId, String> {
        let named: Vec<DomainId> =
            self.names.iter().filter(|(_, name)| *name == word).map(|(domain, _)| *domain).collect();
        match named.as_slice() {
            [domain] => Ok(*domain),
            [] => word.parse().map_err(|_| {
                format!(
                    "libvirt knows no domain {word} on this host; name it by its uuid if it is another host's"
                )
            }),
            _ => Err(format!("{word} names more than one domain: name it by its uuid")),
        }
    }

    /// Libvirt may take its time, so it is asked on a thread; the event that follows brings the change to the member.
    fn set_ha(&self, word: &str, enabled: bool, priority: Option<u8>, answer: oneshot::Sender<Answer>) {
        let domain = match self.domain(word) {
            Ok(domain) => domain,
            Err(text) => return drop(answer.send(Answer { ok: false, text })),
        };
        let (hypervisor, nudge) = (self.parts.hypervisor.clone(), self.parts.nudge.clone());
        let store = self.parts.store.clone();
        let word = word.to_owned();
        let work = move || {
            let said = hypervisor.domain(domain).and_then(|known| {
                let present = known.protection;
                let fallback = if present.priority == 0 { DEFAULT_PRIORITY } else { present.priority };
                let priority = priority.unwrap_or(if enabled { fallback } else { present.priority });
                hypervisor.set_protection(domain, Protection { ha: enabled, priority, ..present })?;
                Ok(priority)
            });
            store.refresh(domain);
            nudge.nudge();
            drop(answer.send(match said {
                Ok(priority) if enabled => Answer {
                    ok: true,
                    text: format!(
                        "{word} is restarted elsewhere after its host's death (priority {priority})"
                    ),
                },
                Ok(_) => Answer { ok: true, text: format!("{word} is not restarted elsewhere any more") },
                Err(error) => Answer { ok: false, text: error.to_string() },
            }));
        };
        drop(thread::Builder::new().name("ha".to_owned()).spawn(work));
    }

    fn leases(&self, word: Option<&str>, answer: oneshot::Sender<Result<LeaseList, String>>) {
        match word.map(|word| self.domain(word)).transpose() {
            Ok(domain) => {
                Question { path: self.parts.config.lease.clone(), domain, names: self.names.clone() }
                    .ask(answer);
            }
            Err(text) => drop(answer.send(Err(text))),
        }
    }
}
