//! An NFS file system. It is quiet when the kernel has forgotten its superblock, and no connection over which it has sent is left.
//!
//! - Each call that writes holds the superblock, also after the process that wrote was killed. So one that is gone from the
//!   kernel's list has no call left which could be sent, or sent again.
//! - What a call had given to its connection lies in that socket's send queue, and leaves when the path is back. So where calls
//!   were cut off, the connections to the server are ended, those that nobody owns any more as well. Other mounts of that server
//!   may share them; their calls are sent again over new ones.
//!
//! Where the path works nothing is cut off: a sync is acknowledged, the file system is unmounted, and the kernel waits for the
//! calls that are left.
//!
//! Where it does not, NFS 4 is cut off and no proof is given all the same. The calls that would have given up the files' locks are
//! cut off as well, and the server keeps these for as long as this host's NFS client lives, which the lease's mount shares:
//! a host that came back without a reset would keep its domains' images locked for ever.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use leasefence_core::fencing::Quiet;
use leasefence_transport::{HOST_MOUNTS, Locks, Mount, NfsWay, nfs_is_known};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use super::connections;
use super::probe::{PATIENCE, Probe, Sync};
use super::worker::Answer;

/// How long the kernel is given to forget one that was unmounted, before the next attempt.
const FORGETTING: Duration = Duration::from_millis(100);
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);
/// How long NFS 4 is given to answer: most of what the fence budget has for quiescence, since what is cut off is not proven.
const PATIENCE_OF_NFS_4: Duration = Duration::from_millis(700);

/// One NFS file system.
#[derive(Debug)]
pub(super) struct NfsStorage {
    device: u64,
    /// What leads to it, as found last, ahead of need: once it is unmounted nobody knows.
    way: Result<NfsWay, String>,
    /// What was mounted: `server:/export`.
    source: Option<String>,
    /// The kernel has forgotten it: its number may be another's.
    forgotten: bool,
    /// It was unmounted here, over a path that worked.
    gently: bool,
    /// Calls were cut off, or may have been: the server may hold what it has received.
    forced: bool,
    /// It was, and the connections are ended: nothing is left to do, and no proof will be given.
    cut_off: bool,
    probe: Probe,
}

impl NfsStorage {
    /// The file system with this device number.
    pub(super) fn new(device: u64) -> Self {
        let way = Err("it is not mounted on this host".to_owned());
        let mut this = Self {
            device,
            way,
            source: None,
            forgotten: false,
            gently: false,
            forced: false,
            cut_off: false,
            probe: Probe::default(),
        };
        this.look();
        this
    }

    /// Looks at it anew. What was known of one that is mounted no more is kept: it may have been unmounted to show it quiet.
    pub(super) fn look(&mut self) {
        let here = host_mounts(self.device).unwrap_or_default();
        if self.is_another_s(&here) {
            return;
        }
        self.source = here.into_iter().next().map(|mount| mount.source).or(self.source.take());
        if let Some(way) = NfsWay::to(self.device).transpose() {
            self.way = way.map_err(|obstacle| obstacle.to_string());
        }
    }

    /// Does what is left to do, as far as it does not have to wait long.
    pub(super) fn quiesce(&mut self) -> Answer {
        self.look();
        let NfsWay { server, locks } = self.way.clone()?;
        let here = host_mounts(self.device)?;
        if !self.is_another_s(&here) && is_known(self.device)? {
            (self.forgotten, self.cut_off) = (false, false);
            let gently = !self.forced && self.path_works(&here, server, locks)?;
            self.unmount(&points_of(&here), gently)?;
            // Once it is unmounted, nothing but force is left for a path that has died meanwhile.
            let forgotten = self.wait_until_forgotten();
            self.forced |= forgotten.is_err();
            forgotten?;
            (self.forgotten, self.gently) = (true, gently);
        }
        // A connection that was given up may still send what was sent again over the next one.
        if self.gently && !self.forced && connections::have_sent_all(server)? {
            return Ok(Quiet::Acknowledged);
        }
        // Also where somebody else has unmounted it, over whatever path.
        self.forced = true;
        if !self.cut_off {
            connections::end(server)?;
        }
        // Others go on using that server.
        self.cut_off = locks == Locks::Server;
        match self.cut_off {
            true => Err("it is cut off, and its server keeps the locks until this host is reset".to_owned()),
            false => Ok(Quiet::Forced),
        }
    }

    /// Whether something else is mounted under the number that it had.
    fn is_another_s(&self, here: &[Mount]) -> bool {
        let ours = |mount: &Mount| self.source.as_ref() == Some(&mount.source);
        self.forgotten && !here.is_empty() && !here.iter().any(ours)
    }

    /// By a call that is answered, and a sync. With `nocto` a mount's root may be opened without a call.
    fn path_works(&self, here: &[Mount], server: SocketAddr, locks: Locks) -> Result<bool, String> {
        let Some(mount) = here.first().filter(|mount| mount.option("nocto").is_none()) else {
            return Ok(false);
        };
        let sync = Sync::FileSystem(mount.point.clone(), self.device);
        let patience = if locks == Locks::Server { PATIENCE_OF_NFS_4 } else { PATIENCE };
        Ok(!connections::any_is_closing(server)? && self.probe.acknowledged(&sync, patience))
    }

    fn unmount(&mut self, points: &[PathBuf], gently: bool) -> Result<(), String> {
        let mut flags = MntFlags::UMOUNT_NOFOLLOW;
        if !gently {
            self.forced = true;
            flags |= MntFlags::MNT_FORCE;
        }
        for point in points {
            match umount2(point, flags) {
                // Somebody else has just unmounted it.
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
                Err(error) => return Err(format!("unmounting {}: {}", point.display(), error.desc())),
            }
        }
        Ok(())
    }

    fn wait_until_forgotten(&self) -> Result<(), String> {
        let begun = Instant::now();
        while is_known(self.device)? {
            if begun.elapsed() >= FORGETTING {
                return Err("it is unmounted, and its calls have not ended".to_owned());
            }
            thread::sleep(BETWEEN_LOOKS);
        }
        Ok(())
    }
}

/// Whether the kernel has not forgotten it.
fn is_known(device: u64) -> Result<bool, String> {
    nfs_is_known(device).map_err(|obstacle| obstacle.to_string())
}

/// Where and how it is mounted now.
fn host_mounts(device: u64) -> Result<Vec<Mount>, String> {
    leasefence_transport::host_mounts(device).map_err(|error| format!("{HOST_MOUNTS}: {error}"))
}

fn points_of(mounts: &[Mount]) -> Vec<PathBuf> {
    mounts.iter().map(|mount| mount.point.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches: an innocent mount that is unmounted in its place, and one of its own that is not unmounted again.
    #[test]
    fn what_has_its_number_after_it_was_forgotten_is_left_alone_unless_it_is_the_same() {
        let mount = |source: &str| {
            let line = format!("40 22 0:50 / /mnt/a rw - nfs4 {source} rw\n");
            leasefence_transport::mounts(&line).collect::<Vec<_>>()
        };
        let mut storage = NfsStorage::new(rustix::fs::makedev(0, 1_048_575));
        storage.source = Some("s:/disks".to_owned());
        assert!(!storage.is_another_s(&mount("s:/other")), "it was not forgotten yet");
        storage.forgotten = true;
        assert!(storage.is_another_s(&mount("s:/other")));
        assert!(!storage.is_another_s(&mount("s:/disks")) && !storage.is_another_s(&[]));
    }

    #[test]
    fn what_is_not_mounted_has_a_reason_and_no_proof() {
        let mut storage = NfsStorage::new(rustix::fs::makedev(0, 1_048_575));
        assert!(storage.quiesce().is_err());
        storage.look();
        assert!(storage.quiesce().is_err());
    }
}
