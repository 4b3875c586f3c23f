//! Plays scenarios in turn on one lab, and makes it whole again between them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use leasefence_demo::story::Story;
use leasefence_say::say;

use crate::beside::Turns;
use crate::cluster::{Cluster, PATIENCE};
use crate::guest;
use crate::lab::Lab;
use crate::machine::{MACHINES, Role};
use crate::report::{self, Entry};
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::storage::Storage;
use crate::switch::Request;
use crate::witness::Witness;

/// Where the labs of this machine take turns.
const TURNS: &str = "/run/lock";

/// Plays scenarios.
#[derive(Debug)]
pub struct Runner {
    lab: Lab,
    package: Option<PathBuf>,
    reuse: bool,
    begun: Instant,
}

/// What came of a scenario.
struct Played {
    story: Option<Story>,
    outcome: Result<(), Failure>,
    /// Whether the next one can be played on what is there.
    whole: bool,
}

impl Runner {
    /// On this lab, with this package instead of the one that was built last; `reuse`: on the cluster that is up.
    #[must_use]
    pub fn new(lab: &Lab, package: Option<PathBuf>, reuse: bool) -> Self {
        Self { lab: lab.clone(), package, reuse, begun: Instant::now() }
    }

    /// How long it has been at work.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.begun.elapsed()
    }

    fn tell(&self, what: &str) {
        say!("  [{:4.0} s] {what}", self.begun.elapsed().as_secs_f64());
    }

    /// Plays all of them on one kind of storage, from fresh machines. An entry each, and the report is written anew after each.
    ///
    /// # Errors
    /// When the lab cannot be set up or the report not be written, or on an interrupt.
    pub fn play(
        &self,
        scenarios: &[Scenario],
        storage: Storage,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Failure> {
        let cluster = Cluster::of(&self.lab, storage);
        let turns = Turns::at(Path::new(TURNS))?;
        let mut witness = if self.reuse { Some(self.found(&cluster)?) } else { None };
        let scenarios: Vec<_> = scenarios.iter().filter(|one| one.on.contains(&storage)).collect();
        for (scenario, letter) in scenarios.iter().zip(('a'..='z').cycle()) {
            let _turn = turns.wait(scenario.alone)?;
            let watching = match witness.take() {
                Some(witness) => witness,
                None => self.fresh(&cluster)?,
            };
            let begun = Instant::now();
            self.tell(&format!("{} on {storage}: the guest's host {}", scenario.name, scenario.what));
            let Played { story, outcome, whole } = self.play_one(&cluster, &watching, scenario, letter)?;
            let spoilt = outcome.as_ref().is_err_and(Failure::spoils_the_disk);
            let waited = watching.longest_wait_since(SystemTime::now() - begun.elapsed());
            let entry = Entry::new(scenario, storage, story, &outcome, begun.elapsed(), waited);
            say!("{}", entry.line());
            entries.push(entry);
            report::write(&self.lab.report_dir(), &self.lab.image().kernel_version(), entries, self.took())
                .map_err(|error| Failure::Unmet(format!("the report cannot be written: {error}")))?;
            witness = (whole && !spoilt).then_some(watching);
        }
        Ok(())
    }

    /// Plays one, makes the lab whole again, and only then has the disk judged: what comes late comes meanwhile.
    fn play_one(
        &self,
        cluster: &Cluster,
        witness: &Witness,
        scenario: &Scenario,
        letter: char,
    ) -> Result<Played, Failure> {
        let mut stage = match Stage::set(cluster, witness, scenario, letter) {
            Ok(stage) => stage,
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => return Ok(Played { story: None, outcome: Err(failure), whole: false }),
        };
        let storage = cluster.storage();
        let outcome = (scenario.play)(&mut stage);
        stage.ends();
        if outcome.is_err() {
            self.keep_logs(scenario, storage);
        }
        let whole = match &outcome {
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(_) if scenario.known_red_on(storage).is_none() => false,
            _ => self.is_whole_again(cluster)?,
        };
        let played = outcome.is_ok();
        let (story, outcome) = stage.judge(outcome);
        if played && outcome.is_err() {
            self.keep_logs(scenario, storage);
        }
        Ok(Played { story: Some(story), outcome, whole })
    }

    fn is_whole_again(&self, cluster: &Cluster) -> Result<bool, Failure> {
        match self.make_whole(cluster) {
            Ok(()) => Ok(true),
            Err(Failure::Interrupted) => Err(Failure::Interrupted),
            Err(failure) => {
                self.tell(&format!("the lab is not whole again ({failure}): it is made anew"));
                Ok(false)
            }
        }
    }

    /// What the machines say of a scenario that failed, beside the report: they may be made anew.
    fn keep_logs(&self, scenario: &Scenario, storage: Storage) {
        let directory = self.lab.report_dir();
        fs::create_dir_all(&directory).ok();
        let keep = |who: &str, text: String| {
            fs::write(directory.join(format!("{}-{storage}-{who}.log", scenario.name)), text).ok();
        };
        for machine in MACHINES.iter().filter(|machine| self.lab.is_on(machine.name)) {
            let ask = match machine.role {
                Role::Hypervisor => {
                    "leasefence status; journalctl -b -o short-monotonic --no-pager -u 'leasefence-*' -u libvirtd | tail -n 400; dmesg | tail -n 100"
                }
                Role::Storage => {
                    "journalctl -b -o short-monotonic --no-pager | tail -n 400; ip -s link; ip neigh; ss -tn"
                }
            };
            if let Ok(text) = self.lab.exec(machine.name, ask) {
                keep(machine.name, text);
            }
        }
        if let Ok(switch) = self.lab.switch().ask(&Request::Show) {
            keep("switch", format!("{switch:#?}\n"));
        }
    }

    /// The machines as they are, and a cluster on them that works.
    fn found(&self, cluster: &Cluster) -> Result<Witness, Failure> {
        self.lab.up(self.package.as_deref())?;
        self.make_whole(cluster)?;
        Ok(Witness::start(cluster))
    }

    /// New machines, and a cluster on them.
    fn fresh(&self, cluster: &Cluster) -> Result<Witness, Failure> {
        self.lab.down()?;
        self.tell("four machines");
        self.lab.up(self.package.as_deref())?;
        cluster.set_up(|what| self.tell(what))?;
        self.tell("all three hold their leases, and the guest is protected");
        Ok(Witness::start(cluster))
    }

    /// Mends all that a scenario may have left: the network, frozen machines, machines that are off, hosts without a lease, a
    /// guest that is on hold or does not run.
    fn make_whole(&self, cluster: &Cluster) -> Result<(), Failure> {
        self.lab.heal(None, None)?;
        for machine in MACHINES {
            if self.lab.is_on(machine.name) {
                self.lab.thaw(machine.name)?;
            }
            self.lab.power_on(machine)?;
        }
        cluster.wait_until_all_held(|_| 0)?;
        let runner = cluster.runner()?;
        // Two deaths within ten minutes put it on hold; here that is the programme.
        cluster.look("the guest's deaths to be forgiven", PATIENCE, || {
            cluster.leasefence(runner, &format!("ha resume {}", guest::NAME)).ok()
        })?;
        Ok(cluster.wait_until_protected(runner)?)
    }
}
