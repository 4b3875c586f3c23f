//! The canary comes and goes.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use leasefence_api::Domain;
use leasefence_core::ids::DomainId;

use super::{Player, Scene, incarnation};
use crate::canary::{self, Canary, definition};
use crate::ground;
use crate::plan::Plan;
use crate::process::Process;
use crate::watch::{self, Sight, Watch, Witness, owns};

/// Longest that the canary may take from its start until it counts, its lease is owned, and its definition lies with the others'.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Longest that a canary may take to see that it shall stop, and its host to say that it did.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(200);

/// What must be taken back.
#[derive(Debug, Default)]
pub struct Teardown {
    canary: Option<Canary>,
}

impl Player<'_> {
    /// Starts the canary, and waits until it is guarded as the operator's guests are.
    pub(super) fn set(&self, plan: &Plan, teardown: &mut Teardown) -> Result<Scene, String> {
        self.clear(plan)?;
        let canary = Canary::of(&plan.ground.cluster, &plan.ground.host, &plan.storage, watch::now_ns());
        let domain =
            DomainId::from_str(&canary.uuid).map_err(|error| format!("The canary's uuid: {error}."))?;
        (self.tell)(&format!("the canary {} is started, its disk is {}", canary.name, canary.disk.display()));
        canary::create(&canary.disk).map_err(|error| format!("{error}."))?;
        teardown.canary = Some(canary.clone());
        self.start(&canary)?;
        let mut watch = Watch::default();
        let witness = Witness { client: self.client, lease: &self.config.lease, domain, disk: &canary.disk };
        let pause = witness.start(&watch)?;
        let process = Process::of_domain(&canary.name).map_err(|error| {
            format!("The canary's process cannot be found in /run/libvirt/qemu: {error}.")
        })?;
        Witness::follow(process, &watch)?;
        let own = incarnation(&plan.ground);
        let ready = watch.until(READY_WITHIN, |log| {
            let counts = log.iter().any(|seen| matches!(seen.sight, Sight::Beat(beat) if beat.counter > 2));
            let owned = log.iter().rev().find_map(|seen| match &seen.sight {
                Sight::Entry(entry) if entry.incarnation == own => Some(owns(entry) && entry.defined),
                _ => None,
            });
            counts && owned == Some(true)
        });
        let guarded = self.guarded(&canary, READY_WITHIN)?;
        if !ready {
            return Err(format!(
                "The canary did not come to count under a lease within {} s: see `leasefence status`, and `virsh domstate {}`.",
                READY_WITHIN.as_secs(),
                canary.name
            ));
        }
        if plan.scenario.is_proven() {
            ground::is_provable(&guarded)?;
        }
        let unmounts = guarded.storages.iter().any(|storage| storage.kind != "one-kernel");
        let others = plan.ground.others.iter().map(|(_, uuid)| uuid.clone());
        let domains = std::iter::once(canary.uuid.clone()).chain(others).collect();
        Ok(Scene { plan: plan.clone(), canary, domains, watch, pause, unmounts })
    }

    /// What an earlier drill has left is taken away first.
    fn clear(&self, plan: &Plan) -> Result<(), String> {
        let virsh = self.virsh();
        let name = &plan.canary;
        for disk in leftovers(&plan.storage, name) {
            (self.tell)(&format!("an earlier drill has left {}: its canary is told to stop", disk.display()));
            canary::stop(&disk).ok();
        }
        let canary = Canary::of(&plan.ground.cluster, &plan.ground.host, &plan.storage, 0);
        let domain =
            DomainId::from_str(&canary.uuid).map_err(|error| format!("The canary's uuid: {error}."))?;
        if let Some(host) = self.wait_stopped(domain, plan.ground.slot)? {
            return Err(format!(
                "An earlier canary still runs on {host}: run `virsh destroy {name}` there, and see `leasefence lease show {}`.",
                canary.uuid
            ));
        }
        if virsh.runs(name).map_err(|error| format!("{error}."))? {
            virsh.run(&["destroy", name]).map_err(|error| format!("{error}."))?;
        }
        virsh.run(&["undefine", name]).ok();
        for disk in leftovers(&plan.storage, name) {
            fs::remove_file(disk).ok();
        }
        Ok(())
    }

    fn start(&self, canary: &Canary) -> Result<(), String> {
        let virsh = self.virsh();
        let xml = self.config.run_dir.join(format!("{}.xml", canary.name));
        let kvm = Path::new("/dev/kvm").exists();
        fs::write(&xml, definition(canary, kvm))
            .map_err(|error| format!("Writing {}: {error}.", xml.display()))?;
        let defined = virsh.run(&["define", &xml.display().to_string()]);
        fs::remove_file(&xml).ok();
        defined.map_err(|error| format!("{error}."))?;
        virsh.run(&["start", &canary.name]).map(drop).map_err(|error| format!("{error}."))
    }

    /// The canary as the agent sees it, once it is guarded and restarted elsewhere.
    fn guarded(&self, canary: &Canary, patience: Duration) -> Result<Domain, String> {
        let begun = Instant::now();
        loop {
            let status = watch::status(self.client).map_err(|error| error.to_string())?;
            let found = status.domains.into_iter().find(|domain| domain.uuid == canary.uuid);
            let seen = found.as_ref().map_or("unknown to it", |domain| domain.lease.as_str()).to_owned();
            if let Some(domain) = found.filter(|it| it.running && it.protected && it.ha && it.lease == "own")
            {
                return Ok(domain);
            }
            if begun.elapsed() >= patience {
                return Err(format!("The agent does not come to guard the canary: its lease is {seen}."));
            }
            thread::sleep(STEP);
        }
    }

    /// Takes the canary away, wherever it is. What cannot be done is told.
    pub(super) fn tear_down(&self, plan: &Plan, teardown: Teardown) -> Vec<String> {
        let Some(canary) = teardown.canary else { return Vec::new() };
        let mut notes = Vec::new();
        let virsh = self.virsh();
        (self.tell)("the canary is taken away");
        // Once it counts elsewhere it is on that host; its disk may still be about to be mounted here again.
        let begun = Instant::now();
        let mut told = canary::stop(&canary.disk);
        while told.is_err() && begun.elapsed() < STOPPED_WITHIN {
            thread::sleep(STEP);
            told = canary::stop(&canary.disk);
        }
        if let Err(error) = told {
            notes.push(format!("{error}."));
        }
        let running = DomainId::from_str(&canary.uuid)
            .ok()
            .and_then(|domain| self.wait_stopped(domain, u16::MAX).ok().flatten());
        if let Some(host) = running {
            notes
                .push(format!("The canary still runs on {host}: run `virsh destroy {}` there.", canary.name));
        }
        if virsh.runs(&canary.name).unwrap_or(false) {
            virsh.run(&["destroy", &canary.name]).ok();
        }
        if let Err(error) = virsh.run(&["undefine", &canary.name]) {
            notes.push(format!("{error}."));
        }
        match fs::remove_file(&canary.disk) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                notes.push(format!("{} could not be removed: {error}.", canary.disk.display()));
            }
            _ => {}
        }
        if plan.scenario.ends_lease() && notes.is_empty() {
            (self.tell)("a peer keeps the canary's definition: `leasefence drill clean` there removes it");
        }
        notes
    }

    /// Waits until no host but `here` says that it owns the canary; the one that still does.
    fn wait_stopped(&self, canary: DomainId, here: u16) -> Result<Option<String>, String> {
        let begun = Instant::now();
        loop {
            let (_, entries) = watch::read_once(&self.config.lease, canary)?;
            // A host that died owning it, and was overtaken since, has a lower term.
            let top = entries.iter().max_by_key(|entry| entry.term);
            let owner = top.filter(|entry| owns(entry) && entry.incarnation.0 != here);
            match owner {
                None => return Ok(None),
                Some(entry) if begun.elapsed() >= STOPPED_WITHIN => return Ok(Some(entry.host.clone())),
                Some(_) => thread::sleep(STEP),
            }
        }
    }
}

/// Disks of this canary that lie in a directory.
#[must_use]
pub fn leftovers(storage: &Path, canary: &str) -> Vec<PathBuf> {
    let prefix = format!("{canary}-");
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix(&prefix)
            .and_then(|rest| rest.strip_suffix(".img"))
            .is_some_and(|salt| salt.len() == 16 && salt.chars().all(|c| c.is_ascii_hexdigit()))
    };
    let Ok(entries) = fs::read_dir(storage) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_ours).collect()
}
