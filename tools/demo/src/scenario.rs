//! The three ways to lose a host. Each takes the host on which the guest runs, does something to it, watches the others
//! take over, mends what was done, and waits until the victim belongs to the cluster again.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;

use crate::checker;
use crate::cluster::{Cluster, ClusterError};
use crate::command;
use crate::guest::{Guest, GuestError};
use crate::host::{AGENT, HostError};
use crate::lease_file::LeaseFile;
use crate::story::{Event, Kind, Story};
use crate::verdict::{Condemned, SplitBrain};
use crate::wait::{self, WaitError};
use crate::witness::{Seen, Sight, Witness};

/// Longest that a guest may stay away.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the witness saw this long before a scenario belongs to its story.
const BEFORE: Duration = Duration::from_secs(3);

/// Why a scenario did not end as it should.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The one thing that must never happen, or a disk that has lost a write.
    #[error(transparent)]
    Condemned(#[from] Condemned),
    /// No host, or more than one, runs the guest.
    #[error("{0} does not run on exactly one host")]
    NoRunner(String),
    /// The lease file or the guest's disk.
    #[error("cannot read {0}: {1}")]
    Read(String, #[source] io::Error),
    /// The guest.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// Hosts.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Waiting.
    #[error(transparent)]
    Wait(#[from] WaitError),
}

impl From<HostError> for ScenarioError {
    fn from(error: HostError) -> Self {
        Self::Cluster(error.into())
    }
}

/// A running cluster, its guest, and the witness who watches them.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The hosts.
    pub cluster: &'a mut Cluster,
    /// The guest that is lost and found.
    pub guest: &'a Guest,
    /// The observer from outside.
    pub witness: &'a Witness,
    /// The lease file.
    pub lease: &'a LeaseFile,
}

impl Stage<'_> {
    /// (a) The host loses its power, and gets it back when the guest runs elsewhere.
    ///
    /// # Errors
    /// When the guest does not come back, comes back twice, or the host does not rejoin.
    pub fn power_cut(&mut self) -> Result<Story, ScenarioError> {
        let mut scene = self.begin('a', |victim| format!("{victim} loses its power"))?;
        let generation = self.generation(&scene)?;
        scene.note(Kind::Fault, "power cut: all that ran on it is gone at once");
        self.cluster.hosts[scene.victim].power_off();
        self.watch_takeover(&mut scene)?;
        scene.note(Kind::Mended, "power is back");
        self.cluster.hosts[scene.victim].power_on()?;
        self.watch_return(&mut scene, generation)?;
        self.judge(scene)
    }

    /// (b) The agent is stopped, as a bug or an overload could stop it, until its host's lease has run out. Then it goes on,
    /// as if nothing had happened.
    ///
    /// # Errors
    /// As [`Stage::power_cut`].
    pub fn stopped_agent(&mut self) -> Result<Story, ScenarioError> {
        let mut scene =
            self.begin('b', |victim| format!("the agent of {victim} is stopped past its lease's end"))?;
        let generation = self.generation(&scene)?;
        scene.note(Kind::Fault, "SIGSTOP to its agent: no more renewals");
        self.cluster.hosts[scene.victim].signal(AGENT, Signal::SIGSTOP)?;
        self.watch_takeover(&mut scene)?;
        scene.note(Kind::Mended, "SIGCONT to its agent");
        self.cluster.hosts[scene.victim].signal(AGENT, Signal::SIGCONT)?;
        self.watch_return(&mut scene, generation)?;
        self.judge(scene)
    }

    /// (c) An operator asks the host to fence itself.
    ///
    /// # Errors
    /// As [`Stage::power_cut`].
    pub fn planned_fence(&mut self) -> Result<Story, ScenarioError> {
        let mut scene = self.begin('c', |victim| format!("an operator fences {victim}"))?;
        let generation = self.generation(&scene)?;
        let operator = scene.observers[0];
        let victim = self.cluster.hosts[scene.victim].name().to_owned();
        scene.note(Kind::Fault, format!("`leasefence fence {victim} --wait`, typed on another host"));
        let words = ["leasefence", "fence", &victim, "--wait", "--timeout", "60s"];
        let answer = self.cluster.hosts[operator].exec(&words)?;
        let sentence = answer.lines().last().unwrap_or_default();
        let proof = format!("proof: {}", sentence.split(", because").next().unwrap_or_default());
        scene.story.enter(SystemTime::now(), self.cluster.hosts[operator].name(), Kind::Verdict, proof);
        self.watch_guest(&mut scene)?;
        self.watch_return(&mut scene, generation)?;
        self.judge(scene)
    }

    fn begin(&self, letter: char, title: impl Fn(&str) -> String) -> Result<Scene, ScenarioError> {
        let hosts: Vec<_> = self.cluster.hosts.iter().map(|host| host.name().to_owned()).collect();
        let runner = || self.cluster.runner(self.guest.name());
        let victim = wait::until("the guest", PATIENCE, runner)
            .map_err(|_| ScenarioError::NoRunner(self.guest.name().into()))?;
        let observers: Vec<_> = (0..hosts.len()).filter(|index| *index != victim).collect();
        let terms = self.cluster.status(observers[0])?.own.terms;
        let stall_survived = Duration::from_millis(terms.lease_ttl_ms - terms.renewal_interval_ms);
        Ok(Scene {
            story: Story {
                letter,
                title: title(&hosts[victim]),
                victim: hosts[victim].clone(),
                hosts,
                events: Vec::new(),
                seen: Vec::new(),
                stall_survived,
                judgement: String::new(),
            },
            victim,
            observers,
            start: SystemTime::now(),
            ttl: Duration::from_millis(terms.lease_ttl_ms),
        })
    }

    fn generation(&self, scene: &Scene) -> Result<u32, ScenarioError> {
        Ok(self.record(scene)?.incarnation.generation.0)
    }

    fn record(&self, scene: &Scene) -> Result<leasefence_core::format::HostRecord, ScenarioError> {
        let read = self.lease.record(&scene.story.victim);
        read.map_err(|error| ScenarioError::Read("the lease file".into(), error))
    }

    /// From a victim that renews no more to the guest's first write elsewhere.
    fn watch_takeover(&self, scene: &mut Scene) -> Result<(), ScenarioError> {
        let victim = scene.story.victim.clone();
        for observer in scene.observers.clone() {
            let verdict = self.cluster.wait_for_verdict(observer, scene.victim)?;
            let since = UNIX_EPOCH + Duration::from_millis(verdict.since_unix_ms.unwrap_or_default());
            let text = format!("verdict: {victim} is gone, {}", verdict.evidence.unwrap_or_default());
            scene.story.enter(since, self.cluster.hosts[observer].name(), Kind::Verdict, text);
        }
        // The victim has not written since: its record still is the last one of its incarnation.
        let renewal = UNIX_EPOCH + Duration::from_nanos(self.record(scene)?.wall_ns);
        scene.story.enter(renewal, &victim, Kind::LastRenewal, "last renewal");
        scene.story.enter(renewal + scene.ttl, &victim, Kind::LeaseEnd, "its lease ends");
        self.watch_guest(scene)
    }

    /// Waits for the guest's first write elsewhere, then takes over what the witness saw of it.
    fn watch_guest(&self, scene: &mut Scene) -> Result<(), ScenarioError> {
        let victim = scene.story.victim.clone();
        let elsewhere = |sight: &Sight| matches!(sight, Sight::Write(record) if record.host != victim && record.counter == 1);
        let first_write = || self.witness.since(scene.start).into_iter().find(|(_, sight)| elsewhere(sight));
        wait::until("the guest's first write on another host", PATIENCE, first_write)?;
        scene.take_over(&self.witness.since(scene.start), &victim);
        scene.story.events.extend(self.leases_won(scene)?);
        scene.story.events.sort_by_key(|event| (event.at, event.kind));
        Ok(())
    }

    /// What the agents themselves say about the guest's lease, in `leasefence status`.
    fn leases_won(&self, scene: &Scene) -> Result<Vec<Event>, ScenarioError> {
        let mut won = Vec::new();
        for observer in &scene.observers {
            for decision in self.cluster.status(*observer)?.decisions {
                let at = UNIX_EPOCH + Duration::from_millis(decision.at_unix_ms);
                if at >= scene.start && decision.event == "lease" && decision.text.contains("is owned here") {
                    let host = self.cluster.hosts[*observer].name().to_owned();
                    won.push(Event { at, host, kind: Kind::LeaseWon, text: "wins the guest's lease".into() });
                }
            }
        }
        Ok(won)
    }

    /// Waits until the victim holds a lease under a higher generation.
    fn watch_return(&self, scene: &mut Scene, generation: u32) -> Result<(), ScenarioError> {
        let host = &self.cluster.hosts[scene.victim];
        let what = format!("{} to rejoin; see {}", host.name(), host.log(AGENT).display());
        let held = || {
            let own = self.cluster.status(scene.victim).ok()?.own;
            own.generation.filter(|now| own.state == "held" && *now > generation)
        };
        let now = wait::until(&what, PATIENCE, held)?;
        scene.note(Kind::Rejoined, format!("holds a lease again, in generation {now} (it was {generation})"));
        Ok(())
    }

    /// The last word is the disk's.
    fn judge(&self, scene: Scene) -> Result<Story, ScenarioError> {
        let verdict = checker::check_disk(self.guest.disk());
        let verdict = verdict.map_err(|error| ScenarioError::Read("the guest's disk".into(), error))?;
        let verdict = verdict.into_result()?;
        let mut story = scene.story;
        story.seen = self.witness.since(scene.start - BEFORE);
        story.judgement =
            format!("{} writes, {} lives, one writer at a time", verdict.writes(), verdict.lives.len());
        Ok(story)
    }
}

/// A story while it is being made.
struct Scene {
    story: Story,
    victim: usize,
    observers: Vec<usize>,
    start: SystemTime,
    ttl: Duration,
}

impl Scene {
    /// Something that happens to the victim now.
    fn note(&mut self, kind: Kind, text: impl Into<String>) {
        let victim = self.story.victim.clone();
        self.story.enter(SystemTime::now(), &victim, kind, text);
    }

    fn take_over(&mut self, seen: &[Seen], victim: &str) {
        for (at, sight) in seen {
            match sight {
                Sight::Ended(host) if host == victim => {
                    self.story.enter(*at, host, Kind::GuestKilled, "the guest's process is gone");
                }
                Sight::Started(host) if host != victim => {
                    self.story.enter(*at, host, Kind::GuestStarted, "the guest's new process");
                }
                Sight::Write(record) if record.host != victim && record.counter == 1 => {
                    let text = format!("the guest's first write, in its generation {}", record.generation);
                    self.story.enter(*at, &record.host, Kind::FirstWrite, text);
                }
                _ => {}
            }
        }
    }
}

/// Proves that the judge can see: starts one guest on two hosts on purpose, and returns what the judge says.
///
/// # Errors
/// When the guest cannot be started, or the judge is blind.
pub fn self_check(cluster: &Cluster, guest: &Guest) -> Result<SplitBrain, ScenarioError> {
    let hosts = &cluster.hosts[..2];
    for host in hosts {
        guest.start(host)?;
    }
    let verdict = wait::until("the checker to see two writers", PATIENCE, || {
        checker::check_disk(guest.disk()).ok()?.split_brains.into_iter().next()
    })?;
    for host in hosts {
        guest.remove(host)?;
    }
    Ok(verdict)
}

impl From<command::CommandError> for ScenarioError {
    fn from(error: command::CommandError) -> Self {
        Self::Cluster(error.into())
    }
}
