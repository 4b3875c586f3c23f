//! One look through /proc: what is an emulator, and what serves disks past all of them.

use std::fs;

use rustix::io::Errno;

use super::emulators::Emulators;
use super::record::{ProcessName, Record};
use super::{cgroup_members, kernel_writers, writers};
use crate::proc_stat;

/// After so many processes one is told, whatever was found.
const SIGNS_OF_LIFE: usize = 256;

/// Hands a record on.
pub(super) type Tell<'a> = dyn FnMut(Record) -> Result<(), Errno> + 'a;

/// Looks once. Of most processes only the name is read, which takes nothing of theirs.
pub(super) fn look(emulators: &mut Emulators, tell: &mut Tell<'_>) -> Result<(), Errno> {
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
            tell_of_writer(pid, &comm, tell)?;
        }
    }
    for (name, device) in kernel_writers::all() {
        tell(Record::Writer(ProcessName::default(), device, name))?;
    }
    tell(Record::End)
}

/// Nothing that is read here takes a lock of the process's that it could hold for long.
fn tell_of_writer(pid: u32, comm: &[u8], tell: &mut Tell<'_>) -> Result<(), Errno> {
    let devices = writers::devices_of(pid);
    if devices.is_empty() {
        return Ok(());
    }
    let Ok(Some(stat)) = proc_stat::read(pid) else { return Ok(()) };
    let name = ProcessName { pid, start_time: stat.start_time };
    devices.into_iter().try_for_each(|device| tell(Record::Writer(name, device, writers::named(comm))))
}
