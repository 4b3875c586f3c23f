//! The way to an NFS file system.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use nix::sys::stat::{major, minor};

use super::Obstacle;
use crate::mounts::{HOST_MOUNTS, mounts_with};
use crate::nfs::NfsMount;

/// The kernel's list of NFS file systems, of this network namespace.
const VOLUMES: &str = "/proc/fs/nfsfs/volumes";
/// Its statistics of each mount.
const STATS: &str = "/proc/1/mountstats";

/// The way to an NFS file system of which all can be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NfsWay {
    /// Where all its connections lead.
    pub server: SocketAddr,
    /// Who keeps the locks of its files.
    pub locks: Locks,
}

/// Who keeps the locks of a mount's files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Locks {
    /// This host alone: NFS 3 with `nolock`.
    Host,
    /// A protocol of their own, NLM: NFS 3. A dying process waits for its answer.
    Nlm,
    /// The server, for as long as this host's client lives, which all its mounts of that server share: NFS 4.
    Server,
}

impl NfsWay {
    /// The way to the file system with this device number; none when it is not mounted on this host.
    ///
    /// # Errors
    /// An [`Obstacle`] to showing it quiet.
    pub fn to(device: u64) -> Result<Option<Self>, Obstacle> {
        Self::below(Path::new("/"), device)
    }

    fn below(root: &Path, device: u64) -> Result<Option<Self>, Obstacle> {
        let here = mounts_with(root, device)
            .map_err(|error| Obstacle::unreadable(Path::new(HOST_MOUNTS), &error))?;
        let Some(first) = here.first() else { return Ok(None) };
        let nfs = NfsMount::of(first).ok_or(Obstacle::NumberReused)?;
        let server = nfs.server.filter(|_| nfs.tcp).ok_or(Obstacle::NoTcpServer)?;
        if !is_known(root, device)? {
            return Err(Obstacle::OtherNamespace);
        }
        let stats = read(root, STATS)?;
        if here.iter().any(|mount| writes_elsewhere(&stats, &mount.point)) {
            return Err(Obstacle::ParallelNfs);
        }
        let locks = match (nfs.version < (4, 0), first.option("nolock").is_some()) {
            (true, true) => Locks::Host,
            (true, false) => Locks::Nlm,
            (false, _) => Locks::Server,
        };
        Ok(Some(Self { server, locks }))
    }
}

/// Whether the kernel still has an NFS file system with this device number, mounted or not, in this network namespace.
///
/// # Errors
/// [`Obstacle::Unreadable`].
pub fn nfs_is_known(device: u64) -> Result<bool, Obstacle> {
    is_known(Path::new("/"), device)
}

/// The kernel resumes a list by its position, so that one which others change meanwhile may skip an entry: two readings that
/// agree are needed to believe that it is not there.
fn is_known(root: &Path, device: u64) -> Result<bool, Obstacle> {
    let mut last = read(root, VOLUMES)?;
    loop {
        let volumes = read(root, VOLUMES)?;
        if lists(&last, device) || lists(&volumes, device) {
            return Ok(true);
        }
        if volumes == last {
            return Ok(false);
        }
        last = volumes;
    }
}

fn read(root: &Path, path: &str) -> Result<String, Obstacle> {
    let below = root.join(path.trim_start_matches('/'));
    fs::read_to_string(below).map_err(|error| Obstacle::unreadable(Path::new(path), &error))
}

/// True when the kernel's list has a file system with this device number: the fourth column.
fn lists(volumes: &str, device: u64) -> bool {
    let number = format!("{}:{}", major(device), minor(device));
    volumes.lines().any(|line| line.split_whitespace().nth(3) == Some(&number))
}

/// Whether the kernel's statistics of the mount at `point` say that it has a layout of pNFS.
fn writes_elsewhere(stats: &str, point: &Path) -> bool {
    let here = format!(" mounted on {} with fstype nfs", point.display());
    let of_mount = stats.lines().skip_while(|line| !(line.starts_with("device ") && line.contains(&here)));
    let mut details = of_mount.skip(1).take_while(|line| !line.starts_with("device "));
    details.any(|line| line.contains(",pnfs=") && !line.contains(",pnfs=not configured"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use nix::sys::stat::makedev;

    use super::*;

    const VOLUMES_NOW: &str = "NV SERVER   PORT DEV          FSID                              FSC\n\
                               v4 0a4d0101  801 0:50         0:0                               no \n\
                               v3 0a4d0101  801 0:5          8c1f2a:0                          no \n";
    const STATS_NOW: &str = "device proc mounted on /proc with fstype proc\n\
                             device s:/a mounted on /mnt/a with fstype nfs4 statvers=1.1\n\
                             \topts:\trw,vers=4.2\n\
                             \tnfsv4:\tbm0=0xf8f3,acl=0x3,sessions,pnfs=not configured,lease_time=10\n\
                             device s:/b mounted on /mnt/b with fstype nfs4 statvers=1.1\n\
                             \tnfsv4:\tbm0=0xf8f3,acl=0x3,sessions,pnfs=LAYOUT_FLEX_FILES,lease_time=10\n";

    #[test]
    fn the_kernels_list_is_read_by_device_number() {
        let device = |minor| makedev(0, minor);
        assert!(lists(VOLUMES_NOW, device(50)) && lists(VOLUMES_NOW, device(5)));
        assert!(!lists(VOLUMES_NOW, device(1)) && !lists(VOLUMES_NOW, device(52)) && !lists("", device(50)));
    }

    #[test]
    fn a_layout_of_pnfs_is_seen_in_the_statistics_of_its_own_mount() {
        let elsewhere = |point| writes_elsewhere(STATS_NOW, Path::new(point));
        assert_eq!([elsewhere("/mnt/a"), elsewhere("/mnt/b"), elsewhere("/mnt")], [false, true, false]);
    }

    /// What the files of a kernel say that has these mounts and lists these volumes.
    fn way(mountinfo: &str, volumes: &str) -> io::Result<Result<Option<NfsWay>, Obstacle>> {
        let root = tempfile::tempdir()?;
        let root = root.path();
        fs::create_dir_all(root.join("proc/1"))?;
        fs::create_dir_all(root.join("proc/fs/nfsfs"))?;
        fs::write(root.join("proc/1/mountinfo"), mountinfo)?;
        fs::write(root.join("proc/1/mountstats"), STATS_NOW)?;
        fs::write(root.join("proc/fs/nfsfs/volumes"), volumes)?;
        Ok(NfsWay::below(root, makedev(0, 50)))
    }

    /// Each keeps the fencer from a proof that would be none. Catches: a mount of which writes leave unseen, taken for a plain one.
    #[test]
    fn what_cannot_be_shown_quiet_has_its_reason() -> io::Result<()> {
        let mount = |point: &str, options: &str| {
            format!("40 22 0:50 / {point} rw - nfs4 s:/disks rw,vers=4.2,{options}\n")
        };
        let tcp = "proto=tcp,addr=10.0.0.1";
        let good = NfsWay { server: "10.0.0.1:2049".parse().expect("an address"), locks: Locks::Server };
        assert_eq!(way(&mount("/mnt/a", tcp), VOLUMES_NOW)?, Ok(Some(good)));
        assert_eq!(way("", VOLUMES_NOW)?, Ok(None), "not mounted");
        for (options, locks) in
            [("vers=3", Locks::Nlm), ("vers=3,nolock", Locks::Host), ("vers=4.0", Locks::Server)]
        {
            let mount = format!("40 22 0:50 / /mnt/a rw - nfs s:/disks rw,{options},{tcp}\n");
            assert_eq!(
                way(&mount, VOLUMES_NOW)?.map(|way| way.map(|way| way.locks)),
                Ok(Some(locks)),
                "{options}"
            );
        }
        for (mountinfo, volumes, obstacle) in [
            (mount("/mnt/a", "proto=rdma,addr=10.0.0.1"), VOLUMES_NOW, Obstacle::NoTcpServer),
            (mount("/mnt/a", "proto=tcp"), VOLUMES_NOW, Obstacle::NoTcpServer),
            (mount("/mnt/a", tcp), "", Obstacle::OtherNamespace),
            (mount("/mnt/b", tcp), VOLUMES_NOW, Obstacle::ParallelNfs),
            // Mounted twice: one of the two is enough.
            (mount("/mnt/a", tcp) + &mount("/mnt/b", tcp), VOLUMES_NOW, Obstacle::ParallelNfs),
            ("40 22 0:50 / /mnt/a rw - tmpfs none rw\n".to_owned(), VOLUMES_NOW, Obstacle::NumberReused),
        ] {
            assert_eq!(way(&mountinfo, volumes)?, Err(obstacle), "{mountinfo}");
        }
        Ok(())
    }

    #[test]
    fn a_kernel_that_tells_nothing_is_named_by_the_file() {
        let told =
            NfsWay::below(Path::new("/nonexistent"), 50).expect_err("there is nothing to read").to_string();
        assert!(told.starts_with("/proc/1/mountinfo: "), "{told}");
    }
}
