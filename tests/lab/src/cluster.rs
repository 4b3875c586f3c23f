//! Leasefence on the lab's hypervisors: installed by dpkg, configured and asked as an administrator would.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use leasefence_api::Status;
use leasefence_demo::wait::{self, WaitError};

use crate::guest;
use crate::lab::{Lab, LabError};
use crate::machine::{STORAGE, hypervisors};
use crate::storage::Storage;

/// Longest that a step of a healthy cluster may take. A join watches for a clone of the machine for a whole verdict, and
/// emulated machines are slow.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Between two looks: each is a command in an emulated machine.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// From before the last good renewal to the lease's end. A cut of 0.9 of it leaves one to two seconds for all that follows, of which an
/// emulated machine needs a good part.
pub const LEASE_TTL: Duration = Duration::from_secs(20);

/// The watchdog that all hosts have: i6300esb, of QEMU.
pub const WATCHDOG: (&str, &str) = ("auto", "virtual");

/// Longest that a host without a proof waits for its watchdog.
const WATCHDOG_BITES_WITHIN: Duration = Duration::from_secs(15);

/// Says who keeps it busy, if somebody does. Whoever only looks at a path there keeps it so while he waits for the server, and shows in
/// no list: that passes.
const UNMOUNT_DISKS: &str = "for again in 1 2 3 4; do umount /mnt/disks 2>/dev/null && exit; sleep 1; done; umount /mnt/disks || { \
    for held in $(find /proc/[0-9]*/fd /proc/[0-9]*/cwd -lname '/mnt/disks*' 2>/dev/null); do \
    of=${held#/proc/}; echo \"$(cat /proc/${of%%/*}/comm) $held $(readlink $held)\"; done; exit 1; }";

/// A host's configuration.
pub const CONFIGURATION: &str = "/etc/leasefence/leasefence.toml";

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The lab below.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// An answer of the command line tool.
    #[error("`leasefence {0} --json` on {1} printed what is not understood: {2}")]
    Answer(String, String, #[source] serde_json::Error),
    /// Waiting.
    #[error(transparent)]
    Wait(#[from] WaitError),
}

/// A lease that a host holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Its generation.
    pub generation: u32,
    /// Whether somebody had to reboot it.
    pub rebooted: bool,
}

/// A cluster on one kind of storage.
#[derive(Clone, Debug)]
pub struct Cluster {
    lab: Lab,
    storage: Storage,
}

impl Cluster {
    /// The cluster that was set up on this storage.
    #[must_use]
    pub fn of(lab: &Lab, storage: Storage) -> Self {
        Self { lab: lab.clone(), storage }
    }

    /// The lab that it is on.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// What carries lease and disks.
    #[must_use]
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// Storage, package, configuration, lease file, units, and a guest on host-1: on fresh machines, in this order. `tell` is
    /// told what is done.
    ///
    /// # Errors
    /// When a step fails, or something does not come about in time.
    pub fn set_up(&self, mut tell: impl FnMut(&str)) -> Result<(), ClusterError> {
        tell("storage and package on three hosts");
        self.on_each(|host| {
            self.lab.exec_for(host, &self.storage.set_up(), PATIENCE)?;
            self.lab.exec_for(host, "dpkg -i /lab/leasefence.deb", PATIENCE)?;
            // As the package asks for: libvirt looks for its hook when it starts.
            self.lab.exec_for(host, "systemctl restart libvirtd", PATIENCE)?;
            let write = format!("cat >{CONFIGURATION} <<'TEXT'\n{}TEXT", self.configuration());
            self.lab.exec(host, &write)?;
            Ok(())
        })?;
        tell("lease file");
        let init = "--cluster lab --max-hosts 8 --accept soft,virtual,none --test";
        self.lab.exec("host-1", &format!("leasefence init {} {init}", self.storage.lease()))?;
        tell("fencer and agent on three hosts");
        self.on_each(|host| {
            let start = "systemctl enable --now leasefence-fencer leasefence-agent";
            self.lab.exec_for(host, start, PATIENCE)?;
            self.wait_until_held(host, 0)?;
            self.wait_until_watched(host, WATCHDOG.1)
        })?;
        tell("a guest on host-1");
        self.define_guest()?;
        self.start_guest("host-1")?;
        // What was set up is long on disk when an operator's host loses its power. On a fast machine it is not half a minute old:
        // the hosts came back with an empty /etc/fstab.
        self.on_each(|host| Ok(self.lab.exec_for(host, "sync", PATIENCE).map(drop)?))?;
        self.lab.exec_for(STORAGE, "sync", PATIENCE)?;
        Ok(())
    }

    /// What a host's administrator writes. Each line that weakens something says so.
    fn configuration(&self) -> String {
        format!(
            r#"cluster = "lab"
lease = "{lease}"
lease_ttl = "{ttl}s"
definitions_dir = "/mnt/lease/definitions"

# These hosts are virtual, and so is their watchdog. The lease file was made with `--accept soft,virtual,none --test`, which
# allows this in tests, and what some of them do for a while: a software watchdog, or none.
watchdog = "{watchdog}"
expire_without_hardware = true

# These hosts are there to be fenced: `leasefence drill` may do it, too.
drill = "allowed"

# An emulated host takes up to 2.2 s to show its storage quiet, and a busy machine may not run it for 2.7 s of 5. Of the 3.5 s that a
# real one has, its watchdog, which holds for 5 s and counts in steps of one, would leave it 1.7; of these, 7.
[terms]
fence_budget = "9s"
"#,
            lease = self.storage.lease(),
            ttl = LEASE_TTL.as_secs(),
            watchdog = WATCHDOG.0,
        )
    }

    /// The disk, written and not only sized, all of it, since a claim of an older guest would count; and the domain on each host.
    fn define_guest(&self) -> Result<(), ClusterError> {
        let disk = self.storage.guest_disk_at_home();
        let size = guest::DISK_MEBIBYTES;
        let zero = format!("dd if=/dev/zero of={disk} bs=1M count={size} conv=fsync,notrunc status=none");
        self.lab.exec_for(STORAGE, &zero, PATIENCE)?;
        self.define("host-1", &guest::definition(self.storage))
    }

    fn define(&self, host: &'static str, definition: &str) -> Result<(), ClusterError> {
        self.lab.exec(host, &format!("cat >/root/guest.xml <<'TEXT'\n{definition}TEXT"))?;
        self.lab.exec(host, "virsh --quiet define /root/guest.xml")?;
        Ok(())
    }

    /// Starts the guest on a host where it is defined, and waits until it is protected and restarted elsewhere.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_guest(&self, host: &'static str) -> Result<(), ClusterError> {
        // A busy machine may take longer than libvirt waits for systemd's answer: then a user tries again, too.
        self.look("the guest's start", PATIENCE, || {
            let start = format!("virsh --quiet start {}", guest::NAME);
            self.lab.exec_for(host, &start, PATIENCE).ok().or_else(|| {
                self.runners().ok().filter(|runners| runners.contains(&host)).map(|_| String::new())
            })
        })?;
        self.look("the guest's lease", PATIENCE, || {
            self.leasefence(host, &format!("ha enable {}", guest::NAME)).ok()
        })?;
        self.wait_until_protected(host)
    }

    /// Mounts the guests' disks with other options (`None`: those of its set-up), and starts the guest anew where it ran.
    ///
    /// # Errors
    /// When the guest does not run on one host, or a step fails.
    pub fn remount_disks(&self, options: Option<&str>) -> Result<(), ClusterError> {
        let mount = match options {
            Some(options) => format!(
                "mount -t nfs -o hard,proto=tcp,nosharecache,noatime,{options} storage:/srv/disks /mnt/disks"
            ),
            None => "mount /mnt/disks".into(),
        };
        let each =
            |command: &str| self.on_each(|host| Ok(self.lab.exec_for(host, command, PATIENCE).map(drop)?));
        self.while_the_guest_is_off(|_| {
            each(UNMOUNT_DISKS)?;
            // Locks of NFS 3 outlive the host that took them, and keep out clients of NFS 4.
            self.lab.exec(STORAGE, "echo /srv/disks >/proc/fs/nfsd/unlock_filesystem")?;
            each(&mount)
        })
    }

    /// Runs a command on each host, and has the guest's disk at another path from then on.
    ///
    /// # Errors
    /// As [`remount_disks`](Self::remount_disks).
    pub fn move_disk(&self, command: &str, path: &str) -> Result<(), ClusterError> {
        self.while_the_guest_is_off(|runner| {
            self.on_each(|host| Ok(self.lab.exec_for(host, command, PATIENCE).map(drop)?))?;
            self.redefine_guest(runner, path)
        })
    }

    /// Defines the guest with its disk at another path, on the host where it is to be started.
    ///
    /// # Errors
    /// When libvirt does not take it.
    pub fn redefine_guest(&self, host: &'static str, path: &str) -> Result<(), ClusterError> {
        self.define(host, &guest::definition_on(self.storage, path))
    }

    /// Ends the guest, changes something, and starts it where it ran: `change` is told where.
    ///
    /// # Errors
    /// When the guest does not run on one host, or a step fails.
    pub fn while_the_guest_is_off(
        &self,
        change: impl FnOnce(&'static str) -> Result<(), ClusterError>,
    ) -> Result<(), ClusterError> {
        let host = self.runner()?;
        self.leasefence(host, &format!("ha disable {}", guest::NAME))?;
        self.lab.exec_for(host, &format!("virsh --quiet destroy {}", guest::NAME), PATIENCE)?;
        change(host)?;
        self.start_guest(host)
    }

    /// Does something on all hypervisors at once.
    ///
    /// # Errors
    /// With the first that fails.
    pub fn on_each(
        &self,
        work: impl Fn(&'static str) -> Result<(), ClusterError> + Sync,
    ) -> Result<(), ClusterError> {
        let work = &work;
        thread::scope(|scope| {
            let threads: Vec<_> = hypervisors().map(|host| scope.spawn(move || work(host))).collect();
            threads
                .into_iter()
                .map(thread::ScopedJoinHandle::join)
                .try_for_each(|outcome| outcome.unwrap_or_else(|_| Err(WaitError::Interrupted.into())))
        })
    }

    /// Runs `leasefence` on a host.
    ///
    /// # Errors
    /// When it ends with an error.
    pub fn leasefence(&self, host: &'static str, arguments: &str) -> Result<String, ClusterError> {
        Ok(self.lab.exec(host, &format!("leasefence {arguments}"))?)
    }

    /// What the agent of a host knows.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self, host: &'static str) -> Result<Status, ClusterError> {
        let text = self.leasefence(host, "status --json")?;
        serde_json::from_str(&text).map_err(|error| ClusterError::Answer("status".into(), host.into(), error))
    }

    /// Looks again and again, twice a second.
    ///
    /// # Errors
    /// When the time is over, or on an interrupt.
    pub fn look<T>(
        &self,
        what: &str,
        limit: Duration,
        mut probe: impl FnMut() -> Option<T>,
    ) -> Result<T, ClusterError> {
        Ok(wait::until(what, limit, || {
            let found = probe();
            if found.is_none() {
                thread::sleep(BETWEEN_LOOKS);
            }
            found
        })?)
    }

    /// Has a host use another watchdog, as its administrator would: none is changed while the host is armed. Waits until the host
    /// is armed again. Its configuration then says what it said before the first change, so that a host which boots anew has
    /// the watchdog that all have.
    ///
    /// # Errors
    /// When the host does not come to have one of this class.
    pub fn use_watchdog(&self, host: &'static str, device: &str, class: &str) -> Result<(), ClusterError> {
        let configure =
            |device| format!("sed -i 's,^watchdog = .*,watchdog = \"{device}\",' {CONFIGURATION}");
        self.leasefence(host, "disarm")?;
        self.lab.exec_for(
            host,
            &format!("{} && systemctl restart leasefence-agent", configure(device)),
            PATIENCE,
        )?;
        self.wait_until_watched(host, class)?;
        self.lab.exec(host, &configure(WATCHDOG.0))?;
        self.look(&format!("{host} to be armed"), PATIENCE, || self.leasefence(host, "arm").ok())?;
        self.wait_until_held(host, 0).map(drop)
    }

    /// Has a host ask for its own reset, with this watchdog behind it, as its administrator would, and waits until it is armed
    /// again. `on`: whether it is to have one. Its configuration then says what it said before. Its fencer is started anew meanwhile,
    /// with what its unit says by then.
    ///
    /// # Errors
    /// When its status does not come to say so.
    pub fn use_reset(
        &self,
        host: &'static str,
        (device, class): (&str, &str),
        on: bool,
    ) -> Result<(), ClusterError> {
        let wanted = format!(
            "sed -i 's,^watchdog = .*,fence.reset = \"on\"\\nwatchdog = \"{device}\",' {CONFIGURATION}"
        );
        let back = format!(
            "sed -i '/^fence.reset/d; s,^watchdog = .*,watchdog = \"{}\",' {CONFIGURATION}",
            WATCHDOG.0
        );
        self.leasefence(host, "disarm")?;
        let restart = "systemctl restart leasefence-fencer leasefence-agent";
        self.lab.exec_for(host, &format!("{wanted} && {restart}"), PATIENCE)?;
        self.wait_until_watched(host, class)?;
        let what = format!("{host} to say whether it resets itself");
        // One that cannot must say why.
        let says = |status: Status| {
            let reset = status.own.fencer.reset;
            reset.wanted && reset.on == on && reset.note.is_none() == on
        };
        self.look(&what, PATIENCE, || self.status(host).ok().is_some_and(says).then_some(()))?;
        self.lab.exec(host, &back)?;
        self.look(&format!("{host} to be armed"), PATIENCE, || self.leasefence(host, "arm").ok())?;
        self.wait_until_held(host, 0).map(drop)
    }

    /// Waits until a host's watchdog, as its fencer says, is of this class.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_until_watched(&self, host: &'static str, class: &str) -> Result<(), ClusterError> {
        let what = format!("{host} to have a watchdog of class {class}");
        let has = |status: Status| status.own.fencer.watchdog.class == class;
        self.look(&what, PATIENCE, || self.status(host).ok().is_some_and(has).then_some(()))
    }

    /// Waits until a host holds its lease under a generation above `above`, and returns it. A host that could not prove that
    /// its fence left nothing behind is reset by its watchdog. Without one it needs a reboot, as its status says, and gets it, as
    /// from its administrator; so does one whose watchdog does not bite.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_until_held(&self, host: &'static str, above: u32) -> Result<Held, ClusterError> {
        let mut rebooted = false;
        let mut unproven = None;
        let held = || {
            let own = self.status(host).ok()?.own;
            if own.fencer.unproven && !rebooted {
                let since: Instant = *unproven.get_or_insert_with(Instant::now);
                if own.fencer.watchdog.device.is_some() && since.elapsed() < WATCHDOG_BITES_WITHIN {
                    return None;
                }
                rebooted = true;
                if let Err(error) = self.reboot(host) {
                    return Some(Err(error));
                }
            }
            let generation = own.generation.filter(|now| own.state == "held" && *now > above)?;
            Some(Ok(Held { generation, rebooted }))
        };
        self.look(&format!("the lease of {host}"), PATIENCE, held)?
    }

    /// Waits until all hosts hold their leases, each under a generation above the one that `above` gives, and says how many took a
    /// reboot.
    ///
    /// # Errors
    /// When one does not in time.
    pub fn wait_until_all_held(&self, above: impl Fn(&str) -> u32 + Sync) -> Result<usize, ClusterError> {
        let rebooted = AtomicUsize::new(0);
        self.on_each(|host| {
            let held = self.wait_until_held(host, above(host))?;
            rebooted.fetch_add(usize::from(held.rebooted), Ordering::Relaxed);
            Ok(())
        })?;
        Ok(rebooted.into_inner())
    }

    /// Presses a host's reset button and waits until it is up again.
    ///
    /// # Errors
    /// When it does not come up.
    fn reboot(&self, host: &'static str) -> Result<(), ClusterError> {
        let boots = self.lab.boots(host);
        self.lab.reset(host)?;
        Ok(self.lab.wait_for_boot(host, boots + 1)?)
    }

    /// Waits until a host has the lease of the running guest, which is restarted elsewhere.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_until_protected(&self, host: &'static str) -> Result<(), ClusterError> {
        let what = format!("the lease of the guest on {host}");
        let owned = |status: Status| {
            status.domains.iter().any(|d| d.name == guest::NAME && d.running && d.ha && d.lease == "own")
        };
        self.look(&what, PATIENCE, || self.status(host).ok().is_some_and(owned).then_some(()))
    }

    /// Waits until the guest runs on one host alone, and names it.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn runner(&self) -> Result<&'static str, ClusterError> {
        self.look("the guest to run on one host", PATIENCE, || match self.runners().ok()?[..] {
            [host] => Some(host),
            _ => None,
        })
    }

    /// The hosts on which libvirt runs the guest.
    ///
    /// # Errors
    /// When a host that is on cannot be asked.
    pub fn runners(&self) -> Result<Vec<&'static str>, ClusterError> {
        let mut runners = Vec::new();
        for host in hypervisors().filter(|host| self.lab.is_on(host)) {
            let list = self.lab.exec(host, "virsh --quiet list --name")?;
            if list.lines().any(|name| name.trim() == guest::NAME) {
                runners.push(host);
            }
        }
        Ok(runners)
    }
}
