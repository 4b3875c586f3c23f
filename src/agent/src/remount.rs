//! The disks' mounts after a fence. The fencer unmounts what it must show quiet (ARCHITECTURE 6); a host that holds a lease
//! again mounts it as it was, and recovers nothing before that is done.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use leasefence_core::fencing::{AgentHalf, FencerHalf, StorageKind};
use leasefence_transport::{HOST_MOUNTS, Mount, mounts};

use crate::event::{Event, Events, send};

/// In the run directory: the kernel's own lines about what may have to be mounted again. It outlives the agent, not the boot.
const FILE: &str = "mounts";
/// This process may have a mount namespace of its own, in which a mount would help nobody.
const HOST_NAMESPACE: &str = "--mount=/proc/1/ns/mnt";
/// Between two attempts.
const AGAIN: Duration = Duration::from_secs(5);

/// What is to be mounted again.
#[derive(Debug)]
pub(crate) struct Remount {
    file: PathBuf,
    /// The file systems that the page names.
    devices: BTreeSet<u64>,
    /// True from the lease's end until its mounts are seen to.
    ended: bool,
    pending: Arc<AtomicBool>,
    events: Events,
}

impl Remount {
    /// Goes on from what an agent before this one has noted below `run_dir`.
    pub(crate) fn new(run_dir: &Path, events: &Events) -> Self {
        Self {
            file: run_dir.join(FILE),
            devices: BTreeSet::new(),
            ended: false,
            pending: Arc::default(),
            events: events.clone(),
        }
    }

    /// True from the lease's end until everything is mounted again.
    pub(crate) fn pending(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.pending)
    }

    /// The page names these storages from now on. Their mounts are noted while they are there.
    pub(crate) fn page_names(&mut self, half: &AgentHalf) {
        let nfs = half.quiesce.iter().filter(|target| target.kind == StorageKind::Nfs);
        let devices: BTreeSet<u64> = nfs.map(|target| target.device).collect();
        if devices == self.devices || self.ended {
            return;
        }
        match self.note(&devices) {
            Ok(()) => self.devices = devices,
            Err(error) => {
                let text = format!("noting the disks' mounts in {}: {error}", self.file.display());
                send(&self.events, Event::Trouble("mounts", text));
            }
        }
    }

    fn note(&self, devices: &BTreeSet<u64>) -> io::Result<()> {
        let all = fs::read_to_string(HOST_MOUNTS)?;
        let of_disks = |line: &&str| mounts(line).any(|mount| devices.contains(&mount.device));
        let lines: String = all.lines().filter(of_disks).map(|line| format!("{line}\n")).collect();
        let new = self.file.with_extension("new");
        fs::write(&new, lines)?;
        fs::rename(&new, &self.file)
    }

    /// Takes what the fencer shows: at a lease's end the mounts may go, and when a lease is guarded again they come back.
    pub(crate) fn fencer_shows(&mut self, half: &FencerHalf) {
        if half.latched.is_some() {
            self.ended = true;
            self.pending.store(true, Ordering::Release);
        } else if half.armed && std::mem::take(&mut self.ended) {
            let (file, events, pending) = (self.file.clone(), self.events.clone(), self.pending());
            let mount = move || mount_again(&file, &events, &pending);
            if let Err(error) = thread::Builder::new().name("mounts".to_owned()).spawn(mount) {
                self.ended = true;
                let text = format!("no thread to mount the disks' file systems: {error}");
                send(&self.events, Event::Trouble("mounts", text));
            }
        }
    }
}

/// Tries until all that was noted is mounted.
fn mount_again(file: &Path, events: &Events, pending: &AtomicBool) {
    let noted = fs::read_to_string(file).unwrap_or_default();
    let mut said = BTreeSet::new();
    loop {
        let there = fs::read_to_string(HOST_MOUNTS).unwrap_or_default();
        let is_there = |wanted: &Mount| mounts(&there).any(|mount| mount.point == wanted.point);
        let missing: Vec<Mount> = mounts(&noted).filter(|mount| !is_there(mount)).collect();
        if missing.is_empty() {
            pending.store(false, Ordering::Release);
            return;
        }
        for mount in missing {
            let text = match mount_one(&mount) {
                Ok(()) => format!("{} is mounted again after the fence", mount.point.display()),
                Err(why) => {
                    format!("{} cannot be mounted again after the fence: {why}", mount.point.display())
                }
            };
            if said.insert(text.clone()) {
                send(events, Event::Trouble("mounts", text));
            }
        }
        if events.is_closed() {
            return;
        }
        thread::sleep(AGAIN);
    }
}

/// As /etc/fstab says where it knows the mount, and else with the options that it had.
fn mount_one(mount: &Mount) -> Result<(), String> {
    let mut command = Command::new("nsenter");
    command.arg(HOST_NAMESPACE).args(["--", "mount"]);
    if !is_in_fstab(&fs::read_to_string("/etc/fstab").unwrap_or_default(), &mount.point) {
        command.args(["-t", &mount.fs_type, "-o", &mount.options, &mount.source]);
    }
    let output = command.arg(&mount.point).output().map_err(|error| format!("running nsenter: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

fn is_in_fstab(fstab: &str, point: &Path) -> bool {
    let fields = fstab.lines().map(|line| line.split_whitespace().nth(1));
    fields.flatten().any(|field| Path::new(field) == point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_known_to_fstab_by_where_it_lies() {
        let fstab = "# a comment\nstorage:/disks  /mnt/disks nfs4 defaults 0 0\n\n";
        assert!(is_in_fstab(fstab, Path::new("/mnt/disks")));
        assert!(!is_in_fstab(fstab, Path::new("/mnt")) && !is_in_fstab("", Path::new("/mnt/disks")));
    }
}
