//! What a drill stands on: the host, its peers, and everything that must be so before anything is done. Pure, so that each refusal can
//! be tested.

use leasefence_api::{Domain, HostState, Status, WatchdogInfo};
use serde::Serialize;

use crate::scenario::Scenario;

/// What the operator has allowed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Leave {
    /// Domains (name or uuid) that may die.
    pub guests: Vec<String>,
    /// Whether the machine may be reset.
    pub reset: bool,
    /// Whether a peer is told to fence, so that the agent need not end its lease itself.
    pub fenced_by_peer: bool,
    /// Whether this host's configuration lets peers call it expired without a hardware watchdog.
    pub expire_without_hardware: bool,
}

/// This host and its cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Ground {
    /// This host.
    pub host: String,
    /// Its cluster.
    pub cluster: String,
    /// Its slot.
    pub slot: u16,
    /// Its generation.
    pub generation: u32,
    /// The hosts that are alive beside it.
    pub peers: Vec<String>,
    /// Protected domains of the operator that run here: name and uuid.
    pub others: Vec<(String, String)>,
    /// Whether peers may conclude by time alone that it is gone; else they wait for its receipt.
    pub expires: bool,
    /// Its watchdog's class.
    pub watchdog: String,
}

/// What is missing: each a whole sentence that says what to do.
pub type Refusals = Vec<String>;

/// Judges what the agent says, for a scenario. `canary` is the canary's uuid, which is nobody else's.
///
/// # Errors
/// All that is missing.
pub fn judge(status: &Status, scenario: Scenario, leave: &Leave, canary: &str) -> Result<Ground, Refusals> {
    let mut missing = Refusals::new();
    host_is_ready(status, &mut missing);
    let peers: Vec<_> = status
        .hosts
        .iter()
        .filter(|host| !host.own && host.state == HostState::Alive)
        .map(|host| host.name.clone())
        .collect();
    if peers.is_empty() {
        missing.push(
            "No other host of the cluster is alive: nobody could prove this one's end or start its guests."
                .to_owned(),
        );
    }
    let others: Vec<_> = others(status, canary).collect();
    if scenario.risks_guests() {
        guests_are_named(scenario, &others, leave, &mut missing);
    }
    let switch = scenario.needs_switch() || (scenario == Scenario::PlannedFence && !leave.fenced_by_peer);
    if switch && !status.agent.drill_allowed {
        missing.push(
            "Drills that the agent itself takes part in are not allowed here: set drill = \"allowed\" in this host's \
             configuration, and restart its agent (systemctl restart leasefence-agent)."
                .to_owned(),
        );
    }
    if scenario.risks_guests() && scenario != Scenario::WatchdogBite {
        reset_is_accepted(status, &others, leave, &mut missing);
    }
    if scenario == Scenario::WatchdogBite {
        watchdog_can_bite(&status.own.fencer.watchdog, leave, &mut missing);
    }
    let (Some(slot), Some(generation), true) = (status.own.slot, status.own.generation, missing.is_empty())
    else {
        return Err(missing);
    };
    Ok(Ground {
        host: status.agent.host_name.clone(),
        cluster: status.cluster.name.clone(),
        slot,
        generation,
        peers,
        others: others.iter().map(|domain| (domain.name.clone(), domain.uuid.clone())).collect(),
        expires: expires(status, leave),
        watchdog: status.own.watchdog.clone(),
    })
}

/// Protected domains that run here, other than the canary.
fn others<'a>(status: &'a Status, canary: &'a str) -> impl Iterator<Item = &'a Domain> {
    status.domains.iter().filter(move |domain| domain.running && domain.protected && domain.uuid != canary)
}

fn host_is_ready(status: &Status, missing: &mut Refusals) {
    let own = &status.own;
    if status.maintenance.disarmed || own.state == "disarmed" {
        missing.push(
            "This host is in maintenance: nothing would be fenced. Run `leasefence arm` first.".to_owned(),
        );
    } else if own.state != "held" {
        missing.push(format!(
            "This host holds no lease: it is {}. See `leasefence status`, and wait until it says `held`.",
            own.state
        ));
    } else if own.slot.is_none() || own.generation.is_none() {
        missing.push("This host has no slot yet: wait until `leasefence status` shows one.".to_owned());
    }
    if !own.fencer.connected {
        missing.push(
            "There is no fencer beside the agent: see `systemctl status leasefence-fencer`.".to_owned(),
        );
    } else if !own.fencer.armed && own.state == "held" {
        missing.push("The fencer is not armed: nothing would be killed. See `leasefence status`.".to_owned());
    }
    if !status.hypervisor.connected {
        let why = status.hypervisor.error.as_deref().unwrap_or("no answer yet");
        missing.push(format!("libvirt does not answer ({why}): the canary could not be started."));
    }
}

fn guests_are_named(scenario: Scenario, others: &[&Domain], leave: &Leave, missing: &mut Refusals) {
    let named =
        |domain: &&&Domain| leave.guests.iter().any(|name| *name == domain.name || *name == domain.uuid);
    let unnamed: Vec<_> =
        others.iter().filter(|domain| !named(domain)).map(|domain| domain.name.as_str()).collect();
    if unnamed.is_empty() {
        return;
    }
    let dies = if scenario.ends_lease() {
        "would be destroyed"
    } else {
        "would be destroyed if the agent did not come back"
    };
    let flags: Vec<_> = unnamed.iter().map(|name| format!("--i-accept-that-guests-die {name}")).collect();
    missing.push(format!(
        "Protected domains run here and {dies}: {}. Migrate or stop them, or say {}.",
        unnamed.join(", "),
        flags.join(" ")
    ));
}

/// A fence that a guest's storage leaves without a proof ends in a reset, where the host has anything that resets it.
fn reset_is_accepted(status: &Status, others: &[&Domain], leave: &Leave, missing: &mut Refusals) {
    let fencer = &status.own.fencer;
    let resets = fencer.watchdog.device.is_some() || fencer.reset.on;
    let unproven: Vec<_> = others
        .iter()
        .filter(|domain| domain.unproven_storages().next().is_some())
        .map(|domain| domain.name.as_str())
        .collect();
    if resets && !leave.reset && !unproven.is_empty() {
        missing.push(format!(
            "A fence cannot show all storages of {} quiet, so this machine may be reset: migrate or stop them, or say \
             --i-accept-a-reset.",
            unproven.join(", ")
        ));
    }
}

fn watchdog_can_bite(watchdog: &WatchdogInfo, leave: &Leave, missing: &mut Refusals) {
    if !leave.reset {
        missing.push("A watchdog's bite resets this machine: say --i-accept-a-reset.".to_owned());
    }
    if watchdog.device.is_none() {
        let why = watchdog.note.as_deref().unwrap_or("watchdog = \"none\"");
        missing.push(format!("This host has no watchdog that could bite ({why})."));
    }
}

/// ARCHITECTURE 4: `expired` is said of a host of class `hardware`; of the others where header and host permit it, and the host resets
/// itself or the cluster is for tests.
fn expires(status: &Status, leave: &Leave) -> bool {
    let class = &status.own.watchdog;
    class == "hardware"
        || (status.cluster.accepts.contains(class)
            && leave.expire_without_hardware
            && (status.own.fencer.reset.on || status.cluster.test))
}

/// Whether the canary's own storage lets a fence be proven; what is asked once it runs.
///
/// # Errors
/// A sentence that says what to do.
pub fn is_provable(canary: &Domain) -> Result<(), String> {
    let Some(storage) = canary.unproven_storages().next() else { return Ok(()) };
    let remedy = storage.remedy.as_deref().unwrap_or_default();
    Err(format!(
        "A fence now could not show the canary's storage {} quiet: {}. {remedy} Without that proof this host may be reset by its \
         watchdog, or wait for an operator. The lease's own storage never can be shown quiet: name that of your guests with \
         --storage DIR.",
        storage.place,
        storage.reason.as_deref().unwrap_or("no reason is known")
    ))
}

#[cfg(test)]
mod tests;
