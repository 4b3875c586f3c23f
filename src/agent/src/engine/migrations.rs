//! The steps of live migrations that the member asks for: signals at once, questions on threads of their own.

use std::fs::File;
use std::io::Read;
use std::thread;

use leasefence_core::fencing::DomainProcess;
use leasefence_core::ids::DomainId;
use leasefence_core::member::{LogLevel, MigrationNews, MigrationStep};

use super::Engine;
use crate::event::Event;
use crate::kill::start_time;

/// No command line of libvirt's comes near it.
const LONGEST_COMMAND_LINE_BYTES: u64 = 1 << 20;

impl Engine {
    /// Does one step.
    pub(super) fn migration_step(&mut self, domain: DomainId, step: MigrationStep) {
        match step {
            MigrationStep::LookAt(process) => {
                self.ask_on_a_thread(domain, move || MigrationNews::Process {
                    process,
                    incoming: waits_for_a_migration(&process),
                });
            }
            MigrationStep::AskJob { beside } => {
                let hypervisor = self.parts.hypervisor.clone();
                self.ask_on_a_thread(domain, move || MigrationNews::Job {
                    beside,
                    migrates: hypervisor.migrates_away(domain).ok(),
                });
            }
            MigrationStep::Halt => {
                let done = self.fencer.as_mut().map(|fencer| fencer.halt(domain));
                self.say_signalled(domain, "stopped", done.unwrap_or_default());
            }
            MigrationStep::GoOn => {
                let done = self.fencer.as_mut().map(|fencer| fencer.go_on(domain));
                self.say_signalled(domain, "that were stopped told to go on", done.unwrap_or_default());
            }
        }
    }

    /// Without a thread the member asks again.
    fn ask_on_a_thread(&self, domain: DomainId, question: impl FnOnce() -> MigrationNews + Send + 'static) {
        let events = self.parts.events.clone();
        let work = move || drop(events.send(Event::Migration(domain, question())));
        drop(thread::Builder::new().name("migration".to_owned()).spawn(work));
    }

    /// The member repeats its steps: what reached nobody is not told each time.
    fn say_signalled(&mut self, domain: DomainId, what: &str, (reached, errors): (usize, Vec<String>)) {
        let name = self.names.get(&domain).cloned().unwrap_or_else(|| domain.to_string());
        if reached > 0 {
            self.say(LogLevel::Info, "migration", format!("{name}: {reached} processes {what}"));
        }
        for error in errors {
            self.say(LogLevel::Error, "migration", error);
        }
    }
}

/// What a process's command line says; none while it cannot be read, or is not QEMU's yet. Reading it may wait for the process's
/// own memory lock.
fn waits_for_a_migration(process: &DomainProcess) -> Option<bool> {
    let mut bytes = Vec::new();
    let file = File::open(format!("/proc/{}/cmdline", process.pid)).ok()?;
    file.take(LONGEST_COMMAND_LINE_BYTES).read_to_end(&mut bytes).ok()?;
    // Read after that: the pid was its own all the time.
    (start_time(process.pid) == Some(process.start_time)).then(|| says_incoming(&bytes)).flatten()
}

fn says_incoming(command_line: &[u8]) -> Option<bool> {
    let mut words = command_line.split(|byte| *byte == 0);
    let is_qemu = words.clone().any(|word| word == b"-uuid");
    is_qemu.then(|| words.any(|word| word == b"-incoming"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches: a cold start that goes for a migration, and a process that is judged before it is QEMU.
    #[test]
    fn only_qemus_own_command_line_says_whether_it_waits() {
        let cold = b"qemu-system-x86_64\0-name\0guest=web\0-uuid\0x\0-S\0";
        let waits = b"qemu-system-x86_64\0-uuid\0x\0-S\0-incoming\0defer\0";
        assert_eq!((says_incoming(cold), says_incoming(waits)), (Some(false), Some(true)));
        assert_eq!((says_incoming(b"libvirtd\0-l\0"), says_incoming(b"")), (None, None));
        let own = DomainProcess { pid: std::process::id(), start_time: 1, ..DomainProcess::default() };
        assert_eq!(waits_for_a_migration(&own), None, "another process of this pid");
    }
}
