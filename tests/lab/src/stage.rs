//! Where a scenario is played: the host that runs the guest, the two that watch it, and the words in which scenarios are written.

use std::time::{Duration, SystemTime};

use leasefence_demo::story::{Event, Kind, Story};
use leasefence_demo::wait;
use leasefence_demo::witness::{Seen, Sight};

use crate::clocks::Clocks;
use crate::cluster::{Cluster, LEASE_TTL, PATIENCE};
use crate::inside::{Judgement, Renewal};
use crate::lab::{Directions, Lab};
use crate::machine::{Machine, Network, STORAGE, hypervisors};
use crate::scenario::{Failure, Scenario};
use crate::switch::Effect;
use crate::witness::Witness;

/// What the witness saw this long before a scenario belongs to its story.
const BEFORE: Duration = Duration::from_secs(3);

/// A scenario while it is played.
#[derive(Debug)]
pub struct Stage<'a> {
    cluster: &'a Cluster,
    witness: &'a Witness,
    clocks: Clocks,
    story: Story,
    victim: &'static str,
    observers: Vec<&'static str>,
    generation: u32,
    start: SystemTime,
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
        let one = || match cluster.runners() {
            Ok(hosts) if hosts.len() == 1 => hosts.first().copied(),
            _ => None,
        };
        let victim = cluster.look("the guest to run on one host", PATIENCE, one)?;
        let terms = cluster.status(victim)?.own.terms;
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
            generation: 0,
            start: SystemTime::now(),
        };
        stage.generation = stage.renewal(victim)?.generation;
        Ok(stage)
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

    // --- what is done ---

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

    // --- what must be seen ---

    /// Waits for verdicts on both other hosts and for the guest's first write on one of them.
    ///
    /// # Errors
    /// When one does not come.
    pub fn sees_takeover(&mut self) -> Result<(), Failure> {
        self.sees_verdicts()?;
        self.sees_guest_elsewhere()
    }

    /// Waits until both others say that the victim is gone.
    ///
    /// # Errors
    /// When one does not.
    pub fn sees_verdicts(&mut self) -> Result<(), Failure> {
        for observer in self.observers.clone() {
            let what = format!("{observer} to say that {} is gone", self.victim);
            let gone = || {
                self.cluster.verdict(observer, self.victim).ok().filter(|verdict| verdict.evidence.is_some())
            };
            let verdict = self.cluster.look(&what, PATIENCE, gone)?;
            let since = Duration::from_millis(verdict.since_unix_ms.unwrap_or_default());
            let text = format!("verdict: {} is gone, {}", self.victim, verdict.evidence.unwrap_or_default());
            self.story.enter(self.clocks.here(observer, since), observer, Kind::Verdict, text);
        }
        let renewal = self.renewal(self.victim)?;
        if renewal.generation == self.generation {
            let at = self.clocks.here(self.victim, Duration::from_nanos(renewal.wall_ns));
            self.story.enter(at, self.victim, Kind::LastRenewal, "last renewal");
            self.story.enter(at + LEASE_TTL, self.victim, Kind::LeaseEnd, "its lease ends");
        }
        Ok(())
    }

    /// Both others say that the victim is gone by this evidence, and no other.
    ///
    /// # Errors
    /// When they know it by another.
    pub fn sees_evidence(&self, wanted: &str) -> Result<(), Failure> {
        for observer in &self.observers {
            let evidence = self.cluster.verdict(observer, self.victim)?.evidence.unwrap_or_default();
            if evidence != wanted {
                return Err(Failure::Unmet(format!(
                    "{} is {evidence} to {observer}, not {wanted}",
                    self.victim
                )));
            }
        }
        Ok(())
    }

    /// Waits for the guest's first write on another host, and takes over what the witness saw of it.
    ///
    /// # Errors
    /// When it does not come.
    pub fn sees_guest_elsewhere(&mut self) -> Result<(), Failure> {
        let victim = self.victim;
        let elsewhere = |sight: &Sight| matches!(sight, Sight::Write(record) if record.host != victim && record.counter == 1);
        let first = || self.witness.since(self.start).into_iter().find(|(_, sight)| elsewhere(sight));
        self.cluster.look("the guest's first write on another host", PATIENCE, first)?;
        for (at, sight) in self.witness.since(self.start) {
            self.enter_sight(at, &sight);
        }
        let won = self.leases_won()?;
        self.story.events.extend(won);
        self.story.events.sort_by_key(|event| (event.at, event.kind));
        Ok(())
    }

    fn enter_sight(&mut self, at: SystemTime, sight: &Sight) {
        match sight {
            Sight::Ended(host) if host == self.victim => {
                self.story.enter(at, host, Kind::GuestKilled, "the guest's process is gone");
            }
            Sight::Started(host) if host != self.victim => {
                self.story.enter(at, host, Kind::GuestStarted, "the guest's new process");
            }
            Sight::Write(record) if record.host != self.victim && record.counter == 1 => {
                let text = format!("the guest's first write, in its generation {}", record.generation);
                self.story.enter(at, &record.host, Kind::FirstWrite, text);
            }
            _ => {}
        }
    }

    /// What the agents themselves say about the guest's lease.
    fn leases_won(&self) -> Result<Vec<Event>, Failure> {
        let mut won = Vec::new();
        for observer in &self.observers {
            for decision in self.cluster.status(observer)?.decisions {
                let at = self.clocks.here(observer, Duration::from_millis(decision.at_unix_ms));
                if at >= self.start && decision.event == "lease" && decision.text.contains("is owned here") {
                    let host = (*observer).to_owned();
                    won.push(Event { at, host, kind: Kind::LeaseWon, text: "wins the guest's lease".into() });
                }
            }
        }
        Ok(won)
    }

    /// Waits until the victim holds a lease under a higher generation.
    ///
    /// # Errors
    /// When it does not.
    pub fn sees_return(&mut self) -> Result<(), Failure> {
        let (victim, before) = (self.victim, self.generation);
        let held = self.cluster.wait_until_held(victim, before)?;
        let how = if held.rebooted { ", after the reboot that its status asked for" } else { "" };
        let text = format!("holds a lease again, in generation {} (it was {before}){how}", held.generation);
        self.note(Kind::Rejoined, text);
        Ok(())
    }

    /// Waits for half a ttl; then nobody may have been fenced: each host holds its lease and has renewed it in that time, the
    /// victim under the same generation, and the guest has gone on writing there in the same life. Call it when what was done is
    /// undone: a host that has renewed since is out of danger.
    ///
    /// # Errors
    /// When somebody was fenced.
    pub fn sees_nobody_fenced(&mut self) -> Result<(), Failure> {
        wait::pause(LEASE_TTL / 2)?;
        for host in hypervisors() {
            let own = self.cluster.status(host)?.own;
            if own.state != "held" {
                return Err(Failure::Unmet(format!("{host} was to keep its lease; it is {}", own.state)));
            }
            let age = own.last_renewal_age_ms.map(Duration::from_millis);
            if age.is_none_or(|age| age >= LEASE_TTL / 2) {
                return Err(Failure::Unmet(format!(
                    "{host} was to renew its lease; it last did {age:?} ago"
                )));
            }
            if host == self.victim && own.generation != Some(self.generation) {
                let text =
                    format!("{host} was fenced: generation {} and now {:?}", self.generation, own.generation);
                return Err(Failure::Unmet(text));
            }
        }
        self.sees_guest_unharmed()
    }

    /// The guest has written within the last seconds, on the victim, in the life in which it began.
    ///
    /// # Errors
    /// When it has not.
    pub fn sees_guest_unharmed(&mut self) -> Result<(), Failure> {
        let mut lives: Vec<String> = Vec::new();
        let mut last = None;
        for (at, sight) in self.witness.since(self.start) {
            if let Sight::Write(record) = sight {
                if !lives.contains(&record.boot) {
                    lives.push(record.boot);
                }
                last = Some(at);
            }
        }
        let fresh = last.is_some_and(|at| at.elapsed().unwrap_or_default() < LEASE_TTL / 2);
        match lives.len() {
            1 if fresh => Ok(()),
            1 => Err(Failure::Unmet("the guest writes no more".into())),
            0 => Err(Failure::Unmet("the guest has not written".into())),
            more => Err(Failure::Unmet(format!("the guest was restarted: {more} lives"))),
        }
    }

    /// Waits until all three hosts hold a lease.
    ///
    /// # Errors
    /// When one does not.
    pub fn sees_all_held(&mut self) -> Result<(), Failure> {
        let mut rebooted = 0;
        for host in hypervisors() {
            rebooted += u32::from(self.cluster.wait_until_held(host, 0)?.rebooted);
        }
        let text =
            format!("all three hold their leases; {rebooted} took the reboot that their status asked for");
        self.note(Kind::Rejoined, text);
        Ok(())
    }

    /// Waits until the guest writes again, wherever it runs, on one host alone.
    ///
    /// # Errors
    /// When it does not, or runs twice.
    pub fn sees_guest_on_one_host(&mut self) -> Result<(), Failure> {
        let since = SystemTime::now();
        let writes = || {
            let seen = self.witness.since(since);
            seen.into_iter().find_map(|(at, sight)| match sight {
                Sight::Write(record) => Some((at, record)),
                _ => None,
            })
        };
        let (at, record) = self.cluster.look("the guest to write again", PATIENCE, writes)?;
        let text = format!("the guest writes, in its generation {}", record.generation);
        self.story.enter(at, &record.host, Kind::FirstWrite, text);
        let runners = self.cluster.runners()?;
        match runners.len() {
            1 => Ok(()),
            _ => Err(Failure::Unmet(format!("the guest runs on {runners:?}"))),
        }
    }

    /// Ends the scenario: the last word is the disk's, whatever the scenario says.
    pub fn end(mut self, outcome: Result<(), Failure>) -> (Story, Result<(), Failure>) {
        self.story.seen = self.witness.since(self.start.checked_sub(BEFORE).unwrap_or(self.start));
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
        let Judgement { writes, lives, split_brains, damage } = judgement;
        self.story.judgement = match (split_brains.first(), damage.first()) {
            (Some(first), _) => format!("{} signs of two writers, the first: {first}", split_brains.len()),
            (None, Some(first)) => format!("damaged: {first}"),
            (None, None) => format!("{writes} writes, {lives} lives, one writer at a time"),
        };
        match (split_brains.is_empty(), damage.is_empty()) {
            (false, _) => Err(Failure::SplitBrain(self.story.judgement.clone())),
            (true, false) => Err(Failure::Unmet(self.story.judgement.clone())),
            (true, true) => Ok(()),
        }
    }

    /// What the witness saw since the scenario began.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.witness.since(self.start)
    }
}
