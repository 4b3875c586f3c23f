//! An NFS mount, as the kernel describes it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::mounts::{Mount, mounts, unescaped};

/// Where an NFS server listens, unless the mount says otherwise (RFC 8881, 2.9).
const NFS_PORT: u16 = 2049;

/// An NFS mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NfsMount {
    /// What is mounted: `server:/export`.
    pub source: String,
    /// Major and minor version of the protocol.
    pub version: (u8, u8),
    /// The server.
    pub server: Option<SocketAddr>,
    /// True over TCP.
    pub tcp: bool,
    /// False for `soft` and `softerr`: calls fail after a while.
    pub hard: bool,
    /// Another mount of the same server that may apply a write twice: then no connection to it is made anew.
    pub old_beside: Option<PathBuf>,
    /// For how long the server keeps what a silent client has open (NFS 4); none where that is not known.
    pub lease_time: Option<Duration>,
}

impl NfsMount {
    /// The NFS side of a mount; none where it is of another kind.
    #[must_use]
    pub fn of(mount: &Mount) -> Option<Self> {
        if !matches!(mount.fs_type.as_str(), "nfs" | "nfs4") {
            return None;
        }
        let address = mount.option("addr").and_then(|text| text.parse::<IpAddr>().ok());
        let port = mount.option("port").and_then(|text| text.parse().ok()).filter(|port| *port != 0);
        Some(Self {
            source: mount.source.to_string_lossy().into_owned(),
            version: version(mount.option("vers").unwrap_or_default()),
            server: address.map(|address| SocketAddr::new(address, port.unwrap_or(NFS_PORT))),
            tcp: mount.option("proto").is_none_or(|proto| proto.starts_with("tcp")),
            hard: mount.option("soft").is_none() && mount.option("softerr").is_none(),
            old_beside: None,
            lease_time: None,
        })
    }

    /// The same, with what else is mounted from its server.
    pub(crate) fn among(self, mountinfo: &str) -> Self {
        let old_beside = self.keepable().and_then(|server| old_mount_of(mountinfo, server));
        Self { old_beside, ..self }
    }

    /// The same, with what the kernel's statistics of the mount at `point` say. They are kept in memory: no server is asked.
    pub(crate) fn known_by(self, mountstats: &str, point: &Path) -> Self {
        Self { lease_time: lease_time(mountstats, point), ..self }
    }

    /// True where calls that are sent again are applied once: the sessions of NFS 4.1 and later (RFC 8881, 2.10.6).
    #[must_use]
    pub fn applies_once(&self) -> bool {
        self.version >= (4, 1)
    }

    /// The server, where its connection may be made anew while calls are under way.
    #[must_use]
    pub fn keepable(&self) -> Option<SocketAddr> {
        self.server.filter(|_| self.applies_once() && self.tcp)
    }

    pub(crate) fn advice(&self, ttl: Duration) -> Vec<String> {
        let mut advice = Vec::new();
        let source = &self.source;
        if !self.applies_once() {
            let (major, minor) = self.version;
            advice.push(format!(
                "The lease lies on NFS {major}.{minor} ({source}): such a server may apply a write twice, and its connection \
                 cannot be made anew while writes are under way, so that a link cut much shorter than the ttl of {ttl:?} \
                 ends the lease. Mount it with vers=4.1."
            ));
        }
        if !self.hard {
            advice.push(format!(
                "The lease is mounted soft ({source}): a write that has failed may still land much later. Mount it hard."
            ));
        }
        if let Some(old) = &self.old_beside {
            advice.push(format!(
                "{} is mounted from the lease's server ({source}) by a version before NFS 4.1, which may apply a write twice: \
                 no connection to that server is made anew, so that a link cut much shorter than the ttl of {ttl:?} may end \
                 the lease. Mount it with vers=4.1 or later.",
                old.display()
            ));
        }
        if self.applies_once() && self.keepable().is_none() {
            advice.push(format!(
                "The mount of the lease ({source}) names no TCP server address: a stalled connection cannot be made anew, so \
                 that a link cut much shorter than the ttl of {ttl:?} may end the lease."
            ));
        }
        if let Some(lease_time) = self.lease_time.filter(|lease_time| *lease_time < ttl) {
            advice.push(format!(
                "The server of the lease ({source}) has an NFS lease time of {lease_time:?}, less than the ttl of {ttl:?}: newer \
                 kernels (6.12, not 6.1) give a silent connection up after it, and wait three seconds once the path is back, so \
                 that a longer link cut may end the lease. Set lease-time to the ttl on the server, and mount it anew."
            ));
        }
        advice
    }
}

/// What the kernel's statistics say of the mount of NFS at `point`.
pub(crate) fn statistics_of<'a>(mountstats: &'a str, point: &Path) -> impl Iterator<Item = &'a str> {
    let is_device = |line: &&str| line.starts_with("device ");
    // `device s:/a mounted on /mnt/a with fstype nfs4 statvers=1.1`
    let is_it = move |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        let is_nfs = words.get(7).is_some_and(|fs_type| fs_type.starts_with("nfs"));
        is_device(line) && is_nfs && Path::new(&unescaped(words[4])) == point
    };
    mountstats.lines().skip_while(move |line| !is_it(line)).skip(1).take_while(move |line| !is_device(line))
}

/// The server's lease time, in the statistics of a mount of NFS 4.
fn lease_time(mountstats: &str, point: &Path) -> Option<Duration> {
    let mut words = statistics_of(mountstats, point).flat_map(|line| line.split([',', '\t']));
    let seconds = words.find_map(|word| word.strip_prefix("lease_time="))?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A mount over TCP of this server whose calls may be applied twice: where it lies. Nobody can tell its connection from that of
/// the lease, so neither may be made anew.
pub(crate) fn old_mount_of(mountinfo: &str, server: SocketAddr) -> Option<PathBuf> {
    let old = |mount: &Mount| {
        NfsMount::of(mount).is_some_and(|nfs| nfs.server == Some(server) && nfs.tcp && !nfs.applies_once())
    };
    mounts(mountinfo).find(old).map(|mount| mount.point)
}

/// `4.2`, `4`, `3`; what cannot be read is taken for the oldest.
fn version(text: &str) -> (u8, u8) {
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    (major.parse().unwrap_or(0), minor.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(12);

    fn mount(fs_type: &str, options: &str) -> Option<NfsMount> {
        NfsMount::of(&Mount {
            device: 0,
            point: PathBuf::from("/lease"),
            fs_type: fs_type.to_owned(),
            flags: "rw".to_owned(),
            source: "s:/".into(),
            options: options.to_owned(),
        })
    }

    #[test]
    fn a_connection_is_made_anew_only_where_calls_are_applied_once() {
        let server = Some("10.0.0.1:2049".parse().expect("an address"));
        let good = mount("nfs4", "rw,vers=4.2,hard,proto=tcp,addr=10.0.0.1").expect("nfs");
        assert_eq!((good.keepable(), good.advice(TTL).len()), (server, 0));
        assert_eq!(
            mount("nfs4", "vers=4.1,proto=tcp6,addr=fe80::1,port=20049")
                .and_then(|m| m.keepable())
                .map(|a| a.port()),
            Some(20_049)
        );
        for (options, advice) in [
            ("vers=4.0,proto=tcp,addr=10.0.0.1", 1),
            ("vers=3,proto=udp,addr=10.0.0.1", 1),
            ("vers=4.2,proto=rdma,addr=10.0.0.1", 1),
            ("vers=4.2,proto=tcp", 1),
            ("addr=10.0.0.1,soft", 2),
        ] {
            let old = mount("nfs", options).expect("nfs");
            assert_eq!((old.keepable(), old.advice(TTL).len()), (None, advice), "{options}");
        }
        let soft = mount("nfs4", "vers=4.2,softerr,proto=tcp,addr=10.0.0.1").expect("nfs");
        assert_eq!((soft.keepable(), soft.advice(TTL).len()), (server, 1));
        assert_eq!(mount("ext4", "vers=4.2"), None);
    }

    #[test]
    fn an_old_mount_of_the_same_server_is_found() {
        const MOUNTS: &str = "40 22 0:50 / /lease rw - nfs4 s:/lease rw,vers=4.2,proto=tcp,addr=10.0.0.1
41 22 0:51 / /udp rw - nfs s:/a rw,vers=3,proto=udp,addr=10.0.0.1
42 22 0:52 / /other rw - nfs s:/b rw,vers=3,proto=tcp,addr=10.0.0.2
";
        let of = |text: &str| old_mount_of(text, "10.0.0.1:2049".parse().expect("an address"));
        assert_eq!(of(MOUNTS), None);
        for old in ["vers=3", "vers=4.0"] {
            let text = format!("{MOUNTS}43 22 0:53 / /old rw - nfs s:/c rw,{old},proto=tcp,addr=10.0.0.1\n");
            assert_eq!(of(&text), Some(PathBuf::from("/old")), "{old}");
            let lease = mount("nfs4", "vers=4.2,proto=tcp,addr=10.0.0.1").expect("nfs").among(&text);
            assert_eq!(lease.advice(TTL).len(), 1, "{old}");
        }
    }

    #[test]
    fn a_server_that_gives_up_before_the_ttl_is_named() {
        let stats = |seconds| {
            format!(
                "device proc mounted on /proc with fstype proc\n\
                 device s:/disks mounted on /disks with fstype nfs4 statvers=1.1\n\tnfsv4:\tbm0=0x1,lease_time=90,lease_expired=0\n\
                 device s:/ mounted on /my\\040lease with fstype nfs4 statvers=1.1\n\tage:\t3\n\
                 \tnfsv4:\tbm0=0x1,sessions,lease_time={seconds},lease_expired=0\n\
                 device t:/ mounted on /t with fstype nfs4 statvers=1.1\n\tnfsv4:\tlease_time=1\n"
            )
        };
        let advice = |stats: &str| {
            let good = mount("nfs4", "rw,vers=4.1,hard,proto=tcp,addr=10.0.0.1").expect("nfs");
            good.known_by(stats, Path::new("/my lease")).advice(TTL)
        };
        assert_eq!(advice(&stats(12)), Vec::<String>::new());
        let said = advice(&stats(11));
        assert!(said.len() == 1 && said[0].contains("lease time of 11s"), "{said:?}");
        assert_eq!(advice("device s:/ mounted on /my\\040lease with fstype nfs\n"), Vec::<String>::new());
    }
}
