//! On which kind of storage a disk lies: what the fencer must show quiet after it has killed the domain, and whether it can.
//!
//! It asks the kernel, in threads of its own with a deadline, since a dead mount answers no question; what has no
//! answer is `unprovable`. It never tries to prove anything.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use leasefence_core::fencing::{QuiesceTarget, StorageKind};
use leasefence_transport::{Mount, Reach, Sharer, read_list};

use crate::medium::{Found, MOUNTS, Medium, medium_of, mounted_below};
use crate::no_proof::NoProof;
use crate::ways::{Way, Ways};
use crate::{Disk, DiskSource};

/// How long the answer of one path is waited for.
const PROBE_DEADLINE: Duration = Duration::from_millis(500);
/// After this an answer is asked for again: something else may be mounted there by now.
const ANSWER_AGE: Duration = Duration::from_secs(30);

/// A storage that carries disks of a domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Storage {
    /// What the fencer must show quiet.
    pub target: QuiesceTarget,
    /// Where it is, for people: `server:/export`, a target and its portals, a device, or what libvirt calls it.
    pub place: String,
    /// Why it cannot be shown quiet at a fence; none where it can.
    pub no_proof: Option<NoProof>,
    /// What shares its NFS client: what is cut off of it keeps its locks at the server while one of these is mounted.
    pub sharers: Vec<Sharer>,
}

impl Storage {
    /// False while nothing is known of it, and it may be anything: its path does not answer, or leads nowhere now, or to a device that
    /// has lost what it lies on.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !matches!(self.no_proof, Some(NoProof::NoAnswer | NoProof::NotFound(_) | NoProof::Hollow))
    }
}

#[derive(Debug, Default)]
struct Entry {
    answer: Option<(Found, Instant)>,
    /// A question that is still open. There is never a second one of the same path.
    open: Option<Receiver<Found>>,
}

/// Finds the storages of disks, and remembers them.
#[derive(Debug, Default)]
pub struct Storages {
    entries: Mutex<HashMap<PathBuf, Entry>>,
    ways: Ways,
}

impl Storages {
    /// Nothing known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The storages of every image of the disks that the domain can write, each once. `one_kernel` says that the
    /// lease file's header has the test bit: only then does a local file system count as provable, by process exits
    /// alone. Blocks for at most half a second a path; a path that does not answer keeps its last answer for as long as the
    /// kernel's table of mounts says the same.
    pub fn of(&self, disks: &[Disk], one_kernel: bool) -> Vec<Storage> {
        self.of_mounts(disks, one_kernel, &read_list(Path::new(MOUNTS)).unwrap_or_default())
    }

    fn of_mounts(&self, disks: &[Disk], one_kernel: bool, mountinfo: &str) -> Vec<Storage> {
        let written = disks.iter().filter(|disk| !disk.readonly);
        let links = written.flat_map(|disk| disk.chain.iter().map(move |link| (disk, link)));
        let links = links.filter(|(disk, link)| match &link.source {
            DiskSource::Memory(source) => match &**source {
                DiskSource::File(_) => self
                    .find(&link.source, mountinfo)
                    .has_memory_of_others(disk.is_persistent_memory(), mountinfo),
                other => matches!(self.reach(other, mountinfo), Reach::Shared(_)),
            },
            _ => true,
        });
        let mut storages = BTreeMap::new();
        let below = |source: &DiskSource| {
            // To ask what waits to be mounted would mount it, and nothing was written there yet.
            let mounted =
                self.below(source, mountinfo).into_iter().filter(|(mount, _)| mount.fs_type != "autofs");
            let points = mounted.map(|(mount, _)| mount.point.display().to_string());
            points.map(DiskSource::Directory).collect::<Vec<_>>()
        };
        for source in
            links.flat_map(|(_, link)| std::iter::once(link.source.clone()).chain(below(&link.source)))
        {
            let storage = self.storage(&source, one_kernel, mountinfo);
            let order = (storage.target.device, kind_order(storage.target.kind), storage.place.clone());
            storages.insert(order, storage);
        }
        storages.into_values().collect()
    }

    /// Who can get at the images that the domain's own disks are written to: each with its name, for people. What a disk is backed
    /// by is only read. Blocks as [`Self::of`].
    pub fn reaches(&self, disks: &[Disk]) -> Vec<(String, Reach)> {
        let mountinfo = read_list(Path::new(MOUNTS)).unwrap_or_default();
        let written = disks.iter().filter(|disk| !disk.readonly).filter_map(|disk| disk.chain.first());
        let reach = |source: &DiskSource| (source.describe(), self.reach(source, &mountinfo));
        written.map(|link| reach(&link.source)).collect()
    }

    fn reach(&self, source: &DiskSource, mountinfo: &str) -> Reach {
        match source {
            DiskSource::Network { servers, .. }
                if !servers.is_empty() && servers.iter().all(|server| server.starts_with('/')) =>
            {
                Reach::Unknown("QEMU speaks to a process of this host".to_owned())
            }
            DiskSource::Network { protocol, .. } => Reach::Shared(format!("the network ({protocol})")),
            DiskSource::Memory(source) if !matches!(**source, DiskSource::File(_)) => {
                self.reach(source, mountinfo)
            }
            // A LUN that QEMU logs in to by itself, given to the guest as a whole.
            DiskSource::Other(what) if what.split(' ').any(|word| word == "protocol=iscsi") => {
                Reach::Shared("the network (iscsi)".to_owned())
            }
            DiskSource::Directory(_) => {
                let below = self.below(source, mountinfo).into_iter().map(|(_, reach)| reach);
                below.fold(self.find(source, mountinfo).reach(mountinfo), Reach::and)
            }
            _ => self.find(source, mountinfo).reach(mountinfo),
        }
    }

    /// What is mounted below a directory that the guest is given: it reaches that too.
    fn below(&self, source: &DiskSource, mountinfo: &str) -> Vec<(Mount, Reach)> {
        match source {
            DiskSource::Directory(_) => mounted_below(mountinfo, &self.find(source, mountinfo).path),
            _ => Vec::new(),
        }
    }

    fn storage(&self, source: &DiskSource, one_kernel: bool, mountinfo: &str) -> Storage {
        let found = self.find(source, mountinfo);
        let kind = match found.medium {
            Medium::Nfs => StorageKind::Nfs,
            Medium::Iscsi => StorageKind::Iscsi,
            Medium::Local if one_kernel => StorageKind::OneKernel,
            Medium::Local | Medium::Other(_) => StorageKind::Unprovable,
        };
        let target = QuiesceTarget { kind, device: found.device };
        let Way { place, no_proof, sharers } = self.ways.to(&target);
        let no_proof = no_proof.or_else(|| match &found.medium {
            Medium::Other(why) => Some(why.clone()),
            Medium::Local => (!one_kernel).then_some(NoProof::Local),
            Medium::Nfs | Medium::Iscsi => None,
        });
        let place = place.or_else(|| found.place(mountinfo)).unwrap_or_else(|| source.describe());
        Storage { target, place, no_proof, sharers }
    }

    fn find(&self, source: &DiskSource, mountinfo: &str) -> Found {
        match source {
            DiskSource::File(path) | DiskSource::Block(path) | DiskSource::Directory(path) => {
                self.answer(Path::new(path), mountinfo)
            }
            DiskSource::Memory(source) => match (self.find(source, mountinfo), &**source) {
                // Libvirt makes the file of a firmware's variables at the first start.
                (Found { medium: Medium::Other(NoProof::NotFound(_)), .. }, DiskSource::File(path)) => {
                    self.answer(Path::new(path).parent().unwrap_or(Path::new("/")), mountinfo)
                }
                (found, _) => found,
            },
            DiskSource::Network { protocol, .. } => Found::nothing(NoProof::Network(protocol.clone())),
            DiskSource::Volume { .. } => Found::nothing(NoProof::Volume),
            DiskSource::Other(_) => Found::nothing(NoProof::Other),
        }
    }

    fn answer(&self, path: &Path, mountinfo: &str) -> Found {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(path.to_owned()).or_default();
        entry.answer.take_if(|(found, _)| !found.stands(mountinfo));
        if let Some((found, at)) = &entry.answer
            && at.elapsed() < ANSWER_AGE
        {
            return found.clone();
        }
        let open = entry.open.take().unwrap_or_else(|| ask(path.to_owned()));
        match open.recv_timeout(PROBE_DEADLINE) {
            Ok(found) => entry.answer = Some((found, Instant::now())),
            Err(RecvTimeoutError::Timeout) => entry.open = Some(open),
            // No thread could be made: ask again next time.
            Err(RecvTimeoutError::Disconnected) => {}
        }
        let nothing = || Found::nothing(NoProof::NoAnswer);
        entry.answer.as_ref().map_or_else(nothing, |(found, _)| found.clone())
    }
}

fn ask(path: PathBuf) -> Receiver<Found> {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::Builder::new().name("storage-kind".to_owned()).spawn(move || {
        // The receiver may have gone with its owner.
        let _nobody_waits = sender.send(medium_of(&path));
    });
    if let Err(error) = thread {
        tracing::warn!("storages: no thread to look at a disk's storage: {error}");
    }
    receiver
}

fn kind_order(kind: StorageKind) -> u8 {
    match kind {
        StorageKind::OneKernel => 0,
        StorageKind::Nfs => 1,
        StorageKind::Iscsi => 2,
        StorageKind::Unprovable => 3,
    }
}

#[cfg(test)]
mod tests;
