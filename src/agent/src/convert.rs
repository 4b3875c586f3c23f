//! From what the member says of itself to the words and numbers of the API. It decides nothing but a verdict's class.

use leasefence_api as api;
use leasefence_api::VerdictAnswer;
use leasefence_api::words::{self, ms, terms, wall_ms};
use leasefence_core::evidence::{Evidence, Verdict};
use leasefence_core::fencing::FencerHalf;
use leasefence_core::ids::Generation;
use leasefence_core::member::{
    ClusterStatus, DomainStatus, HostStatus, LogLevel, MemberStatus, OwnStatus, RecoveryStatus,
};
use leasefence_core::time::{Instant, Now};
use leasefence_page::WatchdogReport;

use crate::reset::Reset;

/// The word for a level.
pub(crate) fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

/// The own lease and the fencer beside it.
pub(crate) fn own(own: &OwnStatus, fencer: api::FencerInfo) -> api::OwnLease {
    api::OwnLease {
        slot: own.incarnation.map(|incarnation| incarnation.slot.0),
        generation: own.incarnation.map(|incarnation| incarnation.generation.0),
        state: if own.state.is_empty() { "starting".to_owned() } else { own.state.to_owned() },
        lease_left_ms: own.lease_left.map(ms),
        last_renewal_age_ms: own.last_renewal_age.map(ms),
        renewal_latency_ms: own.renewal_latency.map(ms),
        unknown_writes: u32::try_from(own.unknown_writes).unwrap_or(u32::MAX),
        watchdog: own.watchdog.to_owned(),
        terms: terms(&own.terms),
        fencer,
    }
}

/// What the fencer says of the watchdog.
pub(crate) fn watchdog(report: &WatchdogReport, now: &Now) -> api::WatchdogInfo {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let petted = report.open && report.last_pet != Instant::default();
    api::WatchdogInfo {
        class: report.class.as_str().to_owned(),
        device: text(report.device.as_str()),
        identity: text(report.identity.as_str()),
        timeout_ms: report.open.then(|| ms(report.timeout)),
        nowayout: report.nowayout,
        last_pet_age_ms: petted.then(|| ms(now.instant.since_by_faster(report.last_pet))),
        note: text(report.note.as_str()),
    }
}

/// What the fencer says of this host's own reset.
pub(crate) fn reset(reset: &Reset) -> api::ResetInfo {
    let report = reset.report();
    let note = (!report.note.is_empty()).then(|| report.note.as_str().to_owned());
    api::ResetInfo { wanted: reset.wish().on, on: report.on, note }
}

/// The fencer, by its half of the page; none before there is one.
pub(crate) fn fencer(half: Option<&FencerHalf>, watchdog: api::WatchdogInfo, now: &Now) -> api::FencerInfo {
    let Some(half) = half else { return api::FencerInfo { watchdog, ..api::FencerInfo::default() } };
    api::FencerInfo {
        watchdog,
        connected: true,
        beat_age_ms: Some(ms(now.instant.since_by_faster(half.beat))),
        armed: half.armed,
        latched: half.latched.is_some(),
        clean: half.clean.is_some(),
        unproven: half.unproven,
        latched_end_age_ms: half.latched.map(|end| ms(now.instant.since_by_faster(end.0))),
        clean_age_ms: half.clean.map(|clean| ms(now.instant.since_by_faster(clean.at))),
        processes: u32::try_from(half.processes.len()).unwrap_or(u32::MAX),
        ..api::FencerInfo::default()
    }
}

/// What the header says; the path and the error are the caller's.
pub(crate) fn cluster(cluster: &ClusterStatus, info: &mut api::ClusterInfo) {
    info.name.clone_from(&cluster.name);
    info.max_hosts = Some(cluster.max_hosts);
    info.accepts = cluster.accepts.iter().map(ToString::to_string).collect();
    info.test = cluster.test;
}

/// A host.
pub(crate) fn host(host: &HostStatus) -> api::Host {
    let (state, evidence, since) = words::state(&host.verdict);
    api::Host {
        name: host.name.clone(),
        slot: host.slot.0,
        generation: host.generation.0,
        own: host.own,
        state,
        evidence,
        since_unix_ms: since,
        reason: host.reason.clone(),
        lease_left_ms: host.lease_left.map(ms),
        verdict_left_ms: host.verdict_left.map(ms),
        last_renewal_age_ms: host.last_renewal_age.map(ms),
        watchdog: host.watchdog.to_owned(),
        terms: host.terms.as_ref().map(terms),
        domains_protected: host.domains_protected,
        domains_ha: host.domains_ha,
    }
}

/// The answer about the life of `host` that it shows now.
pub(crate) fn verdict(host: &HostStatus) -> VerdictAnswer {
    answer(host, host.generation, &host.verdict, host.reason.clone())
}

/// The answer about an earlier life of `host`, with the evidence for it if there is any.
pub(crate) fn earlier_verdict(
    host: &HostStatus,
    generation: Generation,
    evidence: Option<(Evidence, Now)>,
) -> VerdictAnswer {
    let reason = format!("the slot shows generation {} of this host by now", host.generation);
    let said = match evidence {
        Some((evidence, since)) => Verdict::Gone { evidence, since },
        None => Verdict::Unknown(reason.clone()),
    };
    answer(host, generation, &said, reason)
}

fn answer(host: &HostStatus, generation: Generation, said: &Verdict, reason: String) -> VerdictAnswer {
    let (state, evidence, since_unix_ms) = words::state(said);
    VerdictAnswer {
        host: host.name.clone(),
        slot: host.slot.0,
        generation: generation.0,
        incarnation: format!("{}.{generation}", host.slot),
        state,
        class: words::class(said),
        evidence,
        since_unix_ms,
        reason,
        verdict_left_ms: host.verdict_left.map(ms),
    }
}

/// A domain, its storages, and what is to be said of its exemption.
pub(crate) fn domain(
    domain: &DomainStatus,
    storages: Option<&Vec<api::Storage>>,
    exemption: Option<String>,
) -> api::Domain {
    api::Domain {
        uuid: domain.domain.to_string(),
        name: domain.name.clone(),
        running: domain.running,
        protected: domain.protected,
        ha: domain.ha,
        priority: domain.priority,
        lease: domain.lease.clone(),
        term: domain.term.map(|term| term.0),
        hold: domain.hold,
        storages: storages.cloned().unwrap_or_default(),
        exemption,
    }
}

/// A recovery; `status` is searched for the domain's name.
pub(crate) fn recovery(recovery: &RecoveryStatus, status: &MemberStatus) -> api::Recovery {
    let known =
        status.domains.iter().find(|domain| domain.domain == recovery.domain && !domain.name.is_empty());
    api::Recovery {
        uuid: recovery.domain.to_string(),
        name: known.map(|domain| domain.name.clone()),
        from: recovery.from.to_string(),
        stage: recovery.stage.to_owned(),
        reason: recovery.reason.clone(),
        since_unix_ms: wall_ms(recovery.since_wall_ns),
    }
}

/// Who is in maintenance.
pub(crate) fn maintenance(status: &MemberStatus) -> api::Maintenance {
    let disarmed = |host: &&HostStatus| matches!(host.verdict, Verdict::Disarmed);
    api::Maintenance {
        disarmed: status.own.state == "disarmed",
        disarmed_hosts: status.hosts.iter().filter(disarmed).map(|host| host.name.clone()).collect(),
        text: status.maintenance.clone(),
    }
}
