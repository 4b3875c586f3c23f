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

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use leasefence_core::fencing::Quiet;
use leasefence_transport::{HOST_MOUNTS, Mount, NfsMount, mounts};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use rustix::fs::{major, minor};

use super::connections;
use super::probe::{Probe, Sync};
use super::worker::Answer;

/// The kernel's list of NFS file systems, of this network namespace.
const VOLUMES: &str = "/proc/fs/nfsfs/volumes";
/// Its statistics of each mount.
const STATS: &str = "/proc/1/mountstats";
/// How long the kernel is given to forget one that was unmounted, before the next attempt.
const FORGETTING: Duration = Duration::from_millis(100);
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// One NFS file system.
#[derive(Debug)]
pub(super) struct NfsStorage {
    device: u64,
    /// Its server, as found last, ahead of need: once it is unmounted nobody knows.
    server: Result<SocketAddr, String>,
    /// It was unmounted here, over a path that worked.
    gently: bool,
    /// Calls were cut off, or may have been: the server may hold what it has received.
    forced: bool,
    probe: Probe,
}

impl NfsStorage {
    /// The file system with this device number.
    pub(super) fn new(device: u64) -> Self {
        let server = Err("it is not mounted on this host".to_owned());
        let mut this = Self { device, server, gently: false, forced: false, probe: Probe::default() };
        this.look();
        this
    }

    /// Looks at it anew. What was known of one that is mounted no more is kept: it may have been unmounted to show it quiet.
    pub(super) fn look(&mut self) {
        if let Some(server) = server_of(self.device).transpose() {
            self.server = server;
        }
    }

    /// Does what is left to do, as far as it does not have to wait long.
    pub(super) fn quiesce(&mut self) -> Answer {
        self.look();
        let server = self.server.clone()?;
        if kernel_knows(self.device)? {
            let here = host_mounts(self.device)?;
            let gently = !self.forced && self.path_works(&here, server)?;
            self.unmount(&points_of(&here), gently)?;
            // Once it is unmounted, nothing but force is left for a path that has died meanwhile.
            let forgotten = self.wait_until_forgotten();
            self.forced |= forgotten.is_err();
            forgotten?;
            self.gently = gently;
        }
        // A connection that was given up may still send what was sent again over the next one.
        if self.gently && !self.forced && connections::have_sent_all(server)? {
            return Ok(Quiet::Acknowledged);
        }
        // Also where somebody else has unmounted it, over whatever path.
        self.forced = true;
        connections::end(server)?;
        Ok(Quiet::Forced)
    }

    /// By a call that is answered, and a sync. With `nocto` a mount's root may be opened without a call.
    fn path_works(&self, here: &[Mount], server: SocketAddr) -> Result<bool, String> {
        let Some(mount) = here.first().filter(|mount| mount.option("nocto").is_none()) else {
            return Ok(false);
        };
        let sync = Sync::FileSystem(mount.point.clone(), self.device);
        Ok(!connections::any_is_closing(server)? && self.probe.acknowledged(&sync))
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
        while kernel_knows(self.device)? {
            if begun.elapsed() >= FORGETTING {
                return Err("it is unmounted, and its calls have not ended".to_owned());
            }
            thread::sleep(BETWEEN_LOOKS);
        }
        Ok(())
    }
}

/// Where and how a file system is mounted now.
fn host_mounts(device: u64) -> Result<Vec<Mount>, String> {
    let text = fs::read_to_string(HOST_MOUNTS).map_err(|error| format!("{HOST_MOUNTS}: {error}"))?;
    Ok(mounts(&text).filter(|mount| mount.device == device).collect())
}

fn points_of(mounts: &[Mount]) -> Vec<PathBuf> {
    mounts.iter().map(|mount| mount.point.clone()).collect()
}

/// The server of a file system of which all can be shown; none when there is no mount of it now.
fn server_of(device: u64) -> Result<Option<SocketAddr>, String> {
    let here = host_mounts(device)?;
    let Some(first) = here.first() else { return Ok(None) };
    let nfs = NfsMount::of(first).ok_or("something else has its device number now")?;
    let server = nfs.server.filter(|_| nfs.tcp).ok_or("its mount names no TCP server address")?;
    if !kernel_knows(device)? {
        return Err("it was mounted in another network namespace".to_owned());
    }
    let stats = fs::read_to_string(STATS).map_err(|error| format!("{STATS}: {error}"))?;
    if points_of(&here).iter().any(|point| writes_elsewhere(&stats, point)) {
        return Err("its server lets writes go to other servers (pNFS), of which nothing is known".to_owned());
    }
    Ok(Some(server))
}

/// Whether the kernel's list has it. The kernel resumes a list by its position, so that one which others change meanwhile may
/// skip an entry: two readings that agree are needed to believe that it is not there.
fn kernel_knows(device: u64) -> Result<bool, String> {
    let read = || fs::read_to_string(VOLUMES).map_err(|error| format!("{VOLUMES}: {error}"));
    let mut last = read()?;
    loop {
        let volumes = read()?;
        if lists(&last, device) || lists(&volumes, device) {
            return Ok(true);
        }
        if volumes == last {
            return Ok(false);
        }
        last = volumes;
    }
}

/// Whether the kernel's statistics of the mount at `point` say that it has a layout of pNFS.
fn writes_elsewhere(stats: &str, point: &Path) -> bool {
    let here = format!(" mounted on {} with fstype nfs", point.display());
    let of_mount = stats.lines().skip_while(|line| !(line.starts_with("device ") && line.contains(&here)));
    let mut details = of_mount.skip(1).take_while(|line| !line.starts_with("device "));
    details.any(|line| line.contains(",pnfs=") && !line.contains(",pnfs=not configured"))
}

/// True when the kernel's list has a file system with this device number: the fourth column.
fn lists(volumes: &str, device: u64) -> bool {
    let number = format!("{}:{}", major(device), minor(device));
    volumes.lines().any(|line| line.split_whitespace().nth(3) == Some(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_read_by_device_number() {
        let volumes = "NV SERVER   PORT DEV          FSID                              FSC\n\
                       v4 0a4d0101  801 0:51         0:0                               no \n\
                       v3 0a4d0101  801 0:5          8c1f2a:0                          no \n";
        let device = |minor| rustix::fs::makedev(0, minor);
        assert!(lists(volumes, device(51)) && lists(volumes, device(5)));
        assert!(!lists(volumes, device(1)) && !lists(volumes, device(52)) && !lists("", device(51)));
    }

    #[test]
    fn a_layout_of_pnfs_is_seen_in_the_statistics_of_its_own_mount() {
        let stats = "device proc mounted on /proc with fstype proc\n\
                     device s:/a mounted on /mnt/a with fstype nfs4 statvers=1.1\n\
                     \topts:\trw,vers=4.2\n\
                     \tnfsv4:\tbm0=0xf8f3,acl=0x3,sessions,pnfs=not configured,lease_time=10\n\
                     device s:/b mounted on /mnt/b with fstype nfs4 statvers=1.1\n\
                     \tnfsv4:\tbm0=0xf8f3,acl=0x3,sessions,pnfs=LAYOUT_FLEX_FILES,lease_time=10\n";
        let elsewhere = |point| writes_elsewhere(stats, Path::new(point));
        assert_eq!([elsewhere("/mnt/a"), elsewhere("/mnt/b"), elsewhere("/mnt")], [false, true, false]);
    }

    #[test]
    fn what_is_not_mounted_has_a_reason_and_no_proof() {
        let mut storage = NfsStorage::new(rustix::fs::makedev(0, 1_048_575));
        assert!(storage.quiesce().is_err());
        storage.look();
        assert!(storage.quiesce().is_err());
    }
}
