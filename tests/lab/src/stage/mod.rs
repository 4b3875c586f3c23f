//! Where a scenario is played: the host that runs the guest, the two that watch it, and the words in which scenarios are written:
//! what is done stands here, what must be seen in `sees`.

mod sees;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use leasefence_demo::story::{Kind, Story};
use leasefence_demo::wait;
use leasefence_demo::witness::Seen;

use crate::clocks::Clocks;
use crate::cluster::{Cluster, LEASE_TTL, PATIENCE};
use crate::guest;
use crate::inside::{Judgement, Renewal};
use crate::lab::{Directions, Lab};
use crate::machine::{Machine, Network, STORAGE, hypervisors};
use crate::resets::Reset;
use crate::scenario::{Failure, Scenario};
use crate::switch::Effect;
use crate::witness::Witness;

/// What the witness saw this long before a scenario belongs to its story.
const BEFORE: Duration = Duration::from_secs(3);

/// Where a migration that nobody waits for says how it ended.
const MIGRATION_LOG: &str = "/run/migration.log";

/// A scenario while it is played.
#[derive(Debug)]
pub struct Stage<'a> {
    cluster: &'a Cluster,
    witness: &'a Witness,
    clocks: Clocks,
    story: Story,
    victim: &'static str,
    observers: Vec<&'static str>,
    /// Of each host that had one when the scenario began.
    generations: BTreeMap<&'static str, u32>,
    /// How often each host had come up when the scenario began.
    boots: BTreeMap<&'static str, usize>,
    /// By what the others said that the victim is gone: its next incarnation hides it.
    evidence: Vec<(&'static str, String)>,
    /// From its last renewal to the earliest verdict by time, as the victim promised when the scenario began.
    verdict_after: Duration,
    /// From its last renewal to the end of its fence budget: by then it is quiet, or was reset.
    over_after: Duration,
    /// Whether somebody asked the victim to fence itself: then its lease is shorter than it had promised.
    fence_asked: bool,
    start: SystemTime,
    /// Since when the guest's life is one: since then, or since the scenario began it anew.
    guest_since: SystemTime,
}

impl<'a> Stage<'a> {
    /// Sets the stage: the victim is the one host that runs the guest.
    ///
    /// # Errors
    /// When there is none, or a host does not answer.
    pub fn set(
        cluster: &'a Cluster,
        witness: &'a Witness,
        scenario: &Scenario,
        letter: char,
    ) -> Result<Self, Failure> {
        let victim = cluster.runner()?;
        let terms = cluster.status(victim)?.own.terms;
        let start = SystemTime::now();
        let mut stage = Self {
            cluster,
            witness,
            clocks: Clocks::read(cluster.lab())?,
            story: Story {
                letter,
                title: format!("{} on {}: {victim} {}", scenario.name, cluster.storage(), scenario.what),
                hosts: hypervisors().map(str::to_owned).collect(),
                victim: victim.into(),
                events: Vec::new(),
                seen: Vec::new(),
                stall_survived: Duration::from_millis(terms.lease_ttl_ms - terms.renewal_interval_ms),
                judgement: String::new(),
            },
            victim,
            observers: hypervisors().filter(|host| *host != victim).collect(),
            generations: BTreeMap::new(),
            boots: hypervisors().map(|host| (host, cluster.lab().boots(host))).collect(),
            evidence: Vec::new(),
            verdict_after: Duration::from_millis(terms.verdict_after_ms),
            over_after: Duration::from_millis(terms.lease_ttl_ms + terms.fence_budget_ms),
            fence_asked: false,
            start,
            guest_since: start,
        };
        for host in hypervisors() {
            stage.generations.insert(host, stage.renewal(host)?.generation);
        }
        Ok(stage)
    }

    /// A host's generation when the scenario began.
    fn generation_before(&self, host: &str) -> u32 {
        self.generations.get(host).copied().unwrap_or_default()
    }

    /// The lab.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        self.cluster.lab()
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        self.cluster
    }

    /// The host that runs the guest when the scenario begins.
    #[must_use]
    pub fn victim(&self) -> &'static str {
        self.victim
    }

    /// The others.
    #[must_use]
    pub fn observers(&self) -> &[&'static str] {
        &self.observers
    }

    /// The scenario itself has begun the guest anew: what it was before is no life that must go on.
    pub fn guest_begins_anew(&mut self) {
        self.guest_since = SystemTime::now();
    }

    /// Enters what happens now into the story.
    pub fn note(&mut self, kind: Kind, text: impl Into<String>) {
        self.story.enter(SystemTime::now(), self.victim, kind, text);
    }

    /// The last renewal of a host, as it stands in the lease file on the storage machine.
    fn renewal(&self, host: &str) -> Result<Renewal, Failure> {
        let lease = self.cluster.storage().lease_at_home();
        let text = self.lab().exec(STORAGE, &format!("/lab/leasefence-lab inside record {lease} {host}"))?;
        serde_json::from_str(&text).map_err(|error| Failure::Unmet(format!("the record of {host}: {error}")))
    }

    /// Runs a shell command on the storage machine.
    ///
    /// # Errors
    /// When it fails.
    pub fn on_storage(&self, command: &str) -> Result<String, Failure> {
        Ok(self.lab().exec_for(STORAGE, command, PATIENCE)?)
    }

    /// Lets frames of a machine on a network meet an effect.
    ///
    /// # Errors
    /// When the switch does not answer.
    pub fn impair(
        &mut self,
        machine: &str,
        network: Network,
        directions: Directions,
        effect: Effect,
        text: &str,
    ) -> Result<(), Failure> {
        self.note(Kind::Fault, text);
        Ok(self.lab().impair(machine, network, directions, effect)?)
    }

    /// Pulls the victim's plug.
    ///
    /// # Errors
    /// When its QEMU does not end.
    pub fn power_off(&mut self) -> Result<(), Failure> {
        self.note(Kind::Fault, "power cut: all that ran on it is gone at once");
        Ok(self.lab().power_off(self.victim)?)
    }

    /// Switches the victim on again.
    ///
    /// # Errors
    /// When it does not boot.
    pub fn power_on(&mut self) -> Result<(), Failure> {
        self.note(Kind::Mended, "power is back");
        let machine = Machine::named(self.victim).ok_or_else(|| Failure::Unmet("no such machine".into()))?;
        Ok(self.lab().power_on(machine)?)
    }

    /// Silences the victim's storage network.
    ///
    /// # Errors
    /// When the switch does not answer.
    pub fn cut_storage(&mut self) -> Result<(), Failure> {
        self.note(Kind::Fault, "its storage network falls silent");
        Ok(self.lab().impair(self.victim, Network::Storage, Directions::Both, Effect::Drop)?)
    }

    /// Undoes all cuts.
    ///
    /// # Errors
    /// When the switch does not answer.
    pub fn heal(&mut self) -> Result<(), Failure> {
        self.note(Kind::Mended, "the network is whole again");
        Ok(self.lab().heal(None, None)?)
    }

    /// Lets a share of the ttl pass.
    ///
    /// # Errors
    /// On an interrupt.
    pub fn wait_ttl(&self, share: f64) -> Result<(), Failure> {
        Ok(wait::pause(LEASE_TTL.mul_f64(share))?)
    }

    /// Runs a shell command on the victim, as its administrator.
    ///
    /// # Errors
    /// When it fails.
    pub fn on_victim(&self, command: &str) -> Result<String, Failure> {
        Ok(self.lab().exec_for(self.victim, command, PATIENCE)?)
    }

    /// Takes back what was done on the victim by a shell command. A host that was reset since has forgotten what was done to it.
    ///
    /// # Errors
    /// When it fails.
    pub fn undo_on_victim(&self, command: &str) -> Result<(), Failure> {
        if self.was_reset() {
            return Ok(());
        }
        match self.on_victim(command) {
            Err(_) if self.was_reset() => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// All resets of hypervisors since the scenario began.
    fn resets(&self) -> Vec<Reset> {
        self.witness.resets_since(self.start)
    }

    /// Whether the victim was reset since the scenario began.
    fn was_reset(&self) -> bool {
        self.resets().iter().any(|reset| reset.host == self.victim)
    }

    /// Waits until a host that was reset since the scenario began is up: on a busy machine that takes longer than anything else.
    fn wait_until_up(&self, host: &'static str) -> Result<(), Failure> {
        if self.resets().iter().any(|reset| reset.host == host) {
            let before = self.boots.get(host).copied().unwrap_or_default();
            self.lab().wait_for_boot(host, before + 1)?;
        }
        Ok(())
    }

    /// Has the victim use this watchdog, as its administrator would. What is to be seen counts from then on.
    ///
    /// # Errors
    /// When it does not come to have one of this class, or the guest is not protected any more.
    pub fn uses_watchdog(&mut self, device: &str, class: &str) -> Result<(), Failure> {
        let victim = self.victim;
        self.cluster.use_watchdog(victim, device, class)?;
        self.generations.insert(victim, self.renewal(victim)?.generation);
        Ok(self.cluster.wait_until_protected(self.cluster.runner()?)?)
    }

    /// Has the victim ask for its own reset, with this watchdog behind it. What is to be seen counts from then on.
    ///
    /// # Errors
    /// When it does not come to say whether it has one, or the guest is not protected any more.
    pub fn uses_reset(&mut self, watchdog: (&str, &str), on: bool) -> Result<(), Failure> {
        let victim = self.victim;
        self.cluster.use_reset(victim, watchdog, on)?;
        self.generations.insert(victim, self.renewal(victim)?.generation);
        Ok(self.cluster.wait_until_protected(self.cluster.runner()?)?)
    }

    /// Migrates the guest to another host, as its administrator would, over the network between the hosts.
    ///
    /// # Errors
    /// When virsh says so.
    pub fn migrates(&mut self, to: &str, options: &str) -> Result<(), Failure> {
        self.note(Kind::Fault, format!("virsh migrate --live {options} to {to}"));
        self.on_victim(&migration(to, options)?)?;
        Ok(())
    }

    /// Begins the same and does not wait for its end.
    ///
    /// # Errors
    /// When it does not begin.
    pub fn begins_to_migrate(&mut self, to: &str) -> Result<(), Failure> {
        self.note(Kind::Fault, format!("virsh migrate --live to {to}"));
        self.on_victim(&format!("setsid sh -c '{}' >{MIGRATION_LOG} 2>&1 </dev/null &", migration(to, "")?))?;
        Ok(())
    }

    /// Enters what came of it into the story. A host that was reset meanwhile has forgotten it.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn notes_migration(&mut self) -> Result<(), Failure> {
        let said = self.on_victim(&format!("cat {MIGRATION_LOG} 2>/dev/null || echo 'nothing is left'"))?;
        let said = if said.trim().is_empty() { "no error" } else { said.trim() };
        self.note(Kind::Mended, format!("the migration's end: {said}"));
        Ok(())
    }

    /// From now on the victim is this host, as it is now: the guest has moved to it.
    ///
    /// # Errors
    /// When it does not have the guest and its lease.
    pub fn follows_guest_to(&mut self, host: &'static str) -> Result<(), Failure> {
        self.cluster.wait_until_protected(host)?;
        let runners = self.cluster.runners()?;
        if runners != [host] {
            return Err(Failure::Unmet(format!("the guest was to run on {host}; it runs on {runners:?}")));
        }
        self.victim = host;
        self.story.victim = host.into();
        self.observers = hypervisors().filter(|other| *other != host).collect();
        Ok(())
    }

    /// Runs `leasefence fence VICTIM` on another host, as an operator.
    ///
    /// # Errors
    /// When it fails.
    pub fn asks_fence(&mut self, options: &str) -> Result<(), Failure> {
        let (operator, command) = (self.observers[0], format!("fence {} {options}", self.victim));
        self.note(Kind::Fault, format!("`leasefence {}` on {operator}", command.trim_end()));
        self.fence_asked = true;
        self.cluster.leasefence(operator, &command)?;
        Ok(())
    }

    /// Ends what is told of it.
    pub fn ends(&mut self) {
        self.story.seen = self.witness.since(self.start.checked_sub(BEFORE).unwrap_or(self.start));
    }

    /// Judges the disk: the last word is its, whatever the scenario says.
    pub fn judge(mut self, outcome: Result<(), Failure>) -> (Story, Result<(), Failure>) {
        let disk = self.cluster.storage().guest_disk_at_home();
        // A scenario that failed may have left it standing still.
        self.lab().thaw(STORAGE).ok();
        let judge = format!("/lab/leasefence-lab inside judge {disk}");
        let judged = match self.lab().exec_for(STORAGE, &judge, PATIENCE) {
            Ok(text) => self.judged(&text),
            Err(error) => Err(error.into()),
        };
        // What the disk shows weighs more than what the hosts say.
        (self.story, judged.and(outcome))
    }

    fn judged(&mut self, text: &str) -> Result<(), Failure> {
        let judgement: Judgement = serde_json::from_str(text)
            .map_err(|error| Failure::Unmet(format!("the judge prints what is not understood: {error}")))?;
        let Judgement { writes, lives, split_brains, only_late, damage } = judgement;
        self.story.judgement = match (split_brains.first(), damage.first()) {
            (Some(first), _) => format!("{} signs of two writers, the first: {first}", split_brains.len()),
            (None, Some(first)) => format!("damaged: {first}"),
            (None, None) => format!("{writes} writes, {lives} lives, one writer at a time"),
        };
        match (split_brains.is_empty(), damage.is_empty()) {
            (false, _) => Err(Failure::SplitBrain { late: only_late, text: self.story.judgement.clone() }),
            (true, false) => Err(Failure::Damaged(self.story.judgement.clone())),
            (true, true) => Ok(()),
        }
    }

    /// What the witness saw since the scenario began.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.witness.since(self.start)
    }
}

/// The shell command that migrates the guest from the host where it runs.
///
/// # Errors
/// When there is no such machine.
fn migration(to: &str, options: &str) -> Result<String, Failure> {
    let machine = Machine::named(to).ok_or_else(|| Failure::Unmet(format!("there is no machine {to}")))?;
    let (name, address) = (guest::NAME, machine.address(Network::Cluster));
    Ok(format!(
        "virsh --quiet migrate --live {options} {name} qemu+tcp://{address}/system --migrateuri tcp://{address}"
    ))
}
