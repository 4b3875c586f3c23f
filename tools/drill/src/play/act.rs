//! What is done to the host, and how long it is watched.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use leasefence_api::{DrillAct, DrillRequest};
use rustix::process::Signal;

use super::{Player, Scene, incarnation};
use crate::hold::{Hold, SELF};
use crate::judge::{Case, Facts};
use crate::process::Process;
use crate::scenario::Scenario;
use crate::watch::{self, now_ns};

/// A process that is held is let on this much later at the latest, should the drill itself hang.
const HOLD_SLACK: Duration = Duration::from_secs(30);
const AGENT: &str = "leasefence-agent";
/// What libvirt's daemon for QEMU is called: one for all drivers, or one for this.
const LIBVIRTDS: [&str; 2] = ["virtqemud", "libvirtd"];

impl Player<'_> {
    /// Does it, and watches until all that must be seen was seen, or cannot come any more.
    pub(super) fn act(&self, scene: &mut Scene) -> Result<Case, String> {
        let mut case = Case {
            scenario: scene.plan.scenario,
            host: scene.plan.ground.host.clone(),
            incarnation: incarnation(&scene.plan.ground),
            promise: scene.plan.promise,
            expires: scene.plan.ground.expires,
            act: scene.plan.act(),
            acted_ns: now_ns(),
            undone: None,
            ended_ns: now_ns(),
        };
        if scene.plan.scenario.ends_lease() && scene.unmounts {
            scene.pause.set(true);
        }
        case.acted_ns = now_ns();
        match scene.plan.scenario {
            Scenario::LibvirtdHung => self.hang_libvirtd(scene, &mut case)?,
            Scenario::AgentKilled => self.kill_agent(scene, &mut case)?,
            Scenario::PlannedFence => self.fence(scene, &mut case)?,
            Scenario::StorageStall => self.stall(scene, &mut case)?,
            Scenario::AgentFrozen => self.freeze_agent(scene, &mut case)?,
            Scenario::WatchdogBite => self.bite(scene, &case)?,
        }
        case.ended_ns = now_ns();
        Ok(case)
    }

    fn hang_libvirtd(&self, scene: &mut Scene, case: &mut Case) -> Result<(), String> {
        let daemon = libvirtd()?;
        let hold = hold(daemon, scene.plan.promise.hold_ms)?;
        let patience = Duration::from_millis(scene.plan.promise.hold_ms);
        self.wait(&mut scene.watch, case, patience, |_| false);
        hold.release();
        case.undone = Some((now_ns(), "libvirtd is let on (SIGCONT)".to_owned()));
        let patience = Duration::from_millis(scene.plan.promise.return_ms);
        self.wait(&mut scene.watch, case, patience, |facts| {
            facts.libvirt_away_ns.is_none() || facts.libvirt_back_ns.is_some()
        });
        // Long enough for the canary's next counts.
        self.wait(&mut scene.watch, case, Duration::from_secs(2), |_| false);
        Ok(())
    }

    fn kill_agent(&self, scene: &mut Scene, case: &mut Case) -> Result<(), String> {
        self.agent()?
            .signal(Signal::KILL)
            .map_err(|error| format!("The agent could not be killed: {error}."))?;
        let promise = scene.plan.promise;
        let patience = Duration::from_millis(promise.fenced_by_ms() + promise.stall_survived_ms);
        let enough_ms = promise.lease_ttl_ms;
        self.wait(&mut scene.watch, case, patience, |facts| {
            let later = |at: u64| now_ns().saturating_sub(at) > enough_ms * 1_000_000;
            facts.agent_back_ns.is_some_and(later)
        });
        Ok(())
    }

    fn fence(&self, scene: &mut Scene, case: &mut Case) -> Result<(), String> {
        match &scene.plan.fence_with {
            None => self.ask_agent(scene, DrillAct::EndLease)?,
            Some(command) => {
                let peer = Command::new("sh")
                    .args(["-c", command])
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .spawn();
                peer.map_err(|error| format!("`{command}` could not be run: {error}."))?;
            }
        }
        self.watch_takeover(scene, case, 0)
    }

    fn stall(&self, scene: &mut Scene, case: &mut Case) -> Result<(), String> {
        let for_ms = scene.plan.promise.hold_ms;
        self.ask_agent(scene, DrillAct::StallStorage { for_ms })?;
        let over_ns = now_ns() + for_ms * 1_000_000;
        self.wait(&mut scene.watch, case, Duration::from_millis(for_ms), |_| now_ns() >= over_ns);
        case.undone = Some((now_ns(), "the agent reaches its storage again".to_owned()));
        self.watch_takeover(scene, case, 0)
    }

    fn freeze_agent(&self, scene: &mut Scene, case: &mut Case) -> Result<(), String> {
        let hold_ms = scene.plan.promise.hold_ms;
        let hold = hold(self.agent()?, hold_ms)?;
        // Once a peer has given its verdict nothing more can be shown by an agent that stands still.
        self.wait(&mut scene.watch, case, Duration::from_millis(hold_ms), |facts| {
            !facts.convictions.is_empty()
        });
        if hold.is_gone() {
            return Err("The agent has ended while it was stopped: somebody else has killed it.".to_owned());
        }
        hold.release();
        case.undone = Some((now_ns(), "the agent is let on (SIGCONT)".to_owned()));
        self.watch_takeover(scene, case, 0)
    }

    /// From here on nothing is done: the peers act, and the host comes back.
    fn watch_takeover(&self, scene: &mut Scene, case: &mut Case, extra_ms: u64) -> Result<(), String> {
        let promise = scene.plan.promise;
        let pause = scene.pause.clone();
        let proven = |facts: &Facts| facts.proof_ns().is_some();
        let until_proof =
            promise.fenced_by_ms() + promise.verdict_seen_ms + promise.receipt_seen_ms + extra_ms;
        self.wait(&mut scene.watch, case, Duration::from_millis(until_proof), proven);
        pause.set(false);
        self.wait(
            &mut scene.watch,
            case,
            Duration::from_millis(promise.restart_ms.max(promise.return_ms)),
            |facts| facts.restart.is_some() && facts.back_ns.is_some(),
        );
        // Whoever lives on beside a successor is seen to.
        self.wait(&mut scene.watch, case, Duration::from_secs(2), |_| false);
        Ok(())
    }

    fn ask_agent(&self, scene: &Scene, act: DrillAct) -> Result<(), String> {
        let request = DrillRequest { act, domains: scene.domains.clone() };
        match watch::ask(self.client.drill(&request)) {
            Ok(answer) if answer.ok => Ok(()),
            Ok(answer) => Err(format!("The agent refuses: {}.", answer.text)),
            Err(error) => Err(format!("The agent refuses: {error}.")),
        }
    }

    fn agent(&self) -> Result<Process, String> {
        let status = watch::status(self.client).map_err(|error| error.to_string())?;
        Process::open(status.agent.pid, AGENT)
            .map_err(|error| format!("The agent's process cannot be taken: {error}."))
    }

    fn bite(&self, scene: &mut Scene, case: &Case) -> Result<(), String> {
        crate::bite::act(self, &scene.plan, &scene.canary, case)
    }
}

fn hold(process: Process, limit_ms: u64) -> Result<Hold, String> {
    let limit = Duration::from_millis(limit_ms) + HOLD_SLACK;
    Hold::start(Path::new(SELF), process, limit)
        .map_err(|error| format!("A process could not be stopped: {error}."))
}

fn libvirtd() -> Result<Process, String> {
    let found = LIBVIRTDS.iter().find_map(|name| {
        Process::of_file(&Path::new("/run").join(format!("{name}.pid")), name)
            .or_else(|_| Process::only(name))
            .ok()
    });
    found.ok_or_else(|| format!("None of {} runs here: what is there to hang?", LIBVIRTDS.join(", ")))
}
