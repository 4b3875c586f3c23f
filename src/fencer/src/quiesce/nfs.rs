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
//!
//! Where it does not, the calls of NFS 4 that would have given up the files' locks are cut off as well, and the server keeps these
//! for as long as this host's NFS client lives. So no proof is given while another file system shares that client: a host that
//! came back without a reset would keep its domains' images locked for ever. One of its own ends with the file system, and the
//! server lets go after its lease time, as it does of a host that has died.

use std::ffi::OsString;
use std::thread;
use std::time::{Duration, Instant};

use leasefence_core::fencing::{Quiet, Quieting};
use leasefence_transport::{HOST_MOUNTS, Mount, NfsWay, nfs_is_known};

use super::connections;
use super::probe::{PATIENCE, Probe, Sync};
use super::unmount::Unmount;
use super::worker::Answer;

/// How long the kernel is given to unmount and to forget one, before the next attempt.
const UNMOUNTING: Duration = Duration::from_millis(250);
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);
/// How long one is given to answer whose locks outlive a cut: most of what the fence budget has for quiescence, since it is not
/// proven then.
const PATIENCE_FOR_LOCKS: Duration = Duration::from_millis(700);

/// One NFS file system.
#[derive(Debug)]
pub(super) struct NfsStorage {
    device: u64,
    /// What leads to it, as found last, ahead of need: once it is unmounted nobody knows.
    way: Result<NfsWay, String>,
    /// What was mounted: `server:/export`.
    source: Option<OsString>,
    /// What was done to it, and what that shows.
    quieting: Quieting,
    unmount: Unmount,
    probe: Probe,
}

impl NfsStorage {
    /// The file system with this device number.
    pub(super) fn new(device: u64) -> Self {
        let way = Err("it is not mounted on this host".to_owned());
        let mut this = Self {
            device,
            way,
            source: None,
            quieting: Quieting::default(),
            unmount: Unmount::default(),
            probe: Probe::default(),
        };
        this.look();
        this
    }

    /// Looks at it anew. What was known of one that is mounted no more is kept: it may have been unmounted to show it quiet.
    pub(super) fn look(&mut self) {
        let here = host_mounts(self.device).unwrap_or_default();
        if self.is_another_s(&here) {
            return;
        }
        self.source = here.into_iter().next().map(|mount| mount.source).or(self.source.take());
        if let Some(way) = NfsWay::to(self.device).transpose() {
            self.way = way.map_err(|obstacle| obstacle.to_string());
        }
    }

    /// Does what is left to do, as far as it does not have to wait long.
    pub(super) fn quiesce(&mut self) -> Answer {
        self.look();
        let way = self.way.clone()?;
        let here = host_mounts(self.device)?;
        if !self.is_another_s(&here) && is_known(self.device)? {
            self.quieting.found();
            let gently = match self.unmount.under_way() {
                Some(by_force) => !by_force,
                None => self.quieting.may_be_gentle() && self.path_works(&here, &way)?,
            };
            self.unmount(&here, gently)?;
        }
        // A connection that was given up may still send what was sent again over the next one.
        let sent_all = self.quieting.is_gentle() && connections::have_sent_all(way.server)?;
        let proof = self.quieting.proof(sent_all);
        if proof == Some(Quiet::Acknowledged) {
            return Ok(Quiet::Acknowledged);
        }
        // Others go on using that server: they are ended once.
        if proof.is_none() {
            connections::end(way.server)?;
            self.quieting.cut_off();
        }
        match self.outlived_by(&way)? {
            Some(other) => Err(format!(
                "it is cut off, and its server keeps the locks while {other} is mounted, which shares its NFS client"
            )),
            None => Ok(Quiet::Forced),
        }
    }

    /// Where something is mounted that shares its client at the server.
    fn outlived_by(&self, way: &NfsWay) -> Result<Option<String>, String> {
        let sharers = way.sharers(self.device).map_err(|obstacle| obstacle.to_string())?;
        Ok(sharers.into_iter().next().map(|sharer| sharer.place))
    }

    /// Whether something else is mounted under the number that it had.
    fn is_another_s(&self, here: &[Mount]) -> bool {
        let ours = |mount: &Mount| self.source.as_ref() == Some(&mount.source);
        !self.quieting.is_there() && !here.is_empty() && !here.iter().any(ours)
    }

    /// By a call that is answered, and a sync. With `nocto` a mount's root may be opened without a call.
    fn path_works(&self, here: &[Mount], way: &NfsWay) -> Result<bool, String> {
        let Some(mount) = here.first().filter(|mount| mount.option("nocto").is_none()) else {
            return Ok(false);
        };
        let sync = Sync::FileSystem(mount.point.clone(), self.device);
        let patience = if self.outlived_by(way)?.is_some() { PATIENCE_FOR_LOCKS } else { PATIENCE };
        Ok(!connections::any_is_closing(way.server)? && self.probe.acknowledged(&sync, patience))
    }

    /// Returns once the kernel has forgotten it, whatever else it still waits for.
    fn unmount(&mut self, here: &[Mount], gently: bool) -> Result<(), String> {
        self.quieting.taken(gently);
        self.unmount.begin(here.iter().map(|mount| mount.point.clone()).collect(), !gently);
        let begun = Instant::now();
        while !self.quieting.looked(is_known(self.device)?, gently) {
            self.unmount.look()?;
            if begun.elapsed() >= UNMOUNTING {
                // What is unmounted and not forgotten has calls left: nothing but force is left for a path that has died meanwhile.
                self.quieting.taken(self.unmount.under_way().is_some());
                return Err("it is being unmounted, and its calls have not ended".to_owned());
            }
            thread::sleep(BETWEEN_LOOKS);
        }
        // What the kernel still waits for is no concern of the next attempt.
        self.unmount = Unmount::default();
        Ok(())
    }
}

/// Whether the kernel has not forgotten it.
fn is_known(device: u64) -> Result<bool, String> {
    nfs_is_known(device).map_err(|obstacle| obstacle.to_string())
}

/// Where and how it is mounted now.
fn host_mounts(device: u64) -> Result<Vec<Mount>, String> {
    leasefence_transport::host_mounts(device).map_err(|error| format!("{HOST_MOUNTS}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches: an innocent mount that is unmounted in its place, and one of its own that is not unmounted again.
    #[test]
    fn what_has_its_number_after_it_was_forgotten_is_left_alone_unless_it_is_the_same() {
        let mount = |source: &str| {
            let line = format!("40 22 0:50 / /mnt/a rw - nfs4 {source} rw\n");
            leasefence_transport::mounts(&line).collect::<Vec<_>>()
        };
        let mut storage = NfsStorage::new(rustix::fs::makedev(0, 1_048_575));
        storage.source = Some("s:/disks".into());
        assert!(!storage.is_another_s(&mount("s:/other")), "it was not forgotten yet");
        assert!(storage.quieting.looked(false, true));
        assert!(storage.is_another_s(&mount("s:/other")));
        assert!(!storage.is_another_s(&mount("s:/disks")) && !storage.is_another_s(&[]));
    }

    #[test]
    fn what_is_not_mounted_has_a_reason_and_no_proof() {
        let mut storage = NfsStorage::new(rustix::fs::makedev(0, 1_048_575));
        assert!(storage.quiesce().is_err());
        storage.look();
        assert!(storage.quiesce().is_err());
    }
}
