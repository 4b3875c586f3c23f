//! The disks' storages after a fence. The fencer unmounts or removes what it must show quiet (ARCHITECTURE 6); a host that holds
//! a lease again has them brought back as they were, and recovers nothing before that is done.

mod mapped;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use leasefence_core::fencing::{AgentHalf, FencerHalf, StorageKind};
use leasefence_transport::{HOST_MOUNTS, IscsiWay, Mount, NfsMount, mounts};

use self::mapped::MappedNote;
use crate::event::{Event, Events, send};

/// In the run directory: what may have to be brought back. It outlives the agent, not the boot.
const FILE: &str = "storages";
/// Beside it: that it has to be.
const MARKER: &str = "storages-away";
/// In seconds: a mount of a server that does not answer gives way to the others.
const LONGEST_MOUNT: &str = "20";
/// Before the address of a SCSI device in it; the lines without a word of ours are the kernel's own about mounts.
const SCSI: &str = "scsi ";
/// Before a mapped device.
const MAPPED: &str = "mapped ";
/// This process may have a mount namespace of its own, in which a mount would help nobody.
const HOST_NAMESPACE: &str = "--mount=/proc/1/ns/mnt";
/// Between two looks, and two attempts.
const AGAIN: Duration = Duration::from_secs(5);

/// The main loop's end: it tells, and never waits.
#[derive(Debug)]
pub(crate) struct Remount {
    news: Sender<News>,
    named: BTreeSet<u64>,
    /// True from the lease's end until a lease is guarded again.
    ended: bool,
    pending: Arc<AtomicBool>,
}

/// What the thread is told.
#[derive(Debug)]
enum News {
    /// The page names these storages from now on.
    Names(BTreeSet<u64>),
    /// A lease has ended: they may go.
    Ended,
    /// A lease is guarded again: they come back.
    Guarded,
}

impl Remount {
    /// Goes on from what an agent before this one has noted below `run_dir`.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(run_dir: &Path, events: &Events) -> io::Result<Self> {
        let (news, heard) = mpsc::channel();
        let marker = run_dir.join(MARKER);
        let away = marker.exists();
        let pending = Arc::new(AtomicBool::new(away));
        let mut keeper = Keeper {
            before: read_notes(&fs::read_to_string(run_dir.join(FILE)).unwrap_or_default()),
            file: run_dir.join(FILE),
            marker,
            noted: BTreeMap::new(),
            away,
            guarded: false,
            pending: Arc::clone(&pending),
            events: events.clone(),
            said: BTreeSet::new(),
        };
        thread::Builder::new().name("storages".to_owned()).spawn(move || keeper.run(&heard))?;
        Ok(Self { news, named: BTreeSet::new(), ended: away, pending })
    }

    /// True from the lease's end until everything is back.
    pub(crate) fn pending(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.pending)
    }

    /// The page names these storages from now on.
    pub(crate) fn page_names(&mut self, half: &AgentHalf) {
        let taken_away = |kind| matches!(kind, StorageKind::Nfs | StorageKind::Iscsi);
        let named = half.quiesce.iter().filter(|target| taken_away(target.kind));
        let named: BTreeSet<u64> = named.map(|target| target.device).collect();
        if named != self.named {
            self.named.clone_from(&named);
            self.tell(News::Names(named));
        }
    }

    /// Takes what the fencer shows.
    pub(crate) fn fencer_shows(&mut self, half: &FencerHalf) {
        if half.latched.is_some() {
            if !std::mem::replace(&mut self.ended, true) {
                self.pending.store(true, Ordering::Release);
                self.tell(News::Ended);
            }
        } else if half.armed && std::mem::take(&mut self.ended) {
            self.tell(News::Guarded);
        }
    }

    fn tell(&self, news: News) {
        // The thread ends with this.
        drop(self.news.send(news));
    }
}

/// The thread: notes what leads to the storages while it is there, and brings it back.
struct Keeper {
    file: PathBuf,
    /// There from the lease's end until everything is back.
    marker: PathBuf,
    /// The lines about each storage that the page names. Those of one that is gone stay: the fencer may have taken it away.
    noted: BTreeMap<u64, String>,
    /// What an agent before this one has noted.
    before: BTreeMap<u64, String>,
    away: bool,
    guarded: bool,
    pending: Arc<AtomicBool>,
    events: Events,
    said: BTreeSet<String>,
}

impl Keeper {
    fn run(&mut self, news: &Receiver<News>) {
        loop {
            match news.recv_timeout(AGAIN) {
                Ok(first) => std::iter::once(first).chain(news.try_iter()).for_each(|news| self.hear(news)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if !self.away {
                self.note();
            } else if self.guarded {
                self.bring_back();
            }
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Names(named) => {
                self.noted.retain(|device, _| named.contains(device));
                for device in named {
                    let before = self.before.get(&device).cloned();
                    self.noted.entry(device).or_insert(before.unwrap_or_default());
                }
            }
            News::Ended => {
                (self.away, self.guarded) = (true, false);
                self.pending.store(true, Ordering::Release);
                if let Err(error) = fs::write(&self.marker, "") {
                    self.say(format!("{}: {error}", self.marker.display()));
                }
            }
            News::Guarded => self.guarded = true,
        }
    }

    fn note(&mut self) {
        let before = self.noted.clone();
        let mountinfo = fs::read_to_string(HOST_MOUNTS).unwrap_or_default();
        for (device, lines) in &mut self.noted {
            let now = lines_about(*device, &mountinfo);
            if !now.is_empty() {
                *lines = now;
            }
        }
        if self.noted != before
            && let Err(error) = self.write()
        {
            self.say(format!("noting the disks' storages in {}: {error}", self.file.display()));
        }
    }

    fn write(&self) -> io::Result<()> {
        let new = self.file.with_extension("new");
        fs::write(&new, self.noted.values().map(String::as_str).collect::<String>())?;
        fs::rename(&new, &self.file)
    }

    fn bring_back(&mut self) {
        let noted = fs::read_to_string(&self.file).unwrap_or_default();
        let missing: Vec<Noted> = Noted::read(&noted).filter(|noted| !noted.is_there()).collect();
        if missing.is_empty() {
            fs::remove_file(&self.marker).ok();
            self.away = false;
            self.said.clear();
            self.pending.store(false, Ordering::Release);
        }
        for noted in missing {
            self.say(match noted.bring_back() {
                Ok(()) => format!("{noted} is brought back after the fence"),
                Err(why) => format!("{noted} cannot be brought back after the fence: {why}"),
            });
        }
    }

    fn say(&mut self, text: String) {
        if self.said.insert(text.clone()) {
            send(&self.events, Event::Trouble("storages", text));
        }
    }
}

/// What leads to a storage now: the kernel's lines about its mounts where it is NFS, and the addresses of its SCSI devices and
/// the mapped devices over them, in the order in which they are brought back.
fn lines_about(device: u64, mountinfo: &str) -> String {
    let is_nfs =
        |line: &&str| mounts(line).any(|mount| mount.device == device && NfsMount::of(&mount).is_some());
    let mounted = mountinfo.lines().filter(is_nfs).map(str::to_owned);
    let way = IscsiWay::to(device).ok().flatten();
    let (paths, mapped) = way.map(|way| (way.paths, way.mapped)).unwrap_or_default();
    let scsi = paths.iter().filter_map(|path| Some(format!("{SCSI}{device} {}", path.address()?)));
    let maps = mapped.iter().rev().map(|map| format!("{MAPPED}{device} {}", MappedNote::of(map)));
    mounted.chain(scsi).chain(maps).fold(String::new(), |text, line| text + &line + "\n")
}

/// Something that was noted.
enum Noted {
    Mount(Mount),
    /// A SCSI device: host, channel, target, LUN.
    Scsi(String),
    Mapped(MappedNote),
}

impl Noted {
    fn read(text: &str) -> impl Iterator<Item = Self> {
        text.lines().filter_map(|line| {
            if let Some((_, at)) = note(SCSI, line) {
                return Some(Self::Scsi(at.to_owned()));
            }
            match note(MAPPED, line) {
                Some((_, text)) => MappedNote::read(text).map(Self::Mapped),
                None => mounts(line).next().map(Self::Mount),
            }
        })
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
            Self::Mapped(map) => map.is_there(),
        }
    }

    fn bring_back(&self) -> Result<(), String> {
        match self {
            Self::Mount(mount) => mount_one(mount),
            Self::Scsi(at) => {
                let numbers = at.split(':').skip(1).collect::<Vec<_>>().join(" ");
                fs::write(scan_file(at), numbers).map_err(|error| error.to_string())
            }
            Self::Mapped(map) => in_the_hosts_mounts(&map.command()),
        }
    }
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(mount) => write!(f, "{}", mount.point.display()),
            Self::Scsi(at) => write!(f, "SCSI device {at}"),
            Self::Mapped(map) => write!(f, "mapped device {}", map.name),
        }
    }
}

/// Device number of the storage, and what follows.
fn note<'a>(word: &str, line: &'a str) -> Option<(u64, &'a str)> {
    let (device, rest) = line.strip_prefix(word)?.split_once(' ')?;
    Some((device.parse().ok()?, rest))
}

/// The lines by storage.
fn read_notes(text: &str) -> BTreeMap<u64, String> {
    let mut notes: BTreeMap<u64, String> = BTreeMap::new();
    for line in text.lines() {
        let ours = note(SCSI, line).or_else(|| note(MAPPED, line)).map(|(device, _)| device);
        let device = ours.or_else(|| mounts(line).next().map(|mount| mount.device));
        if let Some(device) = device {
            let lines = notes.entry(device).or_default();
            lines.push_str(line);
            lines.push('\n');
        }
    }
    notes
}

fn scan_file(scsi: &str) -> PathBuf {
    let host = scsi.split(':').next().unwrap_or_default();
    PathBuf::from(format!("/sys/class/scsi_host/host{host}/scan"))
}

/// As /etc/fstab says where it knows the mount, and else with the options that it had.
fn mount_one(mount: &Mount) -> Result<(), String> {
    let mut words = vec!["mount".to_owned()];
    if !is_in_fstab(&fs::read_to_string("/etc/fstab").unwrap_or_default(), &mount.point) {
        let options = format!("{},{}", mount.options, mount.flags);
        words.extend(["-t".into(), mount.fs_type.clone(), "-o".into(), options, mount.source.clone()]);
    }
    words.push(mount.point.to_string_lossy().into_owned());
    in_the_hosts_mounts(&words)
}

/// Runs a command that may have to wait for a server, for a while.
fn in_the_hosts_mounts(words: &[String]) -> Result<(), String> {
    let mut command = Command::new("timeout");
    command.args([LONGEST_MOUNT, "nsenter", HOST_NAMESPACE, "--"]).args(words);
    let output = command.output().map_err(|error| format!("running timeout and nsenter: {error}"))?;
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
    fn notes_are_read_back_by_storage() {
        let nfs = "40 22 0:50 / /mnt/disks rw,nosuid shared:9 - nfs4 s:/disks rw,vers=4.2,addr=10.0.0.1\n";
        let scsi = "scsi 2064 2:0:0:1\n";
        let maps = "scsi 64768 3:0:0:1\nmapped 64768 mpath-36001 mpatha\nmapped 64768 LVM-x vg-disk\n";
        let text = format!("{nfs}{scsi}{maps}nonsense\n");
        let notes = read_notes(&text);
        assert_eq!(notes.keys().copied().collect::<Vec<_>>(), [nix::sys::stat::makedev(0, 50), 2064, 64768]);
        assert_eq!(notes.get(&64768).map(String::as_str), Some(maps));
        assert_eq!(notes.values().next().map(String::as_str), Some(nfs));
        let words: Vec<String> = Noted::read(&text).map(|noted| noted.to_string()).collect();
        let devices =
            ["SCSI device 2:0:0:1", "SCSI device 3:0:0:1", "mapped device mpatha", "mapped device vg-disk"];
        assert_eq!(words, [&["/mnt/disks"][..], &devices].concat());
        assert_eq!(lines_about(nix::sys::stat::makedev(0, 50), &text), nfs, "what is no mount is left out");
        assert_eq!(lines_about(nix::sys::stat::makedev(0, 51), &text), "");
    }

    #[test]
    fn a_mount_is_known_to_fstab_by_where_it_lies() {
        let fstab = "# a comment\nstorage:/disks  /mnt/disks nfs4 defaults 0 0\n\n";
        assert!(is_in_fstab(fstab, Path::new("/mnt/disks")));
        assert!(!is_in_fstab(fstab, Path::new("/mnt")) && !is_in_fstab("", Path::new("/mnt/disks")));
    }
}
