//! `leasefence status`: the agent's picture of the cluster, as a table for people.

use std::time::Duration;

use leasefence_api::{
    Client, Domain, HookAnswer, HookInfo, Host, HostState, Recovery, ResetInfo, Status, WatchdogInfo,
};
use leasefence_say::{nobody_reads, say};

use crate::args::StatusArgs;
use crate::outcome::{CliError, Exit, Outcome};
use crate::storages;
use crate::text::{clock_time, duration_ms, lines, optional_ms, table};

/// Decisions that are shown below the tables.
const DECISIONS_SHOWN: usize = 8;

/// Shows the status once, or again and again.
pub(crate) async fn run(client: &Client, args: &StatusArgs) -> Outcome {
    let Some(seconds) = args.watch else {
        let status = client.status().await?;
        say!("{}", shown(&status, args.json)?);
        return Ok(Exit::Done);
    };
    loop {
        let text = match client.status().await {
            Ok(status) => shown(&status, args.json)?,
            Err(error) => format!("leasefence: {error}"),
        };
        if args.json {
            say!("{text}");
        } else {
            say!("\x1b[H\x1b[2J{text}");
        }
        if nobody_reads() {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

fn shown(status: &Status, json: bool) -> Result<String, CliError> {
    if json {
        return serde_json::to_string(status).map_err(CliError::from_display);
    }
    Ok(text(status))
}

fn text(status: &Status) -> String {
    let mut parts = vec![headline(status)];
    parts.extend(status.maintenance.text.iter().map(|line| format!("MAINTENANCE  {line}")));
    let warnings = status.warnings.iter().cloned().chain(storages::warnings(&status.domains));
    parts.extend(warnings.map(|line| format!("WARNING  {line}")));
    parts.push(String::new());
    parts.push(hosts(&status.hosts));
    if !status.domains.is_empty() {
        parts.extend([String::new(), domains(&status.domains)]);
    }
    if !status.recoveries.is_empty() {
        parts.extend([String::new(), recoveries(&status.recoveries)]);
    }
    let first = status.decisions.len().saturating_sub(DECISIONS_SHOWN);
    if let Some(last) = status.decisions.get(first..).filter(|last| !last.is_empty()) {
        parts.push(String::new());
        parts.extend(last.iter().map(|d| format!("{}  {}: {}", clock_time(d.at_unix_ms), d.event, d.text)));
    }
    parts.join("\n")
}

fn headline(status: &Status) -> String {
    let own = &status.own;
    let lease = match own.lease_left_ms {
        Some(left) => format!("lease left {} of {}", duration_ms(left), duration_ms(own.terms.lease_ttl_ms)),
        None => "no lease".to_owned(),
    };
    let test = if status.cluster.test { " (a TEST cluster)" } else { "" };
    let error =
        status.cluster.error.as_ref().map(|error| format!("\nlease file: {error}")).unwrap_or_default();
    let libvirt =
        status.hypervisor.error.as_ref().map(|error| format!("\nlibvirt: {error}")).unwrap_or_default();
    format!(
        "cluster {}{test}, lease file {}\nthis host: {}, {}, {lease}, fencer {}; {}\nwatchdog: {}\nreset: {}\nhook: {}{error}{libvirt}",
        status.cluster.name,
        status.cluster.lease_path,
        status.agent.host_name,
        own.state,
        fencer(status),
        status.agent.summary,
        watchdog(&own.fencer.watchdog),
        reset(&own.fencer.reset),
        hook(&status.hook),
    )
}

/// `in place, last asked 12:00:24.1 (web-1: allowed)`, or what is wrong with it.
fn hook(hook: &HookInfo) -> String {
    let place = if hook.placed { "in place" } else { "NOT IN PLACE" };
    match &hook.last {
        Some(HookAnswer { at_unix_ms, domain, allowed }) => {
            let answer = if *allowed { "allowed" } else { "denied" };
            format!("{place}, last asked {} ({domain}: {answer})", clock_time(*at_unix_ms))
        }
        None => format!("{place}, not asked yet"),
    }
}

/// `soft, softdog at /dev/watchdog0, 5 s, last pet 0.1 s ago`, or why there is none.
fn watchdog(watchdog: &WatchdogInfo) -> String {
    let note = watchdog.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
    let (Some(device), Some(timeout)) = (&watchdog.device, watchdog.timeout_ms) else {
        return format!("none{note}");
    };
    let identity = watchdog.identity.as_deref().unwrap_or("?");
    let nowayout = if watchdog.nowayout { ", nowayout" } else { "" };
    let petted = match watchdog.last_pet_age_ms {
        Some(age) => format!("last pet {} ago", duration_ms(age)),
        None => "not petted yet".to_owned(),
    };
    format!("{}, {identity} at {device}, {}{nowayout}, {petted}{note}", watchdog.class, duration_ms(timeout))
}

/// `on, by sysrq`, `off`, or why it is not what is wanted.
fn reset(reset: &ResetInfo) -> String {
    let note = reset.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
    let word = match (reset.on, reset.wanted) {
        (true, _) => "on, by sysrq",
        (false, true) => "WANTED, AND NOT POSSIBLE",
        (false, false) => "off",
    };
    format!("{word}{note}")
}

fn fencer(status: &Status) -> &'static str {
    let fencer = &status.own.fencer;
    match (fencer.connected, fencer.armed, fencer.latched, fencer.clean) {
        (false, ..) => "NOT CONNECTED",
        (_, _, true, true) => "clean since the lease's end",
        (_, _, true, false) => "fencing",
        (_, true, ..) => "armed",
        (_, false, ..) => "not armed",
    }
}

/// The table of hosts.
pub(crate) fn hosts(hosts: &[Host]) -> String {
    let mut rows = table(&[
        "HOST",
        "SLOT",
        "GEN",
        "STATE",
        "LEASE LEFT",
        "LAST RENEWAL",
        "WATCHDOG",
        "PROTECTED",
        "HA",
        "WHY",
    ]);
    let count = |n: Option<u32>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    for host in hosts {
        rows.add_row([
            format!("{}{}", host.name, if host.own { " *" } else { "" }),
            host.slot.to_string(),
            host.generation.to_string(),
            state(host),
            optional_ms(host.lease_left_ms),
            host.last_renewal_age_ms.map_or_else(|| "-".to_owned(), |ms| format!("{} ago", duration_ms(ms))),
            host.watchdog.clone(),
            count(host.domains_protected),
            count(host.domains_ha),
            host.reason.clone(),
        ]);
    }
    lines(&rows)
}

fn state(host: &Host) -> String {
    match (host.state, &host.evidence, host.verdict_left_ms) {
        (HostState::Gone, Some(evidence), _) => format!("gone ({evidence})"),
        (HostState::Stalled | HostState::Fencing, _, Some(left)) => {
            format!("{} (verdict in {})", host.state.as_str(), duration_ms(left))
        }
        (state, ..) => state.as_str().to_owned(),
    }
}

fn domains(domains: &[Domain]) -> String {
    let mut rows = table(&["DOMAIN", "RUNNING", "PROTECTED", "HA", "PRIORITY", "LEASE", "TERM"]);
    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    for domain in domains {
        rows.add_row([
            domain.name.clone(),
            word(domain.running),
            word(domain.protected),
            if domain.hold { "on hold".to_owned() } else { word(domain.ha) },
            if domain.ha { domain.priority.to_string() } else { "-".to_owned() },
            domain.lease.clone(),
            domain.term.map_or_else(|| "-".to_owned(), |term| term.to_string()),
        ]);
    }
    lines(&rows)
}

fn recoveries(recoveries: &[Recovery]) -> String {
    let mut rows = table(&["RECOVERY OF", "FROM", "STAGE", "SINCE", "WHY"]);
    for recovery in recoveries {
        rows.add_row([
            recovery.name.clone().unwrap_or_else(|| recovery.uuid.clone()),
            recovery.from.clone(),
            recovery.stage.clone(),
            clock_time(recovery.since_unix_ms),
            recovery.reason.clone(),
        ]);
    }
    lines(&rows)
}
