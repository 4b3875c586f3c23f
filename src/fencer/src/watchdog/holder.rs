//! Who holds a watchdog that is busy: a device can be opened once. Words for people; nothing is decided by it.

use std::fs;
use std::path::{Path, PathBuf};

/// What to do about whoever holds `path`.
pub(super) fn explain(path: &Path) -> String {
    let holder = holder(path);
    match holder {
        Some((1, name)) => format!(
            "it is held by {name} (pid 1), systemd's RuntimeWatchdogSec=: set it to 0 in system.conf, then systemctl daemon-reexec"
        ),
        Some((pid, name)) if name == "wdmd" => {
            format!(
                "it is held by wdmd (pid {pid}), sanlock's: stop it, or give one of the two another device"
            )
        }
        Some((pid, name)) => format!("it is held by {name} (pid {pid}): stop that first"),
        None => "it is held by a process that is not in sight".to_owned(),
    }
}

/// Pid and name of a process that has `path`, or the old name of the first device, open.
fn holder(path: &Path) -> Option<(u32, String)> {
    let names = names_of(path);
    let processes = fs::read_dir("/proc").ok()?;
    let mut pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let has_it = |pid: &u32| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).any(|open| names.contains(&open))
    };
    let pid = pids.find(has_it)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some((pid, name.trim().to_owned()))
}

/// `/dev/watchdog` and `/dev/watchdog0` are one device.
fn names_of(path: &Path) -> Vec<PathBuf> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let first = ["/dev/watchdog", "/dev/watchdog0"].map(PathBuf::from);
    if first.contains(&path) { first.to_vec() } else { vec![path] }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    #[test]
    fn whoever_has_it_open_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let said = explain(file.path());
        assert!(said.contains(&format!("(pid {})", std::process::id())), "{said}");
        assert!(explain(Path::new("/nobody/has/this")).contains("not in sight"));
    }
}
