//! How long the image lock of a QEMU that died with its host keeps the next one out: that is the server's business, and the
//! recovery tries again until the server lets go. The report's `silent` is the measurement; docs/STORAGE.md has what came of it.

use super::{cut_past_verdict, power_off};
use crate::cluster::LEASE_TTL;
use crate::scenario::{Failure, KnownRed, Red, Scenario};
use crate::stage::Stage;
use crate::storage::Storage;

const NFS: &[Storage] = &[Storage::Nfs];

pub(super) const LEASE_TIME_90: Scenario = Scenario::new(
    "locks-90",
    "loses its power while the NFS server's lease time is 90 s, its default: the guest starts once elsewhere, when its lock is free",
    |stage| {
        server_lease_time(stage, 90)?;
        let seen = power_off::play(stage);
        server_lease_time(stage, LEASE_TTL.as_secs())?;
        seen
    },
)
.only_on(NFS);

pub(super) const NFS_3: Scenario = Scenario::new(
    "locks-nfs3",
    "loses its power with its guest's disk on NFS 3: the guest starts once elsewhere",
    |stage| on_nfs_3(stage, "vers=3", power_off::play),
)
.only_on(NFS);

pub(super) const NFS_3_NOLOCK: Scenario = Scenario::new(
    "locks-nfs3-nolock",
    "loses its power with its guest's disk on NFS 3 without locks: the guest starts once elsewhere",
    |stage| on_nfs_3(stage, "vers=3,nolock", power_off::play),
)
.only_on(NFS);

/// On NFS 4 the next QEMU gets the image lock when the server has given up the dead client's state, which seems to keep that
/// client's late writes out as well: `cut-past-verdict` passes there even when nothing is quiesced. On NFS 3 there is no such
/// state, and a dying QEMU waits for its lock's server: the watchdog ends that.
pub(super) const TRAP: Scenario = Scenario::new(
    "trap-nfs3",
    "has its guest's disk on NFS 3 and is cut off until its guest runs elsewhere, then the cut heals: its watchdog has reset it, and nothing of the old guest lands",
    |stage| on_nfs_3(stage, "vers=3", cut_past_verdict::play_unproven),
)
.only_on(NFS);

/// Without locks nothing keeps a dying QEMU, and what it had under way is cut off.
pub(super) const TRAP_NOLOCK: Scenario = Scenario::new(
    "trap-nfs3-nolock",
    "has its guest's disk on NFS 3 without locks and is cut off until its guest runs elsewhere, then the cut heals: nothing of the old guest lands",
    |stage| on_nfs_3(stage, "vers=3,nolock", cut_past_verdict::play),
)
.only_on(NFS);

/// The same with nothing between the trap and the disk.
pub(super) const TRAP_NOT_QUIESCED: Scenario = Scenario::new(
    "trap-nfs3-not-quiesced",
    "has its guest's disk on NFS 3 without locks, no watchdog and a fencer with --no-quiesce, and is cut off until its guest runs elsewhere, then the cut heals: nothing of the old guest lands",
    |stage| on_nfs_3(stage, "vers=3,nolock", cut_past_verdict::play_not_quiesced),
)
.only_on(NFS)
.known_red(&[KnownRed { on: Storage::Nfs, red: Red::LateWrite, why: cut_past_verdict::TRAP_WORKS }]);

fn server_lease_time(stage: &mut Stage<'_>, seconds: u64) -> Result<(), Failure> {
    stage.on_storage(&format!(
        "sed -i 's/^lease-time=.*/lease-time={seconds}/' /etc/nfs.conf.d/lab.conf && systemctl restart nfs-server && \
         grep -qx {seconds} /proc/fs/nfsd/nfsv4leasetime"
    ))?;
    // The hosts learn it when they take their sessions up again.
    stage.wait_ttl(2.0)
}

fn on_nfs_3(
    stage: &mut Stage<'_>,
    options: &str,
    then: fn(&mut Stage<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    stage.cluster().remount_disks(Some(options))?;
    let seen = then(stage);
    stage.cluster().remount_disks(None)?;
    seen
}
