//! A device of iSCSI sessions, or a file system on one. It is quiet when it is gone from this kernel, which lets it go only
//! when all its requests have ended, and no connection over which a session has sent is left.
//!
//! - A session that is cut off keeps its requests until its `replacement_timeout`, and sends them when the path is back. What the
//!   kernel counts as in flight reads 0 meanwhile, and is no proof.
//! - A session that believes in its connection makes whoever deletes its devices wait: so the connection is ended first.
//! - A mapped device (multipath, a volume of LVM) hands each request on and ends it when the one beneath has ended. It is removed
//!   only once nothing has it open. Multipath without a path keeps its requests, and sends them when it has one again: so it is
//!   told to fail them, again with each attempt, since multipathd may tell it otherwise.
//!
//! Where the path works nothing is cut off: a sync of what the kernel holds of the device is acknowledged, and the device is
//! deleted or removed, too, since a process may have exited before its last request. What lies beneath a mapped one stays then.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use leasefence_core::fencing::{Quiet, Quieting};
use leasefence_transport::{IscsiPath, IscsiWay, Mapping};
use rustix::fs::{major, minor};

use super::probe::{PATIENCE, Probe, Sync};
use super::worker::Answer;
use super::{connections, mapper};

/// One device.
#[derive(Debug)]
pub(super) struct IscsiStorage {
    device: u64,
    /// What leads to it, as found last, ahead of need.
    way: Result<IscsiWay, String>,
    /// All portals that ever led to it: a path that was lost, and tried again over another one, may still send.
    portals: BTreeSet<SocketAddr>,
    /// It was deleted or removed here: its number may be another's.
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
        let mut this = Self { device, way, portals: BTreeSet::new(), deleted: false, quieting, probe };
        this.look();
        this
    }

    /// Looks at it anew. What was known of one that is gone is kept: it may have been taken away to show it quiet.
    pub(super) fn look(&mut self) {
        if let Some(way) = IscsiWay::to(self.device).transpose() {
            self.take(way.map_err(|obstacle| obstacle.to_string()));
        }
    }

    fn take(&mut self, way: Result<IscsiWay, String>) {
        // A mapped device whose paths were deleted here leads nowhere.
        let is_spoilt = !self.quieting.may_be_gentle() && self.way.is_ok() && way.is_err();
        if !self.is_another_s(&way) && !is_spoilt {
            self.portals.extend(way.iter().flat_map(|way| &way.paths).flat_map(|path| &path.portals));
            self.way = way;
        }
    }

    /// Whether this leads to something else which has the number that it had.
    fn is_another_s(&self, way: &Result<IscsiWay, String>) -> bool {
        let what = |way: &Result<IscsiWay, String>| way.as_ref().ok().map(identity);
        self.deleted && what(way) != what(&self.way)
    }

    /// Does what is left to do.
    pub(super) fn quiesce(&mut self) -> Answer {
        self.look();
        let way = self.way.clone()?;
        let portals: Vec<_> = self.portals.iter().copied().collect();
        if is_there(&way) {
            self.quieting.found();
            let gently = self.quieting.may_be_gentle()
                && have_sent_all(&portals)?
                && self.probe.acknowledged(&self.sync(way.mounted.clone()), PATIENCE);
            self.quieting.taken(gently);
            if !gently {
                cut_off(&way, &portals)?;
            }
            take_away(&way)?;
            if !self.quieting.looked(is_there(&way), gently) {
                return Err("it is still there".to_owned());
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

/// What tells it from another one of its number.
fn identity(way: &IscsiWay) -> String {
    match (way.mapped.first(), way.paths.first()) {
        (Some(device), _) => device.uuid.clone(),
        (None, Some(path)) => path.place.display().to_string(),
        (None, None) => String::new(),
    }
}

fn is_there(way: &IscsiWay) -> bool {
    match way.mapped.first() {
        Some(device) => device.is_there(),
        None => way.paths.iter().any(|path| path.place.exists()),
    }
}

/// Ends the connections, and with them what waits for an answer; then nothing that a mapped device is given is kept or sent.
fn cut_off(way: &IscsiWay, portals: &[SocketAddr]) -> Result<(), String> {
    let keeps = way.mapped.iter().filter(|device| device.mapping == Mapping::Multipath && device.is_there());
    for device in keeps {
        mapper::fail_if_no_path(&device.uuid)
            .map_err(|error| format!("multipath {}: {error}", device.name))?;
    }
    end(portals)?;
    match way.mapped.is_empty() {
        true => Ok(()),
        false => way.paths.iter().try_for_each(delete),
    }
}

/// Takes the device from this kernel. It returns when the last request has ended.
fn take_away(way: &IscsiWay) -> Result<(), String> {
    let Some(device) = way.mapped.first() else {
        return way.paths.iter().try_for_each(delete);
    };
    mapper::remove(&device.uuid)
        .map_err(|error| format!("removing the mapped device {}: {error}", device.name))
}

fn delete(path: &IscsiPath) -> Result<(), String> {
    let delete = path.place.join("delete");
    match fs::write(&delete, "1") {
        // Somebody else has just deleted it.
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", delete.display()))
        }
        _ => Ok(()),
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

    fn portal(number: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number], 3260))
    }

    fn way_over(paths: &[(&str, u8)]) -> IscsiWay {
        let path = |(place, number): &(&str, u8)| IscsiPath {
            place: PathBuf::from(place),
            target: String::new(),
            portals: vec![portal(*number)],
        };
        IscsiWay { mapped: Vec::new(), paths: paths.iter().map(path).collect(), mounted: None }
    }

    /// Catches: a path that was lost before the fence, and over which a request that was tried again may still leave; and a mapped
    /// device whose paths were deleted here, and which is then taken for one that was never known.
    #[test]
    fn what_ever_led_to_it_is_remembered() {
        let mut storage = IscsiStorage::new(rustix::fs::makedev(0, 1_048_575));
        storage.take(Ok(way_over(&[("/a", 1), ("/b", 2)])));
        storage.take(Ok(way_over(&[("/b", 2)])));
        assert_eq!(storage.portals, [portal(1), portal(2)].into());
        storage.quieting.taken(false);
        storage.take(Err("no paths".to_owned()));
        assert_eq!(storage.way, Ok(way_over(&[("/b", 2)])));
        storage.quieting = Quieting::default();
        storage.take(Err("RAID".to_owned()));
        assert!(storage.way.is_err());
    }

    /// Catches: an innocent disk that is deleted in its place.
    #[test]
    fn what_has_its_number_after_it_was_deleted_is_left_alone_unless_it_is_the_same() {
        let way = |place: &str| Ok(way_over(&[(place, 1)]));
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
