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
use std::path::PathBuf;

use leasefence_core::fencing::{Quiet, Quieting};
use leasefence_transport::IscsiWay;
use rustix::fs::{major, minor};

use super::connections;
use super::probe::{PATIENCE, Probe, Sync};
use super::worker::Answer;

/// One device.
#[derive(Debug)]
pub(super) struct IscsiStorage {
    device: u64,
    /// What leads to it, as found last, ahead of need.
    way: Result<IscsiWay, String>,
    /// It was deleted here: its number may be another's.
    deleted: bool,
    /// What was done to it, and what that shows.
    quieting: Quieting,
    probe: Probe,
}

impl IscsiStorage {
    /// The device with this number.
    pub(super) fn new(device: u64) -> Self {
        let way = Err("there is no such device".to_owned());
        let (quieting, probe) = (Quieting::default(), Probe::default());
        let mut this = Self { device, way, deleted: false, quieting, probe };
        this.look();
        this
    }

    /// Looks at it anew. What was known of one that is gone is kept: it may have been taken away to show it quiet.
    pub(super) fn look(&mut self) {
        if let Some(way) = IscsiWay::to(self.device).transpose() {
            let way = way.map_err(|obstacle| obstacle.to_string());
            if !self.is_another_s(&way) {
                self.way = way;
            }
        }
    }

    /// Whether this leads to something else which has the number that it had.
    fn is_another_s(&self, way: &Result<IscsiWay, String>) -> bool {
        let place = |way: &Result<IscsiWay, String>| way.as_ref().ok().map(|way| way.place.clone());
        self.deleted && place(way) != place(&self.way)
    }

    /// Does what is left to do.
    pub(super) fn quiesce(&mut self) -> Answer {
        self.look();
        let IscsiWay { place, portals, mounted, .. } = self.way.clone()?;
        if place.exists() {
            self.quieting.found();
            let gently = self.quieting.may_be_gentle()
                && have_sent_all(&portals)?
                && self.probe.acknowledged(&self.sync(mounted), PATIENCE);
            self.quieting.taken(gently);
            if !gently {
                end(&portals)?;
            }
            // It returns when the last request has ended.
            let delete = place.join("delete");
            fs::write(&delete, "1").map_err(|error| format!("{}: {error}", delete.display()))?;
            if !self.quieting.looked(place.exists(), gently) {
                return Err(format!("{} is still there", place.display()));
            }
            self.deleted = true;
        }
        let sent_all = self.quieting.is_gentle() && have_sent_all(&portals)?;
        if self.quieting.proof(sent_all) == Some(Quiet::Acknowledged) {
            return Ok(Quiet::Acknowledged);
        }
        end(&portals)?;
        self.quieting.cut_off();
        Ok(Quiet::Forced)
    }

    /// What is synced: the file system on it where that is mounted.
    fn sync(&self, mounted: Option<PathBuf>) -> Sync {
        match mounted {
            Some(point) => Sync::FileSystem(point, self.device),
            None => {
                let number = format!("{}:{}", major(self.device), minor(self.device));
                Sync::Device(PathBuf::from("/dev/block").join(number))
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches: an innocent disk that is deleted in its place.
    #[test]
    fn what_has_its_number_after_it_was_deleted_is_left_alone_unless_it_is_the_same() {
        let way = |place: &str| {
            Ok(IscsiWay { place: place.into(), target: String::new(), portals: Vec::new(), mounted: None })
        };
        let mut storage = IscsiStorage::new(rustix::fs::makedev(0, 1_048_575));
        storage.way = way("/sys/devices/a");
        assert!(!storage.is_another_s(&way("/sys/devices/b")), "it was not deleted yet");
        storage.deleted = true;
        assert!(
            storage.is_another_s(&way("/sys/devices/b")) && storage.is_another_s(&Err("local".to_owned()))
        );
        assert!(!storage.is_another_s(&way("/sys/devices/a")));
    }

    #[test]
    fn what_is_no_device_of_a_session_has_a_reason_and_no_proof() {
        let mut storage = IscsiStorage::new(rustix::fs::makedev(0, 1_048_575));
        assert!(storage.quiesce().is_err());
        storage.look();
        assert!(storage.quiesce().is_err());
    }
}
