//! A device of an iSCSI session, or a file system on one. It is quiet when it is gone from this kernel, which lets it go only
//! when all its requests have ended, and no connection over which the session has sent is left.
//!
//! - A session that is cut off keeps its requests until its `replacement_timeout`, and sends them when the path is back. What the
//!   kernel counts as in flight reads 0 meanwhile, and is no proof.
//! - A session that believes in its connection makes whoever deletes its devices wait: so the connection is ended first.
//!
//! Where the path works nothing is taken away: a process that has exited has no request left, and a sync of what the kernel holds
//! of the device is acknowledged.

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
    /// Requests were cut off: the target may hold what it has received.
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
        Self { device, found: find(Path::new("/"), device), forced: false, probe: Probe::default() }
    }

    /// Looks at it anew. What was known of one that is gone is kept: it may have been taken away to show it quiet.
    pub(super) fn look(&mut self) {
        let found = find(Path::new("/"), self.device);
        if found.is_ok() || self.found.is_err() {
            self.found = found;
        }
    }

    /// Does what is left to do.
    pub(super) fn quiesce(&mut self) -> Answer {
        let Found { place, portals, sync } = self.found.clone()?;
        let mut closing = false;
        for portal in &portals {
            closing |= connections::any_is_closing(*portal)?;
        }
        if !self.forced && !closing && self.probe.acknowledged(&sync) {
            return Ok(Quiet::Acknowledged);
        }
        self.forced = true;
        portals.iter().try_for_each(|portal| connections::end(*portal))?;
        let delete = place.join("delete");
        if delete.exists() {
            // It returns when the last request has ended.
            fs::write(&delete, "1").map_err(|error| format!("{}: {error}", delete.display()))?;
        }
        if place.exists() {
            return Err(format!("{} is still there", place.display()));
        }
        portals.iter().try_for_each(|portal| connections::end(*portal))?;
        Ok(Quiet::Forced)
    }
}

fn find(root: &Path, device: u64) -> Result<Found, String> {
    let number = format!("{}:{}", major(device), minor(device));
    let link = root.join("sys/dev/block").join(&number);
    let full = fs::canonicalize(&link).map_err(|error| format!("{}: {error}", link.display()))?;
    let (place, session) = scsi_device_of(&full).ok_or("it is not itself a device of an iSCSI session")?;
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
    Ok(Found { place, portals, sync })
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
