//! The way to an NFS file system.

use std::net::SocketAddr;
use std::path::Path;

use nix::sys::stat::{major, minor};

use super::{Obstacle, list, own, volumes};
use crate::mounts::{HOST_MOUNTS, Mount, mounts, mounts_with};
use crate::nfs::{NfsMount, statistics_of};

/// Its statistics of each mount.
const STATS: &str = "/proc/1/mountstats";

/// The way to an NFS file system of which all can be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NfsWay {
    /// Where all its connections lead.
    pub server: SocketAddr,
    /// Major and minor version of the protocol: those of NFS 4 with the same one share this host's client at the server.
    pub version: (u8, u8),
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
    /// The server, for as long as this host's client lives: NFS 4.
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
        let mountinfo = list(root, HOST_MOUNTS)?;
        let here: Vec<Mount> = mounts(&mountinfo).filter(|mount| mount.device == device).collect();
        let Some(first) = here.first() else { return Ok(None) };
        let nfs = NfsMount::of(first).ok_or(Obstacle::NumberReused)?;
        if let Some(system) = here.iter().find(|mount| mount.is_of_the_system()) {
            return Err(Obstacle::OwnSystem(system.point.clone()));
        }
        own::spares_mount(root, &mountinfo, device)?;
        let server = nfs.server.filter(|_| nfs.tcp).ok_or(Obstacle::NoTcpServer)?;
        if !volumes::is_known(root, device)? {
            return Err(Obstacle::OtherNamespace);
        }
        let trunked = |mount: &Mount| {
            mount.option("trunkdiscovery").is_some()
                || mount.option("max_connect").is_some_and(|most| most.parse() != Ok(1))
        };
        if here.iter().any(trunked) {
            return Err(Obstacle::Trunked);
        }
        let stats = list(root, STATS)?;
        if here.iter().any(|mount| writes_elsewhere(&stats, &mount.point)) {
            return Err(Obstacle::ParallelNfs);
        }
        let locks = match (nfs.version < (4, 0), first.option("nolock").is_some()) {
            (true, true) => Locks::Host,
            (true, false) => Locks::Nlm,
            (false, _) => Locks::Server,
        };
        Ok(Some(Self { server, version: nfs.version, locks }))
    }

    /// The other file systems that share this one's client at the server, which lives on with them. The kernel has a client for
    /// each server address and minor version (`nfs_match_client`); one that the host has not mounted, but somebody else has, may be of any.
    ///
    /// # Errors
    /// [`Obstacle::Unreadable`].
    pub fn sharers(&self, device: u64) -> Result<Vec<Sharer>, Obstacle> {
        self.sharers_below(Path::new("/"), device)
    }

    fn sharers_below(&self, root: &Path, device: u64) -> Result<Vec<Sharer>, Obstacle> {
        if self.locks != Locks::Server {
            return Ok(Vec::new());
        }
        let mut sharers = Vec::new();
        for other in volumes::of_server(root, self.server)?.into_iter().filter(|other| *other != device) {
            let mount = host_mounts(root, other)?.into_iter().next();
            let version = mount.as_ref().and_then(NfsMount::of).map(|nfs| nfs.version);
            if version.is_none_or(|version| version == self.version) {
                let place = match mount {
                    Some(mount) => mount.point.display().to_string(),
                    None => format!("a mount out of sight ({}:{})", major(other), minor(other)),
                };
                sharers.push(Sharer { device: other, place });
            }
        }
        Ok(sharers)
    }
}

/// A file system that shares another's client at their server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sharer {
    /// Its device number.
    pub device: u64,
    /// Where it is mounted, for people.
    pub place: String,
}

fn host_mounts(root: &Path, device: u64) -> Result<Vec<Mount>, Obstacle> {
    mounts_with(root, device).map_err(|error| Obstacle::unreadable(Path::new(HOST_MOUNTS), &error))
}

/// Whether the kernel's statistics of the mount at `point` say that it has a layout of pNFS.
fn writes_elsewhere(stats: &str, point: &Path) -> bool {
    let has_layout = |line: &str| line.contains(",pnfs=") && !line.contains(",pnfs=not configured");
    statistics_of(stats, point).any(has_layout)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::{fs, io};

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
    fn a_layout_of_pnfs_is_seen_in_the_statistics_of_its_own_mount() {
        let elsewhere = |point| writes_elsewhere(STATS_NOW, Path::new(point));
        assert_eq!([elsewhere("/mnt/a"), elsewhere("/mnt/b"), elsewhere("/mnt")], [false, true, false]);
    }

    /// The files of a kernel that has these mounts and lists these volumes.
    fn kernel(mountinfo: &str, volumes: &str) -> io::Result<tempfile::TempDir> {
        let root = tempfile::tempdir()?;
        fs::create_dir_all(root.path().join("proc/1"))?;
        fs::create_dir_all(root.path().join("proc/fs/nfsfs"))?;
        fs::write(root.path().join("proc/1/mountinfo"), mountinfo)?;
        fs::write(root.path().join("proc/1/mountstats"), STATS_NOW)?;
        fs::write(root.path().join("proc/fs/nfsfs/volumes"), volumes)?;
        Ok(root)
    }

    fn way(mountinfo: &str, volumes: &str) -> io::Result<Result<Option<NfsWay>, Obstacle>> {
        Ok(NfsWay::below(kernel(mountinfo, volumes)?.path(), makedev(0, 50)))
    }

    /// Catches: a host that comes back without a reset, while its server keeps the images locked for a client that lives on.
    #[test]
    fn what_has_the_same_server_and_minor_version_shares_the_client() -> io::Result<()> {
        let mount = |minor: u32, point: &str, version: &str, server: &str| {
            format!("40 22 0:{minor} / {point} rw - nfs4 s:/x rw,vers={version},proto=tcp,addr={server}\n")
        };
        let disks = mount(50, "/disks", "4.2", "10.0.0.1");
        let listed = |minor: u32, server: &str| format!("v4 {server}  801 0:{minor}  0:0  no\n");
        let (here, elsewhere) = ("0a000001", "0a000002");
        let sharers = |mounts: &str, volumes: &str| -> io::Result<Vec<String>> {
            let root = kernel(&(disks.clone() + mounts), &(listed(50, here) + volumes))?;
            let way = NfsWay::below(root.path(), makedev(0, 50)).expect("a way").expect("mounted");
            let sharers = way.sharers_below(root.path(), makedev(0, 50)).expect("readable");
            Ok(sharers.into_iter().map(|sharer| sharer.place).collect())
        };
        assert!(sharers("", "")?.is_empty(), "it has one of its own");
        assert_eq!(sharers(&mount(51, "/lease", "4.2", "10.0.0.1"), &listed(51, here))?, ["/lease"]);
        assert!(sharers(&mount(51, "/lease", "4.1", "10.0.0.1"), &listed(51, here))?.is_empty());
        assert!(sharers(&mount(51, "/lease", "4.2", "10.0.0.2"), &listed(51, elsewhere))?.is_empty());
        assert_eq!(sharers("", &listed(52, here))?, ["a mount out of sight (0:52)"]);
        assert!(sharers("", &listed(52, elsewhere))?.is_empty());
        Ok(())
    }

    /// Each keeps the fencer from a proof that would be none. Catches: a mount of which writes leave unseen, taken for a plain one.
    #[test]
    fn what_cannot_be_shown_quiet_has_its_reason() -> io::Result<()> {
        let mount = |point: &str, options: &str| {
            format!("40 22 0:50 / {point} rw - nfs4 s:/disks rw,vers=4.2,{options}\n")
        };
        let tcp = "proto=tcp,addr=10.0.0.1";
        let server = "10.0.0.1:2049".parse().expect("an address");
        let good = NfsWay { server, version: (4, 2), locks: Locks::Server };
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
            (mount("/mnt/a", "trunkdiscovery,proto=tcp,addr=10.0.0.1"), VOLUMES_NOW, Obstacle::Trunked),
            (mount("/mnt/a", "max_connect=2,proto=tcp,addr=10.0.0.1"), VOLUMES_NOW, Obstacle::Trunked),
            (mount("/mnt/b", tcp), VOLUMES_NOW, Obstacle::ParallelNfs),
            // Mounted twice: one of the two is enough.
            (mount("/mnt/a", tcp) + &mount("/mnt/b", tcp), VOLUMES_NOW, Obstacle::ParallelNfs),
            ("40 22 0:50 / /mnt/a rw - tmpfs none rw\n".to_owned(), VOLUMES_NOW, Obstacle::NumberReused),
        ] {
            assert_eq!(way(&mountinfo, volumes)?, Err(obstacle), "{mountinfo}");
        }
        Ok(())
    }

    /// Catches: a fence that unmounts the file which the host swaps to.
    #[test]
    fn a_file_system_that_the_host_swaps_to_is_left_alone() -> io::Result<()> {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      40 22 0:50 / /mnt/a rw - nfs4 s:/disks rw,vers=4.2,proto=tcp,addr=10.0.0.1\n";
        let root = kernel(mounts, VOLUMES_NOW)?;
        for (swap, obstacle) in [
            ("/mnt/a/swap file\t", Some(Obstacle::OwnSwap("/mnt/a/swap".into()))),
            ("/swap file\t", None),
            ("/dev/sda2 partition", None),
        ] {
            fs::write(root.path().join("proc/swaps"), format!("Filename Type\n{swap} 1 0 -2\n"))?;
            assert_eq!(NfsWay::below(root.path(), makedev(0, 50)).err(), obstacle, "{swap}");
        }
        Ok(())
    }

    /// Catches: a host without a proof since something else is mounted under an old name; and a mount with a blank or such a byte in its
    /// own name, of which writes leave unseen, taken for a plain one.
    #[test]
    fn a_name_that_is_no_utf_8_spoils_no_other_mount_and_is_found_itself() -> io::Result<()> {
        let line = |place: &[u8]| {
            [&b"40 22 0:50 / "[..], place, b" rw - nfs4 s:/disks rw,vers=4.2,proto=tcp,addr=10.0.0.1\n"]
                .concat()
        };
        let stats = |place: &[u8], layout: &[u8]| {
            let device =
                [&b"device s:/disks mounted on "[..], place, b" with fstype nfs4 statvers=1.1\n"].concat();
            [&device[..], b"\tnfsv4:\tbm0=0xf8f3,sessions,pnfs=", layout, b",lease_time=10\n"].concat()
        };
        let way = |mounts: &[u8], stats: &[u8]| -> io::Result<_> {
            let root = kernel("", VOLUMES_NOW)?;
            fs::write(root.path().join("proc/1/mountinfo"), mounts)?;
            fs::write(root.path().join("proc/1/mountstats"), stats)?;
            Ok(NfsWay::below(root.path(), makedev(0, 50)))
        };
        let other = &b"41 22 8:1 / /mnt/\xff rw - vfat /dev/\xfe rw\n"[..];
        let other_stats = &b"device /dev/\xfe mounted on /mnt/\xff with fstype vfat\n"[..];
        for place in [&b"/mnt/disks"[..], b"/mnt/\xe4", b"/mnt/a\\040b"] {
            let mounts = [other, &line(place)[..]].concat();
            for (layout, is_plain) in [(&b"not configured"[..], true), (&b"LAYOUT_FLEX_FILES"[..], false)] {
                let found = way(&mounts, &[other_stats, &stats(place, layout)[..]].concat())?;
                assert_eq!(found.is_ok(), is_plain, "{}: {found:?}", place.escape_ascii());
                assert!(is_plain || found == Err(Obstacle::ParallelNfs));
            }
        }
        let root = kernel("", VOLUMES_NOW)?;
        fs::write(root.path().join("proc/1/mountinfo"), line(b"/mnt/\xe4"))?;
        let points = mounts_with(root.path(), makedev(0, 50))?.into_iter().map(|mount| mount.point);
        assert!(points.map(|point| point.as_os_str().as_bytes().to_vec()).eq([b"/mnt/\xe4".to_vec()]));
        Ok(())
    }

    #[test]
    fn a_kernel_that_tells_nothing_is_named_by_the_file() {
        let told =
            NfsWay::below(Path::new("/nonexistent"), 50).expect_err("there is nothing to read").to_string();
        assert!(told.starts_with("/proc/1/mountinfo: "), "{told}");
    }
}
