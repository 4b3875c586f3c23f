//! `/proc/PID/stat`: the one file of a process that is read while its domain may have to be killed, since it takes no lock
//! of the victim's (unlike `cmdline` and `maps`, which wait for its memory map). Nothing here allocates.

use std::io::Write;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read as read_from};

/// The longest name of a program here, in bytes: the kernel cuts it.
const COMM_BYTES: usize = 16;

/// What the fencer needs of a process's `stat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stat {
    comm: [u8; COMM_BYTES],
    comm_len: usize,
    /// Its state letter: `Z` and `X` have ended.
    pub(crate) state: u8,
    /// When it started, in clock ticks since boot (field 22).
    pub(crate) start_time: u64,
}

impl Stat {
    /// The name of its program, cut to 15 bytes by the kernel.
    pub(crate) fn comm(&self) -> &[u8] {
        &self.comm[..self.comm_len]
    }
}

/// Reads it; none when there is no such process.
pub(crate) fn read(pid: u32) -> std::io::Result<Option<Stat>> {
    let mut path = [0; 32];
    let mut rest = path.as_mut_slice();
    // With its end, which is there by the zeros after it.
    write!(rest, "/proc/{pid}/stat")?;
    let used = 32 - rest.len();
    // Long enough for the 52 fields, each of at most 20 digits, and the name.
    let mut buffer = [0; 1200];
    let opened = open(&path[..used], OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    match opened.and_then(|file| read_from(&file, &mut buffer)) {
        Ok(len) => parse(&buffer[..len]).map(Some).ok_or_else(|| std::io::ErrorKind::InvalidData.into()),
        // SRCH: it ended between the open and the read.
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The name is in parentheses and may itself contain parentheses and blanks: the last `)` ends it.
fn parse(bytes: &[u8]) -> Option<Stat> {
    let name_end = bytes.iter().rposition(|byte| *byte == b')')?;
    let name_start = bytes.iter().position(|byte| *byte == b'(')?;
    let name = bytes.get(name_start + 1..name_end)?;
    let comm_len = name.len().min(COMM_BYTES);
    let mut comm = [0; COMM_BYTES];
    comm[..comm_len].copy_from_slice(&name[..comm_len]);
    let mut fields =
        bytes.get(name_end + 1..)?.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let state = *fields.next()?.first()?;
    // `state` is field 3, the start time is field 22.
    let start_time = std::str::from_utf8(fields.nth(22 - 4)?).ok()?.parse().ok()?;
    Some(Stat { comm, comm_len, state, start_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let line = b"77 (qemu) S (x) D 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        let stat = parse(line).expect("it is whole");
        assert_eq!((stat.comm(), stat.state, stat.start_time), (&b"qemu) S (x"[..], b'D', 4242));
        assert_eq!(parse(b"77 (qemu) S 1 2"), None);
        assert_eq!(parse(b""), None);
        let long =
            format!("77 ({}) D 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21", "n".repeat(64));
        assert_eq!(parse(long.as_bytes()).map(|stat| stat.comm().len()), Some(COMM_BYTES));
    }

    #[test]
    fn this_process_has_a_stat_and_pid_0_has_none() {
        let own = read(std::process::id()).expect("readable").expect("it runs");
        assert!(own.start_time > 0 && !own.comm().is_empty());
        assert_eq!(read(0).expect("readable"), None);
        assert_eq!(read(u32::MAX).expect("readable"), None);
    }
}
