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
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;

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
    /// It is being shown quiet: from here on its number may be another's.
    begun: bool,
    /// What was done to it, and what that shows.
    quieting: Quieting,
    probe: Probe,
}

impl IscsiStorage {
    /// The device with this number.
    pub(super) fn new(device: u64) -> Self {
        let way = Err("there is no such device".to_owned());
        let (quieting, probe) = (Quieting::default(), Probe::default());
        let mut this = Self { device, way, portals: BTreeSet::new(), begun: false, quieting, probe };
        this.look();
        this
    }

    /// Looks at it anew. Once it is being shown quiet, what was known of it is kept: it may have been taken away for that, or its
    /// paths may have been, for another volume on them.
    pub(super) fn look(&mut self) {
        if let Some(way) = IscsiWay::to(self.device).transpose() {
            self.take(way.map_err(|obstacle| obstacle.to_string()));
        }
    }

    fn take(&mut self, way: Result<IscsiWay, String>) {
        if let Ok(before) = &self.way {
            let is_another = way.as_ref().map_or(true, |way| identity(way) != identity(before));
            if is_another && self.begun {
                return;
            }
            if is_another && way.is_ok() {
                self.portals.clear();
            }
        }
        self.portals.extend(way.iter().flat_map(|way| &way.paths).flat_map(|path| &path.portals));
        self.way = way;
    }

    /// Does what is left to do.
    pub(super) fn quiesce(&mut self) -> Answer {
        self.look();
        self.begun = true;
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
        }
        let sent_all = self.quieting.is_gentle() && have_sent_all(&portals)?;
        if self.quieting.proof(sent_all) == Some(Quiet::Acknowledged) {
            return Ok(if is_tried_again(&way) { Quiet::Forced } else { Quiet::Acknowledged });
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

/// Whether a request may have been sent twice, by two paths: its target may hold the first, whatever became of the second.
fn is_tried_again(way: &IscsiWay) -> bool {
    way.mapped.iter().any(|device| device.mapping == Mapping::Multipath)
}

/// Ends the connections, and with them what waits for an answer; then nothing that a mapped device is given is kept or sent.
fn cut_off(way: &IscsiWay, portals: &[SocketAddr]) -> Result<(), String> {
    let mut told = Ok(());
    for device in way.mapped.iter().filter(|device| device.mapping == Mapping::Multipath && device.is_there())
    {
        let failed = |error| format!("telling multipath {} to fail what it keeps: {error}", device.name);
        // One that is being given another table refuses: the next attempt tells it again, and all else is done meanwhile.
        told = told.and(mapper::fail_if_no_path(&device.uuid).map_err(failed));
    }
    end(portals)?;
    if !way.mapped.is_empty() {
        delete(&way.paths)?;
    }
    told
}

/// Takes the device from this kernel. It returns when the last request has ended.
fn take_away(way: &IscsiWay) -> Result<(), String> {
    match way.mapped.first() {
        None => delete(&way.paths),
        Some(device) => mapper::remove(&device.uuid)
            .map_err(|error| format!("removing the mapped device {}: {error}", device.name)),
    }
}

/// All at once, since each waits for its own requests. Somebody else may just have deleted one.
fn delete(paths: &[IscsiPath]) -> Result<(), String> {
    let delete = |path: &IscsiPath| {
        let file = path.place.join("delete");
        let failed =
            fs::write(&file, "1").err().map_or("it is still there".to_owned(), |error| error.to_string());
        if path.place.exists() { Err(format!("{}: {failed}", file.display())) } else { Ok(()) }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = paths.iter().map(|path| scope.spawn(move || delete(path))).collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("its thread died".to_owned())));
        ended.fold(Ok(()), Result::and)
    })
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

    fn storage() -> IscsiStorage {
        IscsiStorage::new(rustix::fs::makedev(0, 1_048_575))
    }

    /// Catches: a path that was lost before the fence, and over which a request that was tried again may still leave.
    #[test]
    fn all_portals_that_ever_led_to_it_are_remembered_until_it_is_another() {
        let mut storage = storage();
        storage.take(Ok(way_over(&[("/a", 1)])));
        storage.take(Ok(way_over(&[("/a", 2)])));
        storage.take(Err("multipath without a path".to_owned()));
        storage.take(Ok(way_over(&[("/a", 2)])));
        assert_eq!(storage.portals, [portal(1), portal(2)].into());
        storage.take(Ok(way_over(&[("/b", 3)])));
        storage.take(Ok(way_over(&[("/c", 4)])));
        assert_eq!(storage.portals, [portal(4)].into());
    }

    /// Catches: an innocent disk that is deleted in its place; and a volume that another one's fence has left without paths, which
    /// is then taken for one that was never known.
    #[test]
    fn once_it_is_being_shown_quiet_nothing_else_is_taken_for_it() {
        let mut storage = storage();
        storage.take(Ok(way_over(&[("/a", 1)])));
        storage.take(Ok(way_over(&[("/b", 2)])));
        assert_eq!(storage.way, Ok(way_over(&[("/b", 2)])), "nothing was begun yet");
        storage.begun = true;
        for other in [Ok(way_over(&[("/c", 3)])), Err("no paths".to_owned())] {
            storage.take(other);
            assert_eq!(storage.way, Ok(way_over(&[("/b", 2)])));
        }
        storage.take(Ok(way_over(&[("/b", 4)])));
        assert_eq!(storage.portals, [portal(2), portal(4)].into(), "the same one, by another portal");
    }

    #[test]
    fn what_is_no_device_of_a_session_has_a_reason_and_no_proof() {
        let mut storage = storage();
        assert!(storage.quiesce().is_err());
        storage.look();
        assert!(storage.quiesce().is_err());
    }
}
