//! A device of an iSCSI session, or a file system on one. It is quiet when it is gone from this kernel, which lets it go only
//! when all its requests have ended, and no connection over which the session has sent is left.
//!
//! - A session that is cut off keeps its requests until its `replacement_timeout`, and sends them when the path is back. What the
//!   kernel counts as in flight reads 0 meanwhile, and is no proof.
//! - A session that believes in its connection makes whoever deletes its devices wait: so the connection is ended first.
//!
//! Where the path works nothing is cut off: a sync of what the kernel holds of the device is acknowledged, and the device is
//! deleted, too, since a process may have exited before its last request.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use leasefence_core::fencing::Quiet;
use leasefence_transport::{HOST_MOUNTS, mounts};
use rustix::fs::{major, minor};

use super::connections;
use super::probe::{Probe, Sync};
use super::worker::Answer;

/// One device.
#[derive(Debug)]
pub(super) struct IscsiStorage {
    device: u64,
    /// What was found last, ahead of need.
    found: Result<Found, String>,
    /// It was deleted here, over a path that worked.
    gently: bool,
    /// Requests were cut off, or may have been: the target may hold what it has received.
    forced: bool,
    probe: Probe,
}

/// What leads to it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Found {
    /// Its SCSI device in sysfs.
    place: PathBuf,
    /// Where it was told to log in, and where it is logged in, which the kernel does not know of a session that is cut off.
    portals: Vec<SocketAddr>,
    sync: Sync,
}

impl IscsiStorage {
    /// The device with this number.
    pub(super) fn new(device: u64) -> Self {
        let found = Err("there is no such device".to_owned());
        let mut this = Self { device, found, gently: false, forced: false, probe: Probe::default() };
        this.look();
        this
    }

    /// Looks at it anew. What was known of one that is gone is kept: it may have been taken away to show it quiet.
    pub(super) fn look(&mut self) {
        if let Some(found) = find(Path::new("/"), self.device).transpose() {
            self.found = found;
        }
    }

    /// Does what is left to do.
    pub(super) fn quiesce(&mut self) -> Answer {
        self.look();
        let Found { place, portals, sync } = self.found.clone()?;
        if place.exists() {
            self.gently = !self.forced && have_sent_all(&portals)? && self.probe.acknowledged(&sync);
            if !self.gently {
                self.forced = true;
                end(&portals)?;
            }
            // It returns when the last request has ended.
            let delete = place.join("delete");
            fs::write(&delete, "1").map_err(|error| format!("{}: {error}", delete.display()))?;
            if place.exists() {
                return Err(format!("{} is still there", place.display()));
            }
        }
        if self.gently && !self.forced && have_sent_all(&portals)? {
            return Ok(Quiet::Acknowledged);
        }
        // Also where somebody else has taken it away, over whatever path.
        self.forced = true;
        end(&portals)?;
        Ok(Quiet::Forced)
    }
}

fn end(portals: &[SocketAddr]) -> Result<(), String> {
    portals.iter().try_for_each(|portal| connections::end(*portal))
}

fn have_sent_all(portals: &[SocketAddr]) -> Result<bool, String> {
    for portal in portals {
        if !connections::have_sent_all(*portal)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What leads to the device; none when there is none of this number now.
fn find(root: &Path, device: u64) -> Result<Option<Found>, String> {
    let number = format!("{}:{}", major(device), minor(device));
    let Ok(full) = fs::canonicalize(root.join("sys/dev/block").join(&number)) else { return Ok(None) };
    let (place, session) = scsi_device_of(&full).ok_or("it is not itself a device of an iSCSI session")?;
    if host_driver(root, &place).as_deref() != Some("iscsi_tcp") {
        return Err("its session is not the kernel's own over TCP".to_owned());
    }
    let connection = root.join(format!("sys/class/iscsi_connection/connection{session}:0"));
    let mut portals: Vec<SocketAddr> =
        ["persistent_", ""].iter().filter_map(|which| portal(&connection, which)).collect();
    portals.dedup();
    if portals.is_empty() {
        return Err(format!("{} names no portal", connection.display()));
    }
    let text = fs::read_to_string(HOST_MOUNTS).unwrap_or_default();
    let sync = match mounts(&text).find(|mount| mount.device == device) {
        Some(mount) => Sync::FileSystem(mount.point, device),
        None => Sync::Device(PathBuf::from("/dev/block").join(number)),
    };
    Ok(Some(Found { place, portals, sync }))
}

/// The driver of the SCSI host that a device hangs on: `iscsi_tcp`, or that of an adapter or of iSER.
fn host_driver(root: &Path, place: &Path) -> Option<String> {
    let mut names = place.components().rev().filter_map(|part| part.as_os_str().to_str());
    let host = names.find(|name| name.strip_prefix("host").is_some_and(|n| n.parse::<u32>().is_ok()))?;
    let name = fs::read_to_string(root.join("sys/class/scsi_host").join(host).join("proc_name")).ok()?;
    Some(name.trim().to_owned())
}

fn portal(connection: &Path, which: &str) -> Option<SocketAddr> {
    let read = |name: &str| fs::read_to_string(connection.join(format!("{which}{name}"))).ok();
    let (address, port) = (read("address")?, read("port")?);
    Some(SocketAddr::new(address.trim().parse().ok()?, port.trim().parse().ok()?))
}

/// `…/sessionN/targetH:C:I/H:C:I:L` within the place of a disk or partition in sysfs, and N.
fn scsi_device_of(full: &Path) -> Option<(PathBuf, u32)> {
    let mut place = PathBuf::new();
    let mut session = None;
    for part in full.components() {
        place.push(part);
        let name = part.as_os_str().to_str()?;
        if session.is_some() && name.split(':').filter(|number| number.parse::<u32>().is_ok()).count() == 4 {
            return Some((place, session?));
        }
        session = session.or_else(|| name.strip_prefix("session")?.parse().ok());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scsi_device_and_its_session_are_found_below_a_partition() {
        let place = "/sys/devices/platform/host2/session7/target2:0:0/2:0:0:1";
        let found = scsi_device_of(&Path::new(place).join("block/sdb/sdb1"));
        assert_eq!(found, Some((PathBuf::from(place), 7)));
        assert_eq!(scsi_device_of(Path::new("/sys/devices/pci0000:00/0000:00:05.0/virtio2/block/vda")), None);
        assert_eq!(scsi_device_of(Path::new("/sys/devices/virtual/block/dm-0")), None);
    }

    #[test]
    fn a_session_that_is_cut_off_names_the_portal_that_it_was_told() -> std::io::Result<()> {
        let connection = tempfile::tempdir()?;
        let write = |name: &str, text: &str| fs::write(connection.path().join(name), text);
        write("persistent_address", "10.0.0.1\n")?;
        write("persistent_port", "3260\n")?;
        // Reading these fails then; here they are not there.
        assert_eq!(portal(connection.path(), ""), None);
        assert_eq!(portal(connection.path(), "persistent_"), "10.0.0.1:3260".parse().ok());
        Ok(())
    }

    #[test]
    fn what_is_no_device_of_a_session_has_a_reason_and_no_proof() {
        let mut storage = IscsiStorage::new(rustix::fs::makedev(0, 1_048_575));
        assert!(storage.quiesce().is_err());
        storage.look();
        assert!(storage.quiesce().is_err());
    }
}
