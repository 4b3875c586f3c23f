//! The finder's process. It holds nothing of the fencer's but one end of a socket, has no real-time priority, and ends with the
//! fencer. Its memory is locked where it may be: a look must come off when memory runs out, too.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use leasefence_core::ids::DomainId;
use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::set_name;

use super::INTERVAL;
use super::emulators::Emulators;
use super::record::Record;
use super::search;
use crate::daemon::stop_signals;
use crate::hardening;
use crate::process::Process;

/// Runs until the fencer ends.
pub(crate) fn run() -> ExitCode {
    close_all_others();
    // The socket would tell too, but not one that is stopped or hangs. A fencer that has ended by now has closed it.
    set_parent_process_death_signal(Some(Signal::KILL)).ok();
    // The fencer has blocked them for itself: nothing here waits for them.
    stop_signals().thread_unblock().ok();
    set_name(c"leasefence-find").ok();
    hardening::keep_from_oom().ok();
    if !hardening::lock_memory_where_unlimited() {
        Record::Unlocked.send(&io::stdin()).ok();
    }
    match find_for_ever(&io::stdin()) {
        Errno::PIPE | Errno::CONNRESET => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// What a service manager passed and the fencer did not take goes on to its children.
fn close_all_others() {
    // SAFETY: this process has opened nothing itself yet, and all it uses are the first three. A kernel before 5.9 refuses.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32);
    }
}

fn find_for_ever(socket: &impl AsFd) -> Errno {
    let mut emulators = Emulators::default();
    let mut unread = Vec::new();
    loop {
        match Record::receive(socket) {
            Ok(Record::Skip(process)) => emulators.skip(process),
            Ok(Record::SkipFiles(name)) => {
                unread.extend(Process::hold(name.pid, name.start_time, DomainId::default()).ok().flatten());
            }
            Ok(Record::Go) => break,
            Ok(_) => return Errno::BADMSG,
            Err(error) => return error,
        }
    }
    let interval =
        Timespec { tv_sec: INTERVAL.as_secs().cast_signed(), tv_nsec: INTERVAL.subsec_nanos().into() };
    loop {
        let mut tell = |record: Record| record.send(socket);
        let looked = search::look(&mut emulators, &unread, &mut tell);
        if let Err(error) = looked {
            return error;
        }
        if poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&interval)) != Ok(1) {
            continue;
        }
        match Record::receive(socket) {
            Ok(Record::Go) => {}
            Ok(_) => return Errno::BADMSG,
            Err(error) => return error,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    /// Catches: a proof that is late by a second, since it needs a look that began after the end.
    #[test]
    fn it_looks_again_as_soon_as_it_is_asked_and_ends_with_its_keeper() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let finder = std::thread::spawn(move || find_for_ever(&theirs));
        let look = || loop {
            if let Record::Begin(begun) = Record::receive(&ours).unwrap() {
                while Record::receive(&ours).unwrap() != Record::End {}
                return begun;
            }
        };
        Record::Go.send(&ours).unwrap();
        let mut looked = look();
        for _ in 0..3 {
            let asked = leasefence_clock::instant();
            Record::Go.send(&ours).unwrap();
            looked = look();
            assert!(looked.boot_ns >= asked.boot_ns && looked.raw_ns >= asked.raw_ns);
            assert!(looked.since_by_faster(asked) < INTERVAL / 2, "it would look by itself after a second");
        }
        assert!(leasefence_clock::instant().since_by_faster(looked) < INTERVAL);
        drop(ours);
        assert_eq!(finder.join().unwrap(), Errno::PIPE);
    }
}
