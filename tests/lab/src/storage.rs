//! The two kinds of storage, set up on the hypervisors with the commands that an administrator would type.

use std::fmt;

/// A target and its two LUNs, as udev names them.
const TARGET: &str = "iqn.2024-01.lab.leasefence:storage";

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
            Self::Iscsi => lun(0),
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
            Self::Iscsi => lun(1),
        }
    }

    /// The same, on the storage machine.
    #[must_use]
    pub fn guest_disk_at_home(self) -> &'static str {
        match self {
            Self::Nfs => "/srv/disks/guest.img",
            Self::Iscsi => "/dev/disk/by-id/virtio-lun-disk",
        }
    }

    /// Whether the guest's disk is a block device.
    #[must_use]
    pub fn disk_is_a_device(self) -> bool {
        self == Self::Iscsi
    }

    /// The shell command that brings the storage to a hypervisor, for this boot and all later ones. Lease and disks are on
    /// mounts of their own that share nothing: what is done to one must not hurt the other.
    #[must_use]
    pub fn set_up(self) -> String {
        let options = "vers=4.2,hard,proto=tcp,nosharecache,noatime,_netdev";
        let mount = |name: &str| {
            format!(
                "mkdir -p /mnt/{name} && echo 'storage:/srv/{name} /mnt/{name} nfs4 {options} 0 0' >>/etc/fstab && mount /mnt/{name}"
            )
        };
        let device = lun(1);
        match self {
            Self::Nfs => format!("{} && {}", mount("lease"), mount("disks")),
            Self::Iscsi => format!(
                "{} && systemctl enable --now iscsid open-iscsi && iscsiadm -m discovery -t sendtargets -p 10.77.1.1 && \
                 iscsiadm -m node -T {TARGET} --login && udevadm settle && test -b {device}",
                mount("lease")
            ),
        }
    }
}

fn lun(number: u8) -> String {
    format!("/dev/disk/by-path/ip-10.77.1.1:3260-iscsi-{TARGET}-lun-{number}")
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nfs => "nfs",
            Self::Iscsi => "iscsi",
        })
    }
}
