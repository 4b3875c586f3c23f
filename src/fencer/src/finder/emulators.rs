//! The finder's look at emulator processes: whose domain's each of them is, by `-uuid` on its command line, which is read once
//! in its life. Of all others only the name is read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use leasefence_core::ids::DomainId;
use rustix::io::Errno;

use super::record::{ProcessName, Record};
use super::search::Tell;
use crate::proc_stat;
use crate::process::Process;
use crate::run_files::looks_like_an_emulator;

const MOST_BYTES: u64 = 128 * 1024;

/// The emulators that are known, by pid.
#[derive(Default)]
pub(super) struct Emulators {
    known: BTreeMap<u32, Known>,
}

/// One of them. As long as its pidfd shows no exit, its pid is nobody else's.
struct Known {
    process: Process,
    whose: Whose,
}

/// Whose an emulator is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whose {
    Domain(DomainId),
    /// Libvirt's, which asks what an emulator can do. It has no machine, and so no disk.
    Question,
    /// Anybody's, who may have started it for anything.
    Nobody,
}

impl Known {
    fn name(&self) -> ProcessName {
        ProcessName { pid: self.process.pid, start_time: self.process.start_time }
    }
}

impl Emulators {
    /// Takes one for an unknown domain's, and never reads its command line.
    pub(super) fn skip(&mut self, name: ProcessName) {
        self.know(name, Whose::Domain(DomainId::default()));
    }

    fn know(&mut self, name: ProcessName, whose: Whose) {
        let domain = if let Whose::Domain(domain) = whose { domain } else { DomainId::default() };
        if let Ok(Some(process)) = Process::hold(name.pid, name.start_time, domain) {
            self.known.insert(name.pid, Known { process, whose });
        }
    }

    /// Forgets those that have ended: their pids may be others' now. A look begins with it.
    pub(super) fn drop_ended(&mut self) {
        self.known.retain(|_, known| !known.process.exit_seen());
    }

    /// Looks at one process, by its program's name and by whether it is a member of a domain's cgroup, and tells it where it is a
    /// domain's.
    pub(super) fn look_at(
        &mut self,
        pid: u32,
        comm: &[u8],
        is_member: bool,
        tell: &mut Tell<'_>,
    ) -> Result<(), Errno> {
        let is_emulator = looks_like_an_emulator(comm);
        if !self.known.contains_key(&pid) && (is_emulator || is_member) {
            self.read(pid, is_emulator, tell)?;
            tell(Record::Reading(ProcessName::default()))?;
        }
        match self.known.get(&pid) {
            Some(known) if matches!(known.whose, Whose::Domain(_)) => {
                tell(Record::Domain(known.name(), known.process.domain))
            }
            _ => Ok(()),
        }
    }

    /// True of an emulator whose command line names no domain, and that may have disks.
    pub(super) fn is_nobody_s(&self, pid: u32) -> bool {
        self.known.get(&pid).is_some_and(|known| known.whose == Whose::Nobody)
    }

    /// What cannot be read yet is read in the next look.
    fn read(&mut self, pid: u32, is_emulator: bool, tell: &mut Tell<'_>) -> Result<(), Errno> {
        tell(Record::Reading(ProcessName { pid, start_time: 0 }))?;
        let Ok(Some(stat)) = proc_stat::read(pid) else { return Ok(()) };
        let name = ProcessName { pid, start_time: stat.start_time };
        tell(Record::Reading(name))?;
        if let Some(whose) = whose(pid)
            // A member of a domain's cgroup that is none itself: a helper of it (swtpm), or one that has not become the emulator yet.
            && (is_emulator || matches!(whose, Whose::Domain(_)))
        {
            self.know(name, whose);
        }
        Ok(())
    }
}

/// Whose it is, by its command line; none when that cannot be read (yet).
fn whose(pid: u32) -> Option<Whose> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/cmdline")).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    (!bytes.is_empty()).then(|| Whose::of(&bytes))
}

impl Whose {
    fn of(command_line: &[u8]) -> Self {
        let after = |option: &[u8]| {
            let mut words = command_line.split(|byte| *byte == 0);
            words.find(|word| *word == option).and_then(|_| std::str::from_utf8(words.next()?).ok())
        };
        if let Some(domain) = after(b"-uuid").and_then(|uuid| uuid.parse().ok()) {
            return Self::Domain(domain);
        }
        let machine = after(b"-machine").and_then(|machine| machine.split(',').next());
        if machine == Some("none") { Self::Question } else { Self::Nobody }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;
    use std::fs;
    use std::process::{Command, Stdio};

    #[test]
    fn a_command_line_names_its_domain_after_uuid() {
        let line =
            b"qemu-system-x86_64\0-name\0guest=web\0-uuid\0d2f5a9a0-25b1-4d3a-9f3d-0123456789ab\0-m\x0064\0";
        let web = "d2f5a9a0-25b1-4d3a-9f3d-0123456789ab".parse().unwrap();
        assert_eq!(Whose::of(line), Whose::Domain(web));
        assert_eq!(Whose::of(b"qemu-system-x86_64\0-uuid\0"), Whose::Nobody);
        assert_eq!(Whose::of(b"qemu-system-x86_64\0-machine\0pc\0"), Whose::Nobody);
    }

    /// Catches: libvirt's question, which keeps a file on the host's own disk open, as a writer past the domains that lie there.
    #[test]
    fn what_libvirt_asks_of_an_emulator_is_no_writer() {
        let question = b"/usr/bin/qemu-system-x86_64\0-S\0-no-user-config\0-nodefaults\0-nographic\0-machine\0none,accel=kvm:tcg\0-qmp\0unix:/var/lib/libvirt/qemu/qmp-X/qmp.monitor\0";
        assert_eq!(Whose::of(question), Whose::Question);
        let owned = b"qemu-system-x86_64\0-machine\0none\0-uuid\0d2f5a9a0-25b1-4d3a-9f3d-0123456789ab\0";
        assert!(matches!(Whose::of(owned), Whose::Domain(_)));
    }

    /// Catches: a guest whose emulator has a name of its own, on a host whose run files are gone; and a helper of a guest that is
    /// taken for an unknown one.
    #[test]
    fn a_member_of_a_domain_s_cgroup_is_found_whatever_its_name_and_its_helpers_are_not() {
        let uuid = "d2f5a9a0-25b1-4d3a-9f3d-0123456789ab";
        let start = |args: &[&str]| {
            let mut command = Command::new("sh");
            // It waits for what never comes.
            command.args(["-c", "read line", "x"]).args(args).stdin(Stdio::piped());
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let (mut guest, mut helper) = (start(&["-uuid", uuid]), start(&[]));
        let found = |pid, is_member| {
            let mut emulators = Emulators::default();
            let mut found = Vec::new();
            let mut tell = |record| {
                if let Record::Domain(of, domain) = record {
                    found.push((of.pid, domain.to_string()));
                }
                Ok(())
            };
            emulators.look_at(pid, b"my-emulator\n", is_member, &mut tell).unwrap();
            assert!(!emulators.is_nobody_s(pid));
            found
        };
        let is_there = |child: &std::process::Child| {
            while fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap().is_empty() {}
        };
        is_there(&guest);
        is_there(&helper);
        assert_eq!(found(guest.id(), true), [(guest.id(), uuid.to_owned())]);
        assert_eq!(found(guest.id(), false), []);
        assert_eq!(found(helper.id(), true), []);
        for child in [&mut guest, &mut helper] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// One that a finder hung over: its command line is not read again, and it is nobody's known domain.
    #[test]
    fn one_that_is_skipped_is_an_unknown_domain_s_until_it_has_ended() {
        let mut child =
            Command::new("sleep").arg("30").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start_time = proc_stat::read(child.id()).unwrap().unwrap().start_time;
        let name = ProcessName { pid: child.id(), start_time };
        let mut emulators = Emulators::default();
        emulators.skip(name);
        let told = |emulators: &mut Emulators| {
            let mut of_it = Vec::new();
            let mut tell = |record| {
                if matches!(record, Record::Reading(of) | Record::Domain(of, _) if of.pid == name.pid) {
                    of_it.push(record);
                }
                Ok(())
            };
            emulators.drop_ended();
            emulators.look_at(name.pid, b"sleep\n", false, &mut tell).unwrap();
            of_it
        };
        assert_eq!(told(&mut emulators), [Record::Domain(name, DomainId::default())]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(told(&mut emulators), []);
        let other_life = ProcessName { start_time: start_time + 1, ..name };
        emulators.skip(other_life);
        assert_eq!(told(&mut emulators), [], "a pid that is another's now");
    }
}
