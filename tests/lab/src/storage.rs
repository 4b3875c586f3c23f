//! The two kinds of storage, set up on the hypervisors with the commands that an administrator would type.

use std::fmt;

/// Where the iSCSI target of the lease listens: the storage machine's first address.
pub const LEASE_PORTAL: &str = "10.77.1.1";

/// Where the one of the guests' disks listens.
pub const DISKS_PORTAL: &str = "10.77.1.2";

/// What carries lease and disks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Storage {
    /// NFS 4.2: a file each, on two mounts.
    Nfs,
    /// iSCSI: a LUN each. Definitions lie on NFS, since they want a directory.
    Iscsi,
}

impl Storage {
    /// The lease file or device, on a hypervisor.
    #[must_use]
    pub fn lease(self) -> String {
        match self {
            Self::Nfs => "/mnt/lease/lab.lease".into(),
            Self::Iscsi => lun("lease", LEASE_PORTAL),
        }
    }

    /// The same, on the storage machine.
    #[must_use]
    pub fn lease_at_home(self) -> &'static str {
        match self {
            Self::Nfs => "/srv/lease/lab.lease",
            Self::Iscsi => "/dev/disk/by-id/virtio-lun-lease",
        }
    }

    /// The guest's disk, on a hypervisor.
    #[must_use]
    pub fn guest_disk(self) -> String {
        match self {
            Self::Nfs => "/mnt/disks/guest.img".into(),
            Self::Iscsi => lun("disks", DISKS_PORTAL),
        }
    }

    /// The same, on the storage machine.
    #[must_use]
    pub fn guest_disk_at_home(self) -> &'static str {
        match self {
            Self::Nfs => "/srv/disks/guest.img",
            Self::Iscsi => "/dev/disk/by-id/virtio-lun-disks",
        }
    }

    /// Whether the guest's disk is a block device.
    #[must_use]
    pub fn disk_is_a_device(self) -> bool {
        self == Self::Iscsi
    }

    /// The disk of the storage machine on which the lease lies.
    #[must_use]
    pub fn lease_drive(self) -> &'static str {
        match self {
            Self::Nfs => "nfs-lease",
            Self::Iscsi => "lun-lease",
        }
    }

    /// The shell command that stops what the storage machine serves.
    #[must_use]
    pub fn stop(self) -> &'static str {
        match self {
            Self::Nfs => "systemctl stop nfs-server",
            Self::Iscsi => {
                "for group in /sys/kernel/config/target/iscsi/iqn*/tpgt_1; do echo 0 >$group/enable; done"
            }
        }
    }

    /// The one that starts it again.
    #[must_use]
    pub fn start(self) -> &'static str {
        match self {
            Self::Nfs => "systemctl start nfs-server",
            Self::Iscsi => {
                "for group in /sys/kernel/config/target/iscsi/iqn*/tpgt_1; do echo 1 >$group/enable; done"
            }
        }
    }

    /// The shell command that brings the storage to a hypervisor, for this boot and all later ones. On NFS lease and
    /// disks are mounts of their own, so that one can be unmounted without the other, by minor versions of their own, so that each
    /// has an NFS client of its own. On iSCSI they have a session each. A host that its watchdog has reset boots while the storage may still
    /// be away: it waits for it for minutes, where the defaults give up after 90 s (NFS) and some 20 s (iSCSI) for good.
    #[must_use]
    pub fn set_up(self) -> String {
        let options = "hard,proto=tcp,nosharecache,noatime,_netdev,retry=8,x-systemd.mount-timeout=8min";
        let patient =
            r"sed -i -E 's/^(node\.session\.initial_login_retry_max) *=.*/\1 = 120/' /etc/iscsi/iscsid.conf";
        let mount = |name: &str, version: &str| {
            format!(
                "mkdir -p /mnt/{name} && echo 'storage:/srv/{name} /mnt/{name} nfs4 vers={version},{options} 0 0' >>/etc/fstab && mount /mnt/{name}"
            )
        };
        let log_in = |name: &str, address: &str| {
            let target = target(name);
            format!(
                "iscsiadm -m discovery -t sendtargets -p {address} && iscsiadm -m node -T {target} -p {address} --login"
            )
        };
        match self {
            Self::Nfs => format!("{} && {}", mount("lease", "4.1"), mount("disks", "4.2")),
            Self::Iscsi => format!(
                "{} && {patient} && systemctl enable --now iscsid open-iscsi && {} && {} && udevadm settle && test -b {} && test -b {}",
                mount("lease", "4.1"),
                log_in("lease", LEASE_PORTAL),
                log_in("disks", DISKS_PORTAL),
                self.lease(),
                self.guest_disk(),
            ),
        }
    }
}

/// The name of an iSCSI target.
#[must_use]
pub fn target(name: &str) -> String {
    format!("iqn.2024-01.lab.leasefence:{name}")
}

/// The one LUN of a target, as udev names it.
#[must_use]
pub fn lun(name: &str, address: &str) -> String {
    format!("/dev/disk/by-path/ip-{address}:3260-iscsi-{}-lun-0", target(name))
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nfs => "nfs",
            Self::Iscsi => "iscsi",
        })
    }
}
