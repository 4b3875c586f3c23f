//! For tests: real mounts, in a mount namespace that is the host's for this process.

use std::io;
use std::path::Path;
use std::process::Command;

use super::fstab::FSTAB;

/// Set in the process that has mounts of its own.
const INNER: &str = "LEASEFENCE_TEST_INNER";

/// Has the test of this name play in a process of its own, where nothing of it meets the machine's own mounts.
pub(super) fn with_mounts_of_its_own(test: &str, play: fn() -> io::Result<()>) -> io::Result<()> {
    if !nix::unistd::geteuid().is_root() || tool("mkfs.ext4", &["-V"]).is_err() || !Path::new(FSTAB).exists()
    {
        println!("SKIPPED: it takes root, mkfs.ext4 and {FSTAB}");
        return Ok(());
    }
    if std::env::var_os(INNER).is_some() {
        assert_eq!(std::process::id(), 1);
        return play();
    }
    let status = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe()?)
        .args(["--exact", test, "--nocapture"])
        .env(INNER, "1")
        .status()?;
    assert!(status.success(), "{status}");
    Ok(())
}

pub(super) fn tool(name: &str, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(name).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(io::Error::other(format!("{name} {arguments:?}: {said}"))),
    }
}
