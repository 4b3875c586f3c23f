//! The storages of the domains as `status` shows them: what the kernel says of each, and what this host's own set-up adds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use leasefence_api as api;
use leasefence_core::fencing::StorageKind;
use leasefence_hypervisor::Storage;
use leasefence_transport::{Beneath, HOST_MOUNTS, mount_of, read_list};

use crate::writers::{self, Writer};

/// In the run directory where the fencer was told to leave NFS and iSCSI alone: it says so when it starts.
const NO_QUIESCE: &str = "no-quiesce";

/// Where this host's set-up is read.
#[derive(Clone, Debug)]
pub(crate) struct SetUp {
    lease: PathBuf,
    run_dir: PathBuf,
}

impl SetUp {
    /// With the lease at this path, and the fencer's files in this directory.
    pub(crate) fn new(lease: &Path, run_dir: &Path) -> Self {
        Self { lease: lease.to_owned(), run_dir: run_dir.to_owned() }
    }

    /// What it is now. Touches neither lease nor mounts.
    pub(crate) fn look(&self) -> Sight {
        let mountinfo = read_list(Path::new(HOST_MOUNTS)).unwrap_or_default();
        let lease_device = mount_of(&mountinfo, &self.lease).map(|mount| mount.device);
        // A path below /dev is looked at without asking any storage.
        let own = Some(&self.lease)
            .filter(|path| path.starts_with("/dev"))
            .and_then(|path| fs::metadata(path).ok());
        Sight {
            lease_device,
            lease_disks: disks_beneath(own.map(|own| own.rdev()).or(lease_device)),
            quiesces: !self.run_dir.join(NO_QUIESCE).exists(),
            writers: writers::read(&self.run_dir),
            held: BTreeMap::new(),
        }
    }
}

/// The set-up as it was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sight {
    /// The device number of the file system that the lease's path lies on.
    lease_device: Option<u64>,
    /// The disks of iSCSI sessions beneath it.
    lease_disks: BTreeSet<PathBuf>,
    quiesces: bool,
    /// Who writes past the domains, as the fencer found it.
    writers: Vec<Writer>,
    /// The exempt domains that run and read something, by the number of the device that it lies on.
    held: BTreeMap<u64, String>,
}

impl Sight {
    /// With these exempt domains.
    pub(crate) fn with_held(self, held: BTreeMap<u64, String>) -> Self {
        Self { held, ..self }
    }

    /// The storage in the words of the API. A fence ends those with the device numbers `ended` together.
    pub(crate) fn describe(&self, storage: &Storage, ended: &BTreeSet<u64>) -> api::Storage {
        let no_proof = match &storage.no_proof {
            Some(why) => Some((why.to_string(), why.remedy())),
            None => self.no_proof(storage, ended),
        };
        let (reason, remedy) = no_proof.unzip();
        api::Storage {
            kind: word(storage.target.kind).to_owned(),
            place: storage.place.clone(),
            provable: reason.is_none(),
            reason,
            remedy: remedy.map(str::to_owned),
        }
    }

    /// Why one that could be shown quiet is not here: a reason and what to do.
    fn no_proof(&self, storage: &Storage, ended: &BTreeSet<u64>) -> Option<(String, &'static str)> {
        if let Some(writer) = self.writers.iter().find(|writer| writer.device == storage.target.device) {
            return Some((
                format!(
                    "{writer}, which is no domain's, has it open for writing, and a fence does not end that"
                ),
                "End it, or give what it serves to the domain itself.",
            ));
        }
        if !matches!(storage.target.kind, StorageKind::Nfs | StorageKind::Iscsi) {
            return None;
        }
        // The file system is not unmounted while a process has something of it open, and a read of it fails.
        if let Some(name) =
            self.held.get(&storage.target.device).filter(|_| storage.target.kind == StorageKind::Nfs)
        {
            return Some((
                format!("the exempt domain '{name}' reads something of it, and a fence does not end that"),
                "Give that domain what it reads (an ISO image, a template) on storage of this host alone, or take its exemption away.",
            ));
        }
        if self.lease_device == Some(storage.target.device) {
            return Some((
                "the lease lies on the same file system, which stays in use".to_owned(),
                "Give the lease a mount of its own, with nosharecache and another minor version: vers=4.1.",
            ));
        }
        if !self.lease_disks.is_disjoint(&disks_beneath(Some(storage.target.device))) {
            return Some((
                "the lease lies on the same disk (LUN), which a fence over a dead path deletes".to_owned(),
                "Give the lease a LUN of its own.",
            ));
        }
        if !self.quiesces {
            return Some((
                "this host's fencer runs with --no-quiesce".to_owned(),
                "Start leasefence-fencer without it.",
            ));
        }
        let stays = storage.sharers.iter().find(|sharer| !ended.contains(&sharer.device))?;
        Some((
            format!(
                "over a dead path its server keeps the locks while {}, which shares its NFS client, is mounted",
                stays.place
            ),
            "Mount one of the two with another minor version: the lease with vers=4.1, the disks with vers=4.2.",
        ))
    }
}

/// The disks of iSCSI sessions on which a device lies.
fn disks_beneath(device: Option<u64>) -> BTreeSet<PathBuf> {
    device.and_then(Beneath::device).map(|beneath| beneath.disks).unwrap_or_default()
}

fn word(kind: StorageKind) -> &'static str {
    match kind {
        StorageKind::OneKernel => "one-kernel",
        StorageKind::Nfs => "nfs",
        StorageKind::Iscsi => "iscsi",
        StorageKind::Unprovable => "unprovable",
    }
}

#[cfg(test)]
mod tests {
    use leasefence_core::fencing::QuiesceTarget;
    use leasefence_hypervisor::NoProof;
    use leasefence_transport::Sharer;

    use super::*;

    fn storage(kind: StorageKind, no_proof: Option<NoProof>) -> Storage {
        let target = QuiesceTarget { kind, device: 50 };
        Storage { target, place: "s:/disks".to_owned(), no_proof, sharers: Vec::new() }
    }

    /// Catches: a storage said to be provable on a host whose fencer leaves it alone, or cannot unmount it under the lease.
    #[test]
    fn what_the_kernel_allows_the_set_up_may_still_spoil() {
        let good = Sight {
            lease_device: Some(49),
            lease_disks: BTreeSet::new(),
            quiesces: true,
            writers: Vec::new(),
            held: BTreeMap::new(),
        };
        let off = Sight { quiesces: false, ..good.clone() };
        let shared = Sight { lease_device: Some(50), ..good.clone() };
        let reason = |sight: &Sight, kind| {
            sight.describe(&storage(kind, None), &BTreeSet::new()).reason.unwrap_or_default()
        };
        for kind in [StorageKind::Nfs, StorageKind::Iscsi] {
            assert_eq!(reason(&good, kind), "");
            assert!(reason(&off, kind).contains("--no-quiesce"));
            assert!(reason(&shared, kind).contains("lease"));
        }
        let held = good.clone().with_held(BTreeMap::from([(50, "exempt-1".to_owned())]));
        assert!(reason(&held, StorageKind::Nfs).contains("exempt-1"));
        assert_eq!(reason(&held, StorageKind::Iscsi), "", "its disk is deleted whoever has it open");
        assert_eq!(reason(&off, StorageKind::OneKernel), "", "process exits need no fencer's hand");
        let own = off.describe(&storage(StorageKind::Nfs, Some(NoProof::LocksOfNfs3)), &BTreeSet::new());
        assert_eq!(own.reason, Some(NoProof::LocksOfNfs3.to_string()), "its own reason comes first");
        assert_eq!((own.provable, own.remedy.as_deref()), (false, Some(NoProof::LocksOfNfs3.remedy())));
    }

    /// Catches: a host that wants a reset when its path is cut, and that nobody was told of.
    #[test]
    fn an_nfs_client_that_something_shares_which_stays_is_named() {
        let sight = Sight {
            lease_device: Some(49),
            lease_disks: BTreeSet::new(),
            quiesces: true,
            writers: Vec::new(),
            held: BTreeMap::new(),
        };
        let mut disks = storage(StorageKind::Nfs, None);
        let sharer = |device, place: &str| Sharer { device, place: place.to_owned() };
        disks.sharers = vec![sharer(51, "/mnt/more-disks"), sharer(49, "/mnt/lease")];
        let reason =
            |disks: &Storage, ended: &[u64]| sight.describe(disks, &ended.iter().copied().collect()).reason;
        assert!(reason(&disks, &[50, 51]).is_some_and(|why| why.contains("/mnt/lease")));
        disks.sharers.pop();
        assert_eq!(reason(&disks, &[50, 51]), None, "a fence ends both");
        assert!(reason(&disks, &[50]).is_some_and(|why| why.contains("/mnt/more-disks")));
    }

    /// Catches: a qemu-nbd that keeps the host from giving a receipt when it matters, and that nobody was told of.
    #[test]
    fn whoever_writes_past_the_domains_is_named() -> std::io::Result<()> {
        let run_dir = tempfile::tempdir()?;
        let set_up = SetUp::new(Path::new("/"), run_dir.path());
        fs::write(run_dir.path().join("writers"), "0:49 5 tgtd\n0:50 77 qemu-nbd\n")?;
        for kind in [StorageKind::OneKernel, StorageKind::Nfs, StorageKind::Iscsi] {
            let reason = set_up.look().describe(&storage(kind, None), &BTreeSet::new()).reason;
            assert!(reason.is_some_and(|why| why.starts_with("qemu-nbd (pid 77), which is no domain's")));
        }
        Ok(())
    }

    #[test]
    fn a_fencer_that_was_told_to_leave_storages_alone_is_seen() -> std::io::Result<()> {
        let run_dir = tempfile::tempdir()?;
        let set_up = SetUp::new(Path::new("/"), run_dir.path());
        assert!(set_up.look().quiesces);
        fs::write(run_dir.path().join(NO_QUIESCE), "")?;
        assert!(!set_up.look().quiesces);
        Ok(())
    }
}
