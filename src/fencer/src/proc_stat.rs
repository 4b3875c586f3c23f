//! `/proc/PID/stat`: the one file of a process that is read while its domain may have to be killed, since it takes no lock
//! of the victim's (unlike `cmdline` and `maps`, which wait for its memory map).

use std::fs::File;
use std::io::{ErrorKind, Read};

/// What the fencer needs of a process's `stat`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stat {
    /// The name of its program, cut to 15 bytes by the kernel.
    pub(crate) comm: String,
    /// Its state letter: `Z` and `X` have ended.
    pub(crate) state: u8,
    /// When it started, in clock ticks since boot (field 22).
    pub(crate) start_time: u64,
}

/// Reads it; none when there is no such process.
pub(crate) fn read(pid: u32) -> std::io::Result<Option<Stat>> {
    // Long enough for the 52 fields, each of at most 20 digits, and the name.
    let mut buffer = [0; 1200];
    let got = File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut buffer));
    match got {
        Ok(len) => parse(&buffer[..len]).map(Some).ok_or_else(|| ErrorKind::InvalidData.into()),
        // ESRCH (3): it ended between the open and the read.
        Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(3) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name is in parentheses and may itself contain parentheses and blanks: the last `)` ends it.
fn parse(bytes: &[u8]) -> Option<Stat> {
    let text = String::from_utf8_lossy(bytes);
    let (name_end, name_start) = (text.rfind(')')?, text.find('(')?);
    let comm = text.get(name_start + 1..name_end)?.to_owned();
    let mut fields = text.get(name_end + 1..)?.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    // `state` is field 3, the start time is field 22.
    let start_time = fields.nth(22 - 4)?.parse().ok()?;
    Some(Stat { comm, state, start_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let line = b"77 (qemu) S (x) D 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        let stat = Stat { comm: "qemu) S (x".into(), state: b'D', start_time: 4242 };
        assert_eq!(parse(line), Some(stat));
        assert_eq!(parse(b"77 (qemu) S 1 2"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn this_process_has_a_stat_and_pid_0_has_none() {
        let own = read(std::process::id()).expect("readable").expect("it runs");
        assert!(own.start_time > 0 && !own.comm.is_empty());
        assert_eq!(read(0).expect("readable"), None);
    }
}
