//! What the finder and its keeper tell each other: records of one size, each a message of its own on a sequenced-packet socket,
//! so that a finder that dies in the middle of a look leaves no half of one. Both ends are the same program.

use std::os::fd::AsFd;

use leasefence_core::ids::DomainId;
use leasefence_core::time::Instant;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::writers::Name;

/// Of each record, in bytes.
const BYTES: usize = 64;
const MAGIC: [u8; 4] = *b"LFfi";

/// One process: its pid, and when it started in clock ticks since boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ProcessName {
    pub(crate) pid: u32,
    pub(crate) start_time: u64,
}

/// One record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Record {
    /// To the finder: leave this one alone, another finder hung over it. It counts as an unknown domain's.
    Skip(ProcessName),
    /// To the finder: that was all, begin; later: look again at once.
    Go,
    /// A look begins, at this moment by the finder's own reading of the host's clocks: what runs by then is in it.
    Begin(Instant),
    /// Of this process something is read next that may hang; zero: no more.
    Reading(ProcessName),
    /// This process is a domain's; zero: nobody knows whose.
    Domain(ProcessName, DomainId),
    /// This process, or where it is zero the kernel, has something on this device open for writing, and is no domain's.
    Writer(ProcessName, u64, Name),
    /// The look has ended: nothing else was found.
    End,
    /// Its memory is not locked: people are told.
    Unlocked,
    /// Of this process it is read next what it has open, which may hang as well.
    ReadingFiles(ProcessName, Name),
    /// To the finder: leave alone what this one has open, another finder hung over it. It counts as a writer to everything.
    SkipFiles(ProcessName),
}

impl Record {
    fn encode(&self) -> [u8; BYTES] {
        let nobody = ProcessName::default();
        let (kind, process) = match *self {
            Self::Skip(process) => (1, process),
            Self::Go => (2, nobody),
            Self::Begin(_) => (3, nobody),
            Self::Reading(process) => (4, process),
            Self::Domain(process, _) => (5, process),
            Self::Writer(process, ..) => (6, process),
            Self::End => (7, nobody),
            Self::Unlocked => (8, nobody),
            Self::ReadingFiles(process, _) => (9, process),
            Self::SkipFiles(process) => (10, process),
        };
        let mut bytes = [0; BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = kind;
        bytes[8..12].copy_from_slice(&process.pid.to_le_bytes());
        bytes[16..24].copy_from_slice(&process.start_time.to_le_bytes());
        match *self {
            Self::Begin(at) => {
                bytes[24..32].copy_from_slice(&at.boot_ns.to_le_bytes());
                bytes[32..40].copy_from_slice(&at.raw_ns.to_le_bytes());
            }
            Self::Domain(_, domain) => bytes[24..40].copy_from_slice(&domain.0),
            Self::ReadingFiles(_, name) => bytes[24..40].copy_from_slice(&name),
            Self::Writer(_, device, name) => {
                bytes[24..40].copy_from_slice(&name);
                bytes[40..48].copy_from_slice(&device.to_le_bytes());
            }
            _ => {}
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        if bytes[..4] != MAGIC {
            return None;
        }
        let number = |at: usize| Some(u64::from_le_bytes(bytes[at..at + 8].try_into().ok()?));
        let process =
            ProcessName { pid: u32::from_le_bytes(bytes[8..12].try_into().ok()?), start_time: number(16)? };
        let text: [u8; 16] = bytes[24..40].try_into().ok()?;
        match bytes[4] {
            1 => Some(Self::Skip(process)),
            2 => Some(Self::Go),
            3 => Some(Self::Begin(Instant { boot_ns: number(24)?, raw_ns: number(32)? })),
            4 => Some(Self::Reading(process)),
            5 => Some(Self::Domain(process, DomainId(text))),
            6 => Some(Self::Writer(process, number(40)?, text)),
            7 => Some(Self::End),
            8 => Some(Self::Unlocked),
            9 => Some(Self::ReadingFiles(process, text)),
            10 => Some(Self::SkipFiles(process)),
            _ => None,
        }
    }

    /// Sends it, and waits until there is room.
    ///
    /// # Errors
    /// The other end is gone, as a rule.
    pub(crate) fn send(&self, socket: &impl AsFd) -> Result<(), Errno> {
        loop {
            match send(socket, &self.encode(), SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                sent => return sent.map(|_| ()),
            }
        }
    }

    /// Sends it where there is room at once.
    ///
    /// # Errors
    /// [`Errno::AGAIN`] where there is none; else as [`Self::send`].
    pub(crate) fn send_now(&self, socket: &impl AsFd) -> Result<(), Errno> {
        send(socket, &self.encode(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT).map(|_| ())
    }

    /// Waits for one.
    ///
    /// # Errors
    /// [`Errno::PIPE`] once the other end is closed, [`Errno::BADMSG`] for what is no record.
    pub(crate) fn receive(socket: &impl AsFd) -> Result<Self, Errno> {
        Self::receive_with(socket, RecvFlags::empty())
    }

    /// Takes one where it is there at once.
    ///
    /// # Errors
    /// [`Errno::AGAIN`] where it is not; else as [`Self::receive`].
    pub(crate) fn receive_now(socket: &impl AsFd) -> Result<Self, Errno> {
        Self::receive_with(socket, RecvFlags::DONTWAIT)
    }

    fn receive_with(socket: &impl AsFd, flags: RecvFlags) -> Result<Self, Errno> {
        // A byte more than a record: a longer message is none.
        let mut bytes = [0; BYTES + 1];
        loop {
            match recv(socket, &mut bytes[..], flags) {
                Ok((_, 0)) => return Err(Errno::PIPE),
                Ok((_, len)) => {
                    return Self::decode(bytes.get(..len).unwrap_or_default()).ok_or(Errno::BADMSG);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn each_record_arrives_as_it_was_sent_and_the_end_is_seen() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let process = ProcessName { pid: 4_000_000, start_time: u64::MAX - 1 };
        let all = [
            Record::Skip(process),
            Record::Go,
            Record::Begin(Instant { boot_ns: u64::MAX - 2, raw_ns: 3 }),
            Record::Reading(process),
            Record::Domain(process, DomainId([7; 16])),
            Record::Writer(process, 0x0123_4567_89ab_cdef, *b"qemu-storage-da\0"),
            Record::End,
            Record::Unlocked,
            Record::ReadingFiles(process, *b"qemu-nbd\0\0\0\0\0\0\0\0"),
            Record::SkipFiles(process),
        ];
        all.iter().for_each(|record| record.send(&ours).unwrap());
        for record in all {
            assert_eq!(Record::receive(&theirs), Ok(record));
        }
        let of_kind = |kind: u8| [&MAGIC[..], &[kind], &[0; BYTES - 5]].concat();
        for wrong in [of_kind(99), of_kind(3)[..BYTES - 1].to_vec(), vec![0; BYTES], vec![3; BYTES + 9]] {
            send(&ours, &wrong, SendFlags::NOSIGNAL).unwrap();
            assert_eq!(Record::receive(&theirs), Err(Errno::BADMSG), "{wrong:?}");
        }
        assert_eq!(Record::receive_now(&theirs), Err(Errno::AGAIN), "it waits for nobody");
        drop(ours);
        assert_eq!(Record::receive(&theirs), Err(Errno::PIPE));
        assert_eq!(Record::End.send(&theirs), Err(Errno::PIPE));
    }
}
