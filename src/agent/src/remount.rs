//! The disks' storages after a fence. The fencer unmounts or removes what it must show quiet (ARCHITECTURE 6); a host that holds
//! a lease again has them brought back as they were, and recovers nothing before that is done.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use leasefence_core::fencing::{AgentHalf, FencerHalf, StorageKind};
use leasefence_transport::{HOST_MOUNTS, Mount, NfsMount, mounts};
use nix::sys::stat::{major, minor};

use crate::event::{Event, Events, send};

/// In the run directory: what may have to be brought back. It outlives the agent, not the boot.
const FILE: &str = "storages";
/// Before the address of a SCSI device in it; the other lines are the kernel's own about mounts.
const SCSI: &str = "scsi ";
/// This process may have a mount namespace of its own, in which a mount would help nobody.
const HOST_NAMESPACE: &str = "--mount=/proc/1/ns/mnt";
/// Between two attempts.
const AGAIN: Duration = Duration::from_secs(5);

/// What is to be brought back.
#[derive(Debug)]
pub(crate) struct Remount {
    file: PathBuf,
    /// The storages that the page names.
    devices: BTreeSet<u64>,
    /// True from the lease's end until its storages are seen to.
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

    /// True from the lease's end until everything is back.
    pub(crate) fn pending(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.pending)
    }

    /// The page names these storages from now on. What leads to them is noted while it is there.
    pub(crate) fn page_names(&mut self, half: &AgentHalf) {
        let taken_away = |kind| matches!(kind, StorageKind::Nfs | StorageKind::Iscsi);
        let named = half.quiesce.iter().filter(|target| taken_away(target.kind));
        let devices: BTreeSet<u64> = named.map(|target| target.device).collect();
        if devices == self.devices || self.ended {
            return;
        }
        match self.note(&devices) {
            Ok(()) => self.devices = devices,
            Err(error) => {
                let text = format!("noting the disks' storages in {}: {error}", self.file.display());
                send(&self.events, Event::Trouble("storages", text));
            }
        }
    }

    fn note(&self, devices: &BTreeSet<u64>) -> io::Result<()> {
        let all = fs::read_to_string(HOST_MOUNTS)?;
        let of_disks = |line: &&str| mounts(line).any(|mount| devices.contains(&mount.device));
        let nfs = |line: &&str| mounts(line).any(|mount| NfsMount::of(&mount).is_some());
        let mounted = all.lines().filter(|line| of_disks(line) && nfs(line)).map(str::to_owned);
        let scsi = devices.iter().filter_map(|device| scsi_address(*device)).map(|at| format!("{SCSI}{at}"));
        let new = self.file.with_extension("new");
        fs::write(&new, mounted.chain(scsi).fold(String::new(), |text, line| text + &line + "\n"))?;
        fs::rename(&new, &self.file)
    }

    /// Takes what the fencer shows: at a lease's end the mounts may go, and when a lease is guarded again they come back.
    pub(crate) fn fencer_shows(&mut self, half: &FencerHalf) {
        if half.latched.is_some() {
            self.ended = true;
            self.pending.store(true, Ordering::Release);
        } else if half.armed && std::mem::take(&mut self.ended) {
            let (file, events, pending) = (self.file.clone(), self.events.clone(), self.pending());
            let run = move || bring_back(&file, &events, &pending);
            if let Err(error) = thread::Builder::new().name("storages".to_owned()).spawn(run) {
                self.ended = true;
                let text = format!("no thread to bring the disks' storages back: {error}");
                send(&self.events, Event::Trouble("storages", text));
            }
        }
    }
}

/// Something that was noted.
enum Noted {
    Mount(Mount),
    /// A SCSI device: host, channel, target, LUN.
    Scsi(String),
}

impl Noted {
    fn read(text: &str) -> impl Iterator<Item = Self> {
        let scsi = text.lines().filter_map(|line| Some(Self::Scsi(line.strip_prefix(SCSI)?.to_owned())));
        mounts(text).map(Self::Mount).chain(scsi)
    }

    fn is_there(&self) -> bool {
        match self {
            Self::Mount(wanted) => {
                let there = fs::read_to_string(HOST_MOUNTS).unwrap_or_default();
                mounts(&there).any(|mount| mount.point == wanted.point)
            }
            // A session that was ended and begun anew has another host, and brings its devices itself.
            Self::Scsi(at) => {
                Path::new("/sys/class/scsi_device").join(at).exists() || !scan_file(at).exists()
            }
        }
    }

    fn bring_back(&self) -> Result<(), String> {
        match self {
            Self::Mount(mount) => mount_one(mount),
            Self::Scsi(at) => {
                let numbers = at.split(':').skip(1).collect::<Vec<_>>().join(" ");
                fs::write(scan_file(at), numbers).map_err(|error| error.to_string())
            }
        }
    }
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(mount) => write!(f, "{}", mount.point.display()),
            Self::Scsi(at) => write!(f, "SCSI device {at}"),
        }
    }
}

/// Tries until all that was noted is there.
fn bring_back(file: &Path, events: &Events, pending: &AtomicBool) {
    let noted = fs::read_to_string(file).unwrap_or_default();
    let mut said = BTreeSet::new();
    loop {
        let missing: Vec<Noted> = Noted::read(&noted).filter(|noted| !noted.is_there()).collect();
        if missing.is_empty() {
            pending.store(false, Ordering::Release);
            return;
        }
        for noted in missing {
            let text = match noted.bring_back() {
                Ok(()) => format!("{noted} is brought back after the fence"),
                Err(why) => format!("{noted} cannot be brought back after the fence: {why}"),
            };
            if said.insert(text.clone()) {
                send(events, Event::Trouble("storages", text));
            }
        }
        if events.is_closed() {
            return;
        }
        thread::sleep(AGAIN);
    }
}

fn scan_file(scsi: &str) -> PathBuf {
    let host = scsi.split(':').next().unwrap_or_default();
    PathBuf::from(format!("/sys/class/scsi_host/host{host}/scan"))
}

/// Host, channel, target and LUN of the SCSI disk with this device number, or that has this partition.
fn scsi_address(device: u64) -> Option<String> {
    let link = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let place = fs::canonicalize(link).ok()?;
    let is_address = |name: &str| name.split(':').filter(|part| part.parse::<u32>().is_ok()).count() == 4;
    let mut names = place.components().filter_map(|part| part.as_os_str().to_str());
    names.find(|name| is_address(name)).map(str::to_owned)
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
