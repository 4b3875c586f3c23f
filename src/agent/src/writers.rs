//! `<run_dir>/writers`: who writes past the domains to what may be their storages, as the fencer finds it. For the forecast; the
//! fencer decides by what it sees itself.

use std::fmt;
use std::fs;
use std::path::Path;

use nix::sys::stat::makedev;

const FILE: &str = "writers";

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Writer {
    /// What it writes to, by device number.
    pub(crate) device: u64,
    /// Zero for the kernel.
    pid: u32,
    name: String,
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            0 => write!(f, "{} (in the kernel)", self.name),
            pid => write!(f, "{} (pid {pid})", self.name),
        }
    }
}

/// All of them; none where there is no such file, or no fencer that writes one.
pub(crate) fn read(run_dir: &Path) -> Vec<Writer> {
    fs::read_to_string(run_dir.join(FILE)).unwrap_or_default().lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Writer> {
    let mut words = line.splitn(3, ' ');
    let (major, minor) = words.next()?.split_once(':')?;
    let device = makedev(major.parse().ok()?, minor.parse().ok()?);
    Some(Writer { device, pid: words.next()?.parse().ok()?, name: words.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_device_a_pid_and_a_name() {
        let nbd = parse("8:17 77 qemu nbd");
        assert_eq!(nbd, Some(Writer { device: makedev(8, 17), pid: 77, name: "qemu nbd".to_owned() }));
        assert_eq!(parse("0:50 0 LIO").map(|lio| lio.to_string()), Some("LIO (in the kernel)".to_owned()));
        for other in ["", "8 77 x", "8:1 x y", "8:1 77"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
