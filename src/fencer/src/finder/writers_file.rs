//! `<run_dir>/writers`: who writes past the domains, for the agent's forecast. A line each: device, pid (0 for the kernel), name.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use leasefence_core::fencing::ANY_DEVICE;
use rustix::fs::{major, minor};

use super::Writer;

const FILE: &str = "writers";

/// Puts it in its place, whole or not at all.
pub(super) fn write(run_dir: &Path, writers: &[Writer]) -> io::Result<()> {
    let mut text = String::new();
    // Of one that may write to everything no device can be named; the log says so where it matters.
    for writer in writers.iter().filter(|writer| writer.device != ANY_DEVICE) {
        let name: String = writer.name().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let (major, minor) = (major(writer.device), minor(writer.device));
        writeln!(text, "{major}:{minor} {} {name}", writer.process.pid).ok();
    }
    let new = run_dir.join(FILE).with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, run_dir.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finder::record::ProcessName;
    use crate::finder::writers::named;
    use rustix::fs::makedev;

    #[test]
    fn each_has_a_line_with_device_pid_and_name() -> io::Result<()> {
        let run_dir = tempfile::tempdir()?;
        let writer = |pid, name: &[u8]| Writer {
            process: ProcessName { pid, start_time: 5 },
            device: makedev(0, 50),
            name: named(name),
        };
        write(run_dir.path(), &[writer(77, b"qemu-nbd"), writer(0, b"LIO"), writer(78, b"a\nb c")])?;
        let said = fs::read_to_string(run_dir.path().join(FILE))?;
        assert_eq!(said, "0:50 77 qemu-nbd\n0:50 0 LIO\n0:50 78 a?b c\n");
        write(run_dir.path(), &[])?;
        assert_eq!(fs::read_to_string(run_dir.path().join(FILE))?, "");
        Ok(())
    }
}
