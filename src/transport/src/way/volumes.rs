//! The kernel's list of NFS file systems, mounted or not, of this network namespace.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use nix::sys::stat::makedev;

use super::Obstacle;

const VOLUMES: &str = "/proc/fs/nfsfs/volumes";

/// Whether the kernel still has an NFS file system with this device number, mounted or not, in this network namespace.
///
/// # Errors
/// [`Obstacle::Unreadable`].
pub fn nfs_is_known(device: u64) -> Result<bool, Obstacle> {
    is_known(Path::new("/"), device)
}

/// The same, by the files below `root`.
pub(super) fn is_known(root: &Path, device: u64) -> Result<bool, Obstacle> {
    let lists = |list: &str| volumes(list).any(|volume| volume.device == device);
    Ok(lists(&settled(root, lists)?))
}

/// The device numbers of the file systems of NFS 4 from this server that the kernel lists now.
pub(super) fn of_server(root: &Path, server: SocketAddr) -> Result<Vec<u64>, Obstacle> {
    let ours = |volume: &Volume| volume.version == "v4" && volume.server == hexadecimal(server);
    Ok(volumes(&settled(root, |_| false)?).filter(ours).map(|volume| volume.device).collect())
}

/// The list. The kernel resumes it by its position, so that one which others change meanwhile may skip an entry: two readings
/// that agree are needed to believe what is not there, but one to believe what is.
fn settled(root: &Path, is_enough: impl Fn(&str) -> bool) -> Result<String, Obstacle> {
    let mut last = read(root)?;
    loop {
        let now = read(root)?;
        if now == last || is_enough(&now) {
            return Ok(now);
        }
        if is_enough(&last) {
            return Ok(last);
        }
        last = now;
    }
}

fn read(root: &Path) -> Result<String, Obstacle> {
    let path = root.join(VOLUMES.trim_start_matches('/'));
    fs::read_to_string(path).map_err(|error| Obstacle::unreadable(Path::new(VOLUMES), &error))
}

/// A line of the list.
struct Volume<'a> {
    /// `v3`, `v4`.
    version: &'a str,
    /// Address and port, as [`hexadecimal`] writes them.
    server: (String, String),
    device: u64,
}

fn volumes(list: &str) -> impl Iterator<Item = Volume<'_>> {
    list.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let version = fields.next()?;
        let server = (fields.next()?.to_owned(), fields.next()?.to_owned());
        let (major, minor) = fields.next()?.split_once(':')?;
        Some(Volume { version, server, device: makedev(major.parse().ok()?, minor.parse().ok()?) })
    })
}

/// Address and port in the list's words.
fn hexadecimal(server: SocketAddr) -> (String, String) {
    let address = match server.ip() {
        IpAddr::V4(address) => format!("{:08x}", address.to_bits()),
        IpAddr::V6(address) => format!("{:032x}", address.to_bits()),
    };
    (address, format!("{:x}", server.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "NV SERVER   PORT DEV          FSID                              FSC\n\
                        v4 0a4d0101  801 0:50         0:0                               no \n\
                        v4 0a4d0102  801 0:7          0:0                               no \n\
                        v4 fe800000000000000000000000000001 801 0:9 0:0                 no \n\
                        v3 0a4d0101  801 0:5          8c1f2a:0                          no \n";

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("proc/fs/nfsfs")).expect("made");
        fs::write(root.path().join("proc/fs/nfsfs/volumes"), LIST).expect("written");
        root
    }

    #[test]
    fn the_kernels_list_is_read_by_device_number() {
        let root = root();
        let known = |minor| is_known(root.path(), makedev(0, minor)).expect("read");
        assert!(known(50) && known(5) && !known(1) && !known(52));
        assert!(is_known(Path::new("/nonexistent"), 50).is_err());
    }

    #[test]
    fn the_kernels_list_is_read_by_server() {
        let root = root();
        let of = |server: &str| of_server(root.path(), server.parse().expect("an address")).expect("read");
        assert_eq!(of("10.77.1.1:2049"), [makedev(0, 50)], "not what is NFS 3");
        assert_eq!(of("[fe80::1]:2049"), [makedev(0, 9)]);
        assert!(of("10.77.1.1:20490").is_empty() && of("10.77.1.3:2049").is_empty());
    }
}
