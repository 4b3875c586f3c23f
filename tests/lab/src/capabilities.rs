//! What libvirt finds out about QEMU before it starts the first guest: seconds of emulated time on each new machine, and the same
//! each time. The first lab of an image lets its hosts find out, and keeps the answer for the later ones.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use leasefence_demo::command::{self, CommandError};

use crate::lab::{Lab, LabError};
use crate::machine::hypervisors;

/// Longest that it may take.
const LONGEST: Duration = Duration::from_secs(600);

/// Where libvirt keeps it.
const CACHE: &str = "/var/cache/libvirt/qemu";

/// Keeps what the hosts of this lab have found out, unless that was done before.
///
/// # Errors
/// When a host does not answer.
pub(crate) fn keep(lab: &Lab) -> Result<(), LabError> {
    let kept = lab.image().capabilities();
    if kept.exists() {
        return Ok(());
    }
    thread::scope(|scope| {
        let ask = |host| lab.exec_for(host, "virsh domcapabilities >/dev/null; sync", LONGEST);
        let threads: Vec<_> = hypervisors().map(|host| scope.spawn(move || ask(host))).collect();
        threads.into_iter().flat_map(thread::ScopedJoinHandle::join).try_for_each(|answer| answer.map(drop))
    })?;
    fetch(lab).map_err(|error| LabError::Io(kept.clone(), error))?;
    Ok(())
}

/// Copies host-1's into the image's directory, under its name only once it is whole.
fn fetch(lab: &Lab) -> std::io::Result<()> {
    let kept = lab.image().capabilities();
    let part = kept.with_extension("part");
    fs::create_dir_all(&part)?;
    let ssh = lab.ssh("host-1");
    let mut source = ssh.command(&mut Command::new("ssh"), &format!("tar -C {CACHE}/capabilities -c ."));
    let mut source = source.stdout(Stdio::piped()).spawn()?;
    let mut unpack = Command::new("tar");
    unpack.arg("-C").arg(&part).arg("-xp");
    if let Some(output) = source.stdout.take() {
        unpack.stdin(output);
    }
    let unpacked = command::run(&mut unpack);
    source.wait()?;
    unpacked.map_err(|error: CommandError| std::io::Error::other(error.to_string()))?;
    fs::rename(part, kept)
}
