//! One look through /proc: what is an emulator, and what serves disks past all of them.

use std::fs;

use leasefence_core::fencing::ANY_DEVICE;
use rustix::io::Errno;

use super::emulators::Emulators;
use super::record::{ProcessName, Record};
use super::{cgroup_members, kernel_writers, writers};
use crate::proc_stat;
use crate::process::Process;

/// After so many processes one is told, whatever was found.
const SIGNS_OF_LIFE: usize = 256;

/// Hands a record on.
pub(super) type Tell<'a> = dyn FnMut(Record) -> Result<(), Errno> + 'a;

/// Looks once; what `unread` have open is left alone. Of most processes only the name is read, which takes nothing of theirs.
pub(super) fn look(emulators: &mut Emulators, unread: &[Process], tell: &mut Tell<'_>) -> Result<(), Errno> {
    tell(Record::Begin(leasefence_clock::instant()))?;
    emulators.drop_ended();
    let members = cgroup_members::all();
    let entries = fs::read_dir("/proc").map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    for (count, pid) in pids.enumerate() {
        // A host with very many processes is no reason to be taken for one that hangs.
        if count % SIGNS_OF_LIFE == 0 {
            tell(Record::Reading(ProcessName::default()))?;
        }
        let Ok(comm) = fs::read(format!("/proc/{pid}/comm")) else { continue };
        emulators.look_at(pid, &comm, members.contains(&pid), tell)?;
        // An emulator that is no domain's may have been started by anybody, for anything.
        if emulators.is_nobody_s(pid) || writers::serves_disks(&comm) {
            tell_of_writer(pid, &comm, unread, tell)?;
        }
    }
    for (name, device) in kernel_writers::all() {
        tell(Record::Writer(ProcessName::default(), device, name))?;
    }
    tell(Record::End)
}

/// What is read here takes locks of the process's, so that one which holds them may hold this one up.
fn tell_of_writer(pid: u32, comm: &[u8], unread: &[Process], tell: &mut Tell<'_>) -> Result<(), Errno> {
    let program = writers::named(comm);
    // As long as its pidfd shows no exit, its pid is nobody else's.
    if let Some(process) = unread.iter().find(|process| process.pid == pid && !process.exit_seen()) {
        let name = ProcessName { pid, start_time: process.start_time };
        return tell(Record::Writer(name, ANY_DEVICE, program));
    }
    let Ok(Some(stat)) = proc_stat::read(pid) else { return Ok(()) };
    let name = ProcessName { pid, start_time: stat.start_time };
    tell(Record::ReadingFiles(name, program))?;
    let devices = writers::devices_of(pid);
    tell(Record::Reading(ProcessName::default()))?;
    devices.into_iter().try_for_each(|device| tell(Record::Writer(name, device, program)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;
    use leasefence_core::ids::DomainId;

    /// This process, which writes, and over which a finder may have hung.
    #[test]
    fn it_is_said_before_files_are_read_and_what_is_left_alone_writes_to_everything() {
        let pid = std::process::id();
        let _file = tempfile::NamedTempFile::new().unwrap();
        let told = |unread: &[Process]| {
            let mut told = Vec::new();
            let mut tell = |record| {
                told.push(record);
                Ok(())
            };
            tell_of_writer(pid, b"qemu-nbd\n", unread, &mut tell).unwrap();
            told
        };
        let start_time = proc_stat::read(pid).unwrap().unwrap().start_time;
        let name = ProcessName { pid, start_time };
        let program = writers::named(b"qemu-nbd");
        let all = told(&[]);
        assert_eq!(all[..2], [Record::ReadingFiles(name, program), Record::Reading(ProcessName::default())]);
        assert!(all.len() > 2 && all[2..].iter().all(|record| matches!(record, Record::Writer(..))));
        let held = Process::hold(pid, start_time, DomainId::default()).unwrap().unwrap();
        assert_eq!(told(&[held]), [Record::Writer(name, ANY_DEVICE, program)]);
    }
}
