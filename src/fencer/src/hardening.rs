//! What makes the fencer run on when the host is in trouble: memory locked, real-time priority, last to be killed for want
//! of memory. Each may be refused; the refusal and its reason are said, and the fencer goes on.

use std::fs;

use nix::libc;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getrlimit};

/// Above ordinary work, below the kernel's own threads (99) and most drivers' (50 and more).
const PRIORITY: i32 = 40;
/// What real-time tasks may take of each `sched_rt_period_us`, in microseconds; -1 takes the bound away.
const REAL_TIME_SHARE: &str = "/proc/sys/kernel/sched_rt_runtime_us";
/// The inode of the first pid namespace, fixed in the kernel (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Does all three and returns a line for the log about each.
pub(crate) fn harden() -> Vec<String> {
    vec![lock_memory(), raise_priority(), protect_from_oom()]
}

/// Has all threads use one heap. Each thread's own would be an address range of 64 MiB, which a lock on all memory counts.
/// The fencing thread asks the heap for nothing between arming and the proof, so that it waits for nobody there.
pub(crate) fn keep_to_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number of the allocator's, and this is the process's only thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

fn lock_memory() -> String {
    match mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE) {
        Ok(()) => format!("memory locked: {}, {} resident", status_line("VmLck:"), status_line("VmRSS:")),
        Err(error) => {
            format!("warning: memory not locked, under pressure the fencer may be paged out: {error}")
        }
    }
}

/// The same where there is no limit: with one, what is asked for later could be refused, and end the process. False where it is not
/// locked.
pub(crate) fn lock_memory_where_unlimited() -> bool {
    getrlimit(Resource::Memlock).current.is_none()
        && mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).is_ok()
}

fn status_line(key: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.map_or_else(|| "?".into(), |line| line.trim().to_owned())
}

fn raise_priority() -> String {
    match raise_own_priority() {
        Ok(()) if has_no_bound(&fs::read_to_string(REAL_TIME_SHARE).unwrap_or_default()) => format!(
            "warning: real-time priority {PRIORITY} (SCHED_FIFO), and kernel.sched_rt_runtime_us is -1: \
             what runs at such a priority and never sleeps may take a processor from all others"
        ),
        Ok(()) => format!("real-time priority {PRIORITY} (SCHED_FIFO)"),
        Err(error) => format!(
            "warning: no real-time priority, a busy host may delay the kill: {error} \
             (a cpu cgroup without cpu.rt_runtime_us, or no CAP_SYS_NICE)"
        ),
    }
}

/// Whether the kernel was told to keep nothing of a processor from real-time tasks (`sched(7)`).
fn has_no_bound(runtime_us: &str) -> bool {
    runtime_us.trim().parse() == Ok(-1)
}

/// Asks for real-time priority for the calling thread; its children start without.
pub(crate) fn raise_own_priority() -> std::io::Result<()> {
    schedule(libc::SCHED_FIFO, PRIORITY)
}

/// The same, and above the thread that beats: for the one that stands behind it.
pub(crate) fn raise_own_priority_most() -> std::io::Result<()> {
    schedule(libc::SCHED_FIFO, PRIORITY + 1)
}

/// Gives the calling thread an ordinary priority: for what takes long and has time.
pub(crate) fn lower_own_priority() -> std::io::Result<()> {
    schedule(libc::SCHED_OTHER, 0)
}

fn schedule(policy: libc::c_int, priority: libc::c_int) -> std::io::Result<()> {
    let param = libc::sched_param { sched_priority: priority };
    let policy = policy | libc::SCHED_RESET_ON_FORK;
    // SAFETY: `param` is a valid `sched_param` that outlives the call, which only reads it; pid 0 is the calling thread.
    let outcome = unsafe { libc::sched_setscheduler(0, policy, &raw const param) };
    if outcome == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn protect_from_oom() -> String {
    match keep_from_oom() {
        Ok(()) => "never chosen when memory runs out (oom_score_adj -1000)".into(),
        Err(error) => {
            format!(
                "warning: may be chosen when memory runs out, oom_score_adj not set: {error} (CAP_SYS_RESOURCE)"
            )
        }
    }
}

/// Has others be killed before this process where memory runs out.
pub(crate) fn keep_from_oom() -> std::io::Result<()> {
    fs::write("/proc/self/oom_score_adj", "-1000")
}

/// Where this process stands among pid namespaces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum PidNamespace {
    /// The machine's first one: every process of the machine is in sight.
    Initial,
    /// Another one.
    Other,
    /// `/proc` is not this namespace's: pids in it are other processes.
    ForeignProc,
}

/// Finds out, from `/proc/self`.
pub(crate) fn pid_namespace() -> std::io::Result<PidNamespace> {
    let own = fs::read_link("/proc/self")?;
    if own.to_str() != Some(std::process::id().to_string().as_str()) {
        return Ok(PidNamespace::ForeignProc);
    }
    let namespace = fs::read_link("/proc/self/ns/pid")?;
    let initial = namespace.to_str() == Some(INITIAL_PID_NAMESPACE);
    Ok(if initial { PidNamespace::Initial } else { PidNamespace::Other })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_minus_one_takes_the_bound_of_real_time_tasks_away() {
        assert!(has_no_bound("-1\n"));
        for bounded in ["950000\n", "0\n", "1\n", ""] {
            assert!(!has_no_bound(bounded), "{bounded:?}");
        }
    }
}
