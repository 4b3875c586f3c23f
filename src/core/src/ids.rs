//! The newtypes by which hosts, incarnations, records and domains are named ("newtypes for every
//! quantity that can be mixed up"). Raw integers stop at the codec.

use std::fmt;

/// The most hosts that one lease file can hold; more hosts use more lease files.
pub const MAX_HOSTS: u16 = 256;

macro_rules! integer_id {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $raw);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident[$len:literal]) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// All bytes zero: "none".
            pub const ZERO: Self = Self([0; $len]);

            /// True when every byte is zero.
            #[must_use]
            pub fn is_zero(&self) -> bool {
                *self == Self::ZERO
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

integer_id! {
    /// A host's place in the lease file, 0-based, below [`MAX_HOSTS`].
    Slot(u16)
}

impl Slot {
    /// The slot as an index into an array of slots.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

integer_id! {
    /// Which life of a slot: it changes only when the life before ended with zero protected domains (R10).
    Generation(u32)
}

impl Generation {
    /// The generation after this one.
    ///
    /// # Panics
    /// After 2^32 - 1 lives of one slot, which no machine reaches.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a slot has fewer than 2^32 generations"))
    }
}

integer_id! {
    /// The number of a write of one sector by its owner; grows by one with each write that is issued.
    Sequence(u64)
}

impl Sequence {
    /// The sequence after this one.
    ///
    /// # Panics
    /// After 2^64 - 1 writes, which no machine reaches.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a sector has fewer than 2^64 writes"))
    }
}

integer_id! {
    /// A domain lease's term (PROTOCOL 4): the highest term among a domain's entries is its top.
    Term(u32)
}

integer_id! {
    /// A random number that tells one process, claim or request from another.
    Nonce(u64)
}

bytes_id! {
    /// The lease file's own identity, made by `leasefence init` and repeated in every sector.
    FileId[16]
}

bytes_id! {
    /// A machine's identity: 128 random bits, made once in its life (PROTOCOL 2).
    HostKey[16]
}

bytes_id! {
    /// The kernel's boot id (`/proc/sys/kernel/random/boot_id`).
    BootId[16]
}

bytes_id! {
    /// A cluster's identity, made by `leasefence init` and repeated in the header.
    ClusterId[16]
}

/// A domain, by libvirt's uuid: the key of its lease.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DomainId(pub [u8; 16]);

impl fmt::Display for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&uuid::Uuid::from_bytes(self.0), f)
    }
}

impl fmt::Debug for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DomainId({self})")
    }
}

impl std::str::FromStr for DomainId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(*uuid::Uuid::parse_str(text)?.as_bytes()))
    }
}

/// One life of a slot: what a verdict is about (R10). Shown as `slot.generation`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Incarnation {
    /// The place in the lease file.
    pub slot: Slot,
    /// Which life of it.
    pub generation: Generation,
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}
