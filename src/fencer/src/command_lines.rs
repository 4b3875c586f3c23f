//! Finds QEMU processes that libvirt's files do not show, by `-uuid` on their command line. Reading a command line waits
//! for the victim's memory map, so a thread of its own does it, in advance; the fencing thread takes its last answer
//! without ever waiting.

use std::fs;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use leasefence_core::ids::DomainId;

use crate::proc_stat;
use crate::run_files::{Candidate, looks_like_an_emulator};

const INTERVAL: Duration = Duration::from_secs(1);
const MOST_BYTES: u64 = 128 * 1024;
/// All of it is locked in memory.
const STACK_BYTES: usize = 64 * 1024;
/// As many as can be held.
const MOST: usize = leasefence_page::MAX_PROCESSES;

/// The fencing thread's end.
pub(crate) struct CommandLines {
    shared: Arc<Shared>,
    seen: u64,
    last: Vec<Candidate>,
}

/// What the thread found last. The fencing thread takes it where it can be had at once, and never waits.
#[derive(Default)]
struct Shared {
    found: Mutex<Vec<Candidate>>,
    looks: AtomicU64,
}

impl CommandLines {
    /// Starts the thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        thread::Builder::new()
            .name("command-lines".into())
            .stack_size(STACK_BYTES)
            .spawn(move || look_for_ever(&theirs))?;
        Ok(Self { shared, seen: 0, last: Vec::with_capacity(MOST) })
    }

    /// What the thread found last. Never waits.
    pub(crate) fn last(&mut self) -> &[Candidate] {
        let looks = self.shared.looks.load(Ordering::Acquire);
        if looks != self.seen
            && let Ok(found) = self.shared.found.try_lock()
        {
            self.seen = looks;
            self.last.clear();
            // What is beyond is not lost: it is there again in the next look.
            self.last.extend_from_slice(&found[..found.len().min(MOST)]);
        }
        &self.last
    }
}

fn look_for_ever(shared: &Shared) {
    let mut known: Vec<(Candidate, bool)> = Vec::new();
    loop {
        known = look(&known);
        let domains = known.iter().filter(|(_, is_domain)| *is_domain).map(|(candidate, _)| *candidate);
        let mut found = shared.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.clear();
        found.extend(domains);
        drop(found);
        shared.looks.fetch_add(1, Ordering::Release);
        thread::sleep(INTERVAL);
    }
}

/// Looks at each emulator process; a command line is read once in a process's life.
fn look(known: &[(Candidate, bool)]) -> Vec<(Candidate, bool)> {
    let Ok(entries) = fs::read_dir("/proc") else { return known.to_vec() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let stat = proc_stat::read(pid).ok()??;
        let same = |known: &&(Candidate, bool)| known.0.pid == pid && known.0.start_time == stat.start_time;
        if let Some(known) = known.iter().find(same) {
            return Some(*known);
        }
        if !looks_like_an_emulator(stat.comm()) {
            return None;
        }
        let domain = uuid_of(pid)?;
        let candidate = Candidate { domain: domain.unwrap_or_default(), pid, start_time: stat.start_time };
        Some((candidate, domain.is_some()))
    })
    .collect()
}

/// The uuid on the command line: outer none when it cannot be read (yet), inner none when there is none.
#[expect(clippy::option_option, reason = "two different answers: not readable, and no domain")]
fn uuid_of(pid: u32) -> Option<Option<DomainId>> {
    let mut bytes = Vec::new();
    fs::File::open(format!("/proc/{pid}/cmdline")).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    if bytes.is_empty() { None } else { Some(uuid_in(&bytes)) }
}

fn uuid_in(command_line: &[u8]) -> Option<DomainId> {
    let mut words = command_line.split(|byte| *byte == 0);
    words.find(|word| *word == b"-uuid")?;
    std::str::from_utf8(words.next()?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_names_its_domain_after_uuid() {
        let line =
            b"qemu-system-x86_64\0-name\0guest=web\0-uuid\0d2f5a9a0-25b1-4d3a-9f3d-0123456789ab\0-m\x0064\0";
        assert_eq!(uuid_in(line), "d2f5a9a0-25b1-4d3a-9f3d-0123456789ab".parse().ok());
        assert_eq!(uuid_in(b"qemu-system-x86_64\0-machine\0none\0"), None);
        assert_eq!(uuid_in(b"qemu-system-x86_64\0-uuid\0"), None);
    }
}
