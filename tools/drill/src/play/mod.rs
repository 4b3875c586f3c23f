//! Plays a rehearsal: canary, act, what must be seen, and everything taken back.

mod act;
mod stage;

use std::path::PathBuf;
use std::time::Duration;

use leasefence_api::Client;
use leasefence_config::Config;

use crate::args::RunArgs;
use crate::canary::Canary;
use crate::ground::{self, Ground, Leave, Refusals};
use crate::judge::{self, Case, Facts, Judgement};
use crate::plan::Plan;
use crate::promise::Promise;
use crate::scenario::Scenario;
use crate::virsh::Virsh;
use crate::watch::{self, Pause, Watch, now_ns};

pub use stage::{Teardown, leftovers};

/// Tells people what goes on; never to standard output, which is the report's.
pub type Tell<'a> = &'a dyn Fn(&str);

/// What a drill works with.
#[derive(Clone, Copy)]
pub struct Player<'a> {
    /// This host's configuration.
    pub config: &'a Config,
    /// Its agent.
    pub client: &'a Client,
    /// What the operator said.
    pub args: &'a RunArgs,
    /// Who is told what goes on.
    pub tell: Tell<'a>,
}

/// A rehearsal that was played to its end.
#[derive(Debug)]
pub struct Played {
    /// What came of it.
    pub judgement: Judgement,
    /// What could not be cleaned up, for people.
    pub notes: Vec<String>,
}

/// A rehearsal on its stage: the canary runs, and everything is looked at.
pub(crate) struct Scene {
    plan: Plan,
    canary: Canary,
    domains: Vec<String>,
    watch: Watch,
    pause: Pause,
    /// Whether the canary's disk must not be looked at while the fencer works.
    unmounts: bool,
}

impl Player<'_> {
    /// What would be done.
    ///
    /// # Errors
    /// Everything that is missing.
    pub fn plan(&self, scenario: Scenario) -> Result<Plan, Refusals> {
        let status = watch::status(self.client).map_err(|error| vec![error.to_string()])?;
        let (storage, uuid) = (self.storage(), self.canary(&status.cluster.name, &status.agent.host_name));
        let mut missing = storage.as_ref().err().cloned().into_iter().collect::<Vec<_>>();
        let ground =
            ground::judge(&status, scenario, &self.leave(), &uuid).map_err(|more| missing.extend(more));
        let (Ok(storage), Ok(ground), true) = (storage, ground, missing.is_empty()) else {
            return Err(missing);
        };
        let promise = Promise::of(&status.own.terms, self.config.libvirt.start_timeout);
        let canary = Canary::of(&ground.cluster, &ground.host, &storage, 0);
        let fence_with = self.args.fence_with.clone();
        Ok(Plan { scenario, ground, promise, canary: canary.name, storage, fence_with })
    }

    /// Plays what was planned.
    ///
    /// # Errors
    /// What kept it from being played: then nothing is said of any promise.
    pub fn play(&self, plan: &Plan) -> Result<Played, Refusals> {
        let mut teardown = Teardown::default();
        let outcome = self.play_on(plan, &mut teardown);
        let notes = self.tear_down(plan, teardown);
        match outcome {
            Ok(judgement) => Ok(Played { judgement, notes }),
            Err(why) => Err(std::iter::once(why).chain(notes).collect()),
        }
    }

    fn play_on(&self, plan: &Plan, teardown: &mut Teardown) -> Result<Judgement, String> {
        let mut scene = self.set(plan, teardown)?;
        // Time has passed: what must be so is asked again, right before it matters.
        let again = self.plan(plan.scenario).map_err(|missing| missing.join(" "))?;
        if (again.ground.slot, again.ground.generation) != (plan.ground.slot, plan.ground.generation) {
            return Err(
                "This host's lease has ended while the canary was prepared: see `leasefence status`."
                    .to_owned(),
            );
        }
        (self.tell)(&format!("now: {}", plan.act()));
        let case = self.act(&mut scene)?;
        Ok(judge::judge(&case, &scene.watch.log))
    }

    pub(crate) fn leave(&self) -> Leave {
        Leave {
            guests: self.args.i_accept_that_guests_die.clone(),
            reset: self.args.i_accept_a_reset,
            fenced_by_peer: self.args.fence_with.is_some(),
            expire_without_hardware: self.config.expire_without_hardware,
        }
    }

    pub(crate) fn virsh(&self) -> Virsh {
        Virsh::new(&self.config.libvirt.uri)
    }

    fn canary(&self, cluster: &str, host: &str) -> String {
        Canary::of(cluster, host, &PathBuf::new(), 0).uuid
    }

    /// Where the canary's disk goes.
    fn storage(&self) -> Result<PathBuf, String> {
        let lease_is_device = std::fs::metadata(&self.config.lease).is_ok_and(|it| {
            use std::os::unix::fs::FileTypeExt;
            it.file_type().is_block_device()
        });
        if self.config.definitions_dir(lease_is_device).is_none() {
            return Err("No domain of this host can be restarted: set definitions_dir in its configuration."
                .to_owned());
        }
        let named = self.args.storage.clone();
        let beside = self.config.lease.parent().filter(|_| !lease_is_device).map(PathBuf::from);
        let Some(directory) = named.or(beside) else {
            let text = "The lease is a block device: name a directory on shared storage with --storage DIR.";
            return Err(text.to_owned());
        };
        match std::fs::canonicalize(&directory) {
            Ok(path) if path.is_dir() => Ok(path),
            Ok(path) => {
                Err(format!("{} is no directory: --storage wants one on shared storage.", path.display()))
            }
            Err(error) => Err(format!("The storage {} cannot be looked at: {error}.", directory.display())),
        }
    }

    /// Waits, and tells every mark as it comes; true when `enough` came in time.
    pub(crate) fn wait(
        &self,
        watch: &mut Watch,
        case: &mut Case,
        patience: Duration,
        mut enough: impl FnMut(&Facts) -> bool,
    ) -> bool {
        let mut told = judge::judge(case, &watch.log).marks;
        watch.until(patience, |log| {
            case.ended_ns = now_ns();
            for mark in judge::judge(case, log).marks {
                if !told.iter().any(|it| (it.kind, &it.host) == (mark.kind, &mark.host)) {
                    (self.tell)(&format!(
                        "{:>9}  {}: {}",
                        crate::report::signed(mark.at_ms),
                        mark.host,
                        mark.text
                    ));
                    told.push(mark);
                }
            }
            enough(&Facts::of(case, log))
        })
    }
}

/// Whether this incarnation is the one that the plan speaks of.
pub(crate) fn incarnation(ground: &Ground) -> (u16, u32) {
    (ground.slot, ground.generation)
}
