//! What the lab consists of: a storage machine and three hypervisors, all from one image.

use serde::{Deserialize, Serialize};

use crate::guest::DISK_MEBIBYTES;

/// What a machine does; it stands on its kernel's command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// NFS server and iSCSI target.
    Storage,
    /// Runs guests, and Leasefence.
    Hypervisor,
}

impl Role {
    /// The word on the kernel's command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Hypervisor => "hypervisor",
        }
    }

    /// What it boots to.
    #[must_use]
    pub fn target(self) -> &'static str {
        match self {
            Self::Storage => "lab-storage.target",
            Self::Hypervisor => "multi-user.target",
        }
    }
}

/// A private network between the machines.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// NFS and iSCSI.
    Storage,
    /// Between the hypervisors. Leasefence must not need it.
    Cluster,
}

impl Network {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Storage, Self::Cluster];

    /// Its name: that of its card on each machine, and of its socket.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Cluster => "cluster",
        }
    }

    /// Tells the networks' cards apart by their addresses: 52:54:00:THIS:00:NUMBER. The management card has 0.
    #[must_use]
    pub fn mac_byte(self) -> u8 {
        match self {
            Self::Storage => 1,
            Self::Cluster => 2,
        }
    }
}

/// A disk besides the system's; the machine sees it as `/dev/disk/by-id/virtio-NAME`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataDisk {
    /// Its serial number.
    pub name: &'static str,
    /// Its size.
    pub mebibytes: u32,
}

/// A virtual machine of the lab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Its host name.
    pub name: &'static str,
    /// The last number of its addresses: 10.77.1.N on the storage network, 10.77.2.N on the cluster network.
    pub number: u8,
    /// What it does.
    pub role: Role,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Disks besides the system's.
    pub disks: &'static [DataDisk],
}

/// The name of the storage machine.
pub const STORAGE: &str = "storage";

/// All machines, the storage first: the others' mounts wait for it.
pub const MACHINES: [Machine; 4] = [
    Machine {
        name: STORAGE,
        number: 1,
        role: Role::Storage,
        memory_mib: 512,
        disks: &[
            DataDisk { name: "nfs-lease", mebibytes: 64 },
            DataDisk { name: "nfs-disks", mebibytes: 256 },
            DataDisk { name: "lun-lease", mebibytes: 64 },
            DataDisk { name: "lun-disks", mebibytes: DISK_MEBIBYTES },
        ],
    },
    hypervisor("host-1", 11),
    hypervisor("host-2", 12),
    hypervisor("host-3", 13),
];

const fn hypervisor(name: &'static str, number: u8) -> Machine {
    Machine { name, number, role: Role::Hypervisor, memory_mib: 768, disks: &[] }
}

impl Machine {
    /// The machine of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        MACHINES.into_iter().find(|machine| machine.name == name)
    }

    /// Its address on a network.
    #[must_use]
    pub fn address(self, network: Network) -> String {
        format!("10.77.{}.{}", network.mac_byte(), self.number)
    }

    /// Its uuid, as its firmware gives it: the same over all boots, since Leasefence knows a machine by it.
    #[must_use]
    pub fn uuid(self) -> String {
        format!("6c656173-6566-4e63-b000-0000000000{:02x}", self.number)
    }
}

/// The hypervisors by name.
pub fn hypervisors() -> impl Iterator<Item = &'static str> {
    MACHINES.into_iter().filter(|machine| machine.role == Role::Hypervisor).map(|machine| machine.name)
}
