//! The marker: what `<run_dir>/state` says of this boot, so that a fencer that lost everything else still knows whether it
//! was armed. One line of text, for people too; this module never reads or writes a file.

use std::fmt;
use std::str::FromStr;

use crate::ids::{BootId, FileId, Generation, Incarnation, Slot};

/// Armed since boot, or disarmed (PROTOCOL 8). Whoever cannot read a marker that is there must take it for armed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Marker {
    /// Written *before* the fencer echoes that it is armed.
    Armed(ArmedMarker),
    /// Written last when the host is disarmed (R12: the obligation is let go last), replaced by arming. From here a fencer
    /// kills nothing.
    Disarmed {
        /// The boot in which it was written.
        boot_id: BootId,
        /// The arming that was ended.
        arm_count: u32,
    },
}

/// What was guarded when the marker was written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ArmedMarker {
    /// The boot in which it was written.
    pub boot_id: BootId,
    /// Which arming since boot.
    pub arm_count: u32,
    /// The lease file.
    pub file_id: FileId,
    /// Whose lease.
    pub incarnation: Incarnation,
    /// `BOOTTIME - MONOTONIC` in ns when it was armed: a suspend that a restart of the fencer hides still shows (R4).
    pub suspended_ns: u64,
}

impl Marker {
    /// The boot in which it was written.
    #[must_use]
    pub fn boot_id(&self) -> BootId {
        match self {
            Self::Armed(armed) => armed.boot_id,
            Self::Disarmed { boot_id, .. } => *boot_id,
        }
    }
}

/// What a fencer that starts finds in the place of the marker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MarkerFound {
    /// Nothing: never armed since boot.
    None,
    /// Something that is no marker, or an error: taken for armed.
    Unreadable,
    /// A marker.
    Marker(Marker),
}

/// The text is no marker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the state marker is not one that this release writes; it is taken for armed")]
pub struct NoMarker;

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Armed(m) => write!(
                f,
                "armed boot={} arm={} file={} incarnation={} suspended_ns={} end",
                m.boot_id, m.arm_count, m.file_id, m.incarnation, m.suspended_ns
            ),
            Self::Disarmed { boot_id, arm_count } => write!(f, "disarmed boot={boot_id} arm={arm_count} end"),
        }
    }
}

impl FromStr for Marker {
    type Err = NoMarker;

    /// Reads exactly what `Display` writes; a text cut short lacks the word `end`.
    fn from_str(text: &str) -> Result<Self, NoMarker> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["armed", boot, arm, file, incarnation, suspended, "end"] => Ok(Self::Armed(ArmedMarker {
                boot_id: BootId(hex(value(boot, "boot=")?)?),
                arm_count: number(value(arm, "arm=")?)?,
                file_id: FileId(hex(value(file, "file=")?)?),
                incarnation: incarnation_of(value(incarnation, "incarnation=")?)?,
                suspended_ns: number(value(suspended, "suspended_ns=")?)?,
            })),
            ["disarmed", boot, arm, "end"] => Ok(Self::Disarmed {
                boot_id: BootId(hex(value(boot, "boot=")?)?),
                arm_count: number(value(arm, "arm=")?)?,
            }),
            _ => Err(NoMarker),
        }
    }
}

fn value<'a>(word: &'a str, key: &str) -> Result<&'a str, NoMarker> {
    word.strip_prefix(key).ok_or(NoMarker)
}

fn number<T: FromStr>(text: &str) -> Result<T, NoMarker> {
    text.parse().map_err(|_| NoMarker)
}

fn incarnation_of(text: &str) -> Result<Incarnation, NoMarker> {
    let (slot, generation) = text.split_once('.').ok_or(NoMarker)?;
    Ok(Incarnation { slot: Slot(number(slot)?), generation: Generation(number(generation)?) })
}

fn hex(text: &str) -> Result<[u8; 16], NoMarker> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(NoMarker);
    }
    u128::from_str_radix(text, 16).map(bytes_in_order_of_the_digits).map_err(|_| NoMarker)
}

fn bytes_in_order_of_the_digits(number: u128) -> [u8; 16] {
    let mut bytes = number.to_le_bytes();
    bytes.reverse();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armed() -> Marker {
        Marker::Armed(ArmedMarker {
            boot_id: BootId([0xab; 16]),
            arm_count: 3,
            file_id: FileId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
            incarnation: Incarnation { slot: Slot(2), generation: Generation(7) },
            suspended_ns: 12,
        })
    }

    #[test]
    fn a_marker_reads_back_as_it_was_written() {
        let disarmed = Marker::Disarmed { boot_id: BootId([9; 16]), arm_count: 1 };
        for marker in [armed(), disarmed] {
            assert_eq!(marker.to_string().parse(), Ok(marker));
        }
    }

    #[test]
    fn a_marker_that_was_cut_short_is_no_marker() {
        for marker in [armed(), Marker::Disarmed { boot_id: BootId([9; 16]), arm_count: 14 }] {
            let text = marker.to_string();
            for len in 0..text.len() {
                assert_eq!(text[..len].parse::<Marker>(), Err(NoMarker), "{:?}", &text[..len]);
            }
        }
    }
}
