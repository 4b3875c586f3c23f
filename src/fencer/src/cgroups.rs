//! The second rung of the kill: whole cgroups, by `cgroup.kill` (cgroup v2, Linux 5.14 and later). It reaches what a process forks
//! between two looks. Where there is none (v1, an older kernel) the pidfds have done all there is to do.
//!
//! A thread of its own does it, after the signals (R7). A cgroup is killed only when every process in it and below it is one that
//! is to be killed: in a container a guest's cgroup may be the whole host's, and the fencer's too.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};

use leasefence_core::fencing::DomainProcess;
use leasefence_transport::read_list;

use crate::proc_stat;

/// All of it is locked in memory.
const STACK_BYTES: usize = 64 * 1024;
/// As many processes as can be held.
const MOST: usize = leasefence_page::MAX_PROCESSES;
/// Cgroups below one that are looked through; libvirt makes one for each virtual processor.
const MOST_BELOW: usize = 4096;
const DEEPEST: usize = 8;

/// The fencing thread's end.
pub(crate) struct Cgroups {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    /// What is to be killed; empty while nothing is.
    condemned: Mutex<Vec<DomainProcess>>,
    killed: AtomicU32,
    left: AtomicU32,
}

/// What became of a process's cgroup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Killed,
    /// Somebody else is in it, or it could not be killed.
    LeftAlone,
    /// There is none to be killed: v1, an older kernel, or its process is gone.
    None,
}

impl Cgroups {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        shared.condemned.lock().unwrap_or_else(PoisonError::into_inner).reserve(MOST);
        let theirs = Arc::clone(&shared);
        let run = move || theirs.kill_for_ever();
        let handle = thread::Builder::new().name("cgroups".into()).stack_size(STACK_BYTES).spawn(run)?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Has the cgroups of these killed, where nobody else is in them. Never waits: one that is busy has an order already.
    pub(crate) fn order(&self, condemned: impl Iterator<Item = DomainProcess>) {
        let Ok(mut list) = self.shared.condemned.try_lock() else { return };
        list.clear();
        list.extend(condemned.take(MOST));
        drop(list);
        self.thread.unpark();
    }

    /// How many were killed, and how many left alone, since the process started.
    pub(crate) fn counts(&self) -> (u32, u32) {
        (self.shared.killed.load(Ordering::Relaxed), self.shared.left.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn kill_for_ever(&self) {
        let mut known: Vec<DomainProcess> = Vec::with_capacity(MOST);
        loop {
            thread::park();
            {
                let mut list = self.condemned.lock().unwrap_or_else(PoisonError::into_inner);
                known.clear();
                known.append(&mut list);
            }
            let Some(mount) = mount_of_v2() else { continue };
            let mut done: Vec<PathBuf> = Vec::new();
            for process in &known {
                match kill_cgroup_of(process, &known, &mount, &mut done) {
                    Outcome::Killed => self.killed.fetch_add(1, Ordering::Relaxed),
                    Outcome::LeftAlone => self.left.fetch_add(1, Ordering::Relaxed),
                    Outcome::None => continue,
                };
            }
        }
    }
}

/// Where the hierarchy of v2 is mounted: alone, or beside those of v1.
fn mount_of_v2() -> Option<PathBuf> {
    let mounts = read_list(Path::new("/proc/self/mountinfo")).ok()?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ');
        // Only where its root is: paths in /proc are from there.
        let (root, point) = (fields.nth(3)?, fields.next()?);
        (after.starts_with("cgroup2 ") && root == "/" && !point.contains('\\')).then(|| PathBuf::from(point))
    })
}

/// Kills the cgroup of one process, each once.
fn kill_cgroup_of(
    process: &DomainProcess,
    known: &[DomainProcess],
    mount: &Path,
    done: &mut Vec<PathBuf>,
) -> Outcome {
    let Some(path) = path_of(process.pid) else { return Outcome::None };
    // Only now does the start time say whose path that is.
    if !matches!(proc_stat::read(process.pid), Ok(Some(stat)) if stat.start_time == process.start_time) {
        return Outcome::None;
    }
    let Some(group) = killable(&path, mount) else { return Outcome::None };
    if done.iter().any(|before| group.starts_with(before)) {
        return Outcome::None;
    }
    done.push(group.clone());
    match kill_if_all_known(&group, known) {
        Ok(true) => Outcome::Killed,
        Err(error) if error.kind() == ErrorKind::NotFound => Outcome::None,
        Ok(false) | Err(_) => Outcome::LeftAlone,
    }
}

/// The path of a process in the hierarchy of v2, which has the number 0; none where it is the root, or outside of what this
/// process may see.
fn path_of(pid: u32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let path = PathBuf::from(path.strip_suffix(" (deleted)").unwrap_or(path));
    let is_below = path.components().all(|part| matches!(part, Component::Normal(_)));
    (is_below && path.components().next().is_some()).then_some(path)
}

/// The cgroup itself, or the nearest above it that can be killed: libvirt puts the threads of a guest into threaded ones below its
/// own, which refuse.
fn killable(path: &Path, mount: &Path) -> Option<PathBuf> {
    path.ancestors().take_while(|path| !path.as_os_str().is_empty()).find_map(|path| {
        let group = mount.join(path);
        let kind = fs::read_to_string(group.join("cgroup.type")).ok()?;
        (kind.trim() != "threaded").then_some(group)
    })
}

/// Kills it unless somebody else is in it. One who comes between the look and the kill is killed too: it is a guest's cgroup.
fn kill_if_all_known(group: &Path, known: &[DomainProcess]) -> io::Result<bool> {
    let mut file = File::options().write(true).open(group.join("cgroup.kill"))?;
    let mut looked = 0;
    if !all_known(group, known, &mut looked, DEEPEST)? {
        return Ok(false);
    }
    file.write_all(b"1").map(|()| true)
}

/// What is more than so deep below it, or more than so many, counts as somebody else's: the stack is small.
fn all_known(group: &Path, known: &[DomainProcess], looked: &mut usize, deepest: usize) -> io::Result<bool> {
    *looked += 1;
    if *looked > MOST_BELOW || deepest == 0 {
        return Ok(false);
    }
    let threaded = fs::read_to_string(group.join("cgroup.type"))?.trim() == "threaded";
    // The processes of a threaded one are in the list of the one above it that is not.
    if !threaded {
        for pid in fs::read_to_string(group.join("cgroup.procs"))?.lines() {
            // 0 is a process of another pid namespace.
            if !pid.parse().is_ok_and(|pid| is_known(pid, known)) {
                return Ok(false);
            }
        }
    }
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && !all_known(&entry.path(), known, looked, deepest - 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_known(pid: u32, known: &[DomainProcess]) -> bool {
    known.iter().filter(|process| process.pid == pid).any(|process| match proc_stat::read(pid) {
        Ok(Some(stat)) => stat.start_time == process.start_time,
        // It has ended meanwhile.
        Ok(None) => true,
        Err(_) => false,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    /// A cgroup of this test's own; none, said loudly, where none can be made.
    struct Group(PathBuf);

    impl Group {
        fn new(name: &str) -> Option<Self> {
            let path = mount_of_v2()?.join(format!("leasefence-test-{}-{name}", std::process::id()));
            if let Err(error) = fs::create_dir(&path) {
                println!("SKIPPED: no cgroup can be made at {}: {error}", path.display());
                return None;
            }
            let group = Self(path);
            if !group.0.join("cgroup.kill").exists() {
                println!("SKIPPED: this kernel has no cgroup.kill");
                return None;
            }
            Some(group)
        }

        fn enter(&self, pid: u32) {
            fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            let begun = Instant::now();
            while fs::remove_dir(&self.0).is_err() && begun.elapsed() < Duration::from_secs(2) {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn known(pid: u32) -> DomainProcess {
        let start_time = proc_stat::read(pid).unwrap().unwrap().start_time;
        DomainProcess { pid, start_time, ..DomainProcess::default() }
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_cgroup_of_domain_processes_alone_is_killed() {
        let Some(group) = Group::new("guests") else { return };
        let mut guests = [sleeper(), sleeper()];
        guests.iter().for_each(|guest| group.enter(guest.id()));
        let known = [known(guests[0].id()), known(guests[1].id())];
        assert!(kill_if_all_known(&group.0, &known).unwrap());
        for guest in &mut guests {
            assert_eq!(guest.wait().unwrap().signal(), Some(9), "nobody else has signalled it");
        }
    }

    #[test]
    fn one_that_holds_a_stranger_is_left_alone() {
        let Some(group) = Group::new("mixed") else { return };
        let (guest, mut stranger) = (sleeper(), sleeper());
        [&guest, &stranger].iter().for_each(|child| group.enter(child.id()));
        let known = [known(guest.id())];
        let mut done = Vec::new();
        assert_eq!(kill_cgroup_of(&known[0], &known, &mount_of_v2().unwrap(), &mut done), Outcome::LeftAlone);
        assert!(stranger.try_wait().unwrap().is_none());
        end(guest);
        end(stranger);
    }

    #[test]
    fn one_with_a_stranger_below_it_is_left_alone() {
        let Some(group) = Group::new("above") else { return };
        let below = Group(group.0.join("below"));
        fs::create_dir(&below.0).unwrap();
        let (guest, mut stranger) = (sleeper(), sleeper());
        group.enter(guest.id());
        below.enter(stranger.id());
        assert!(!kill_if_all_known(&group.0, &[known(guest.id())]).unwrap());
        assert!(stranger.try_wait().unwrap().is_none());
        end(guest);
        end(stranger);
    }

    /// In a container without a cgroup namespace of its own for each guest the fencer is among them.
    #[test]
    fn one_that_holds_this_very_process_is_left_alone() {
        let Some(home) =
            path_of(std::process::id()).map_or_else(mount_of_v2, |path| Some(mount_of_v2()?.join(path)))
        else {
            return;
        };
        let Some(group) = Group::new("own") else { return };
        let guest = sleeper();
        group.enter(guest.id());
        group.enter(std::process::id());
        let killed = kill_if_all_known(&group.0, &[known(guest.id())]);
        fs::write(home.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        assert!(!killed.unwrap());
        end(guest);
    }

    /// A pid may be another's by now.
    #[test]
    fn a_process_of_another_start_time_is_a_stranger() {
        let Some(group) = Group::new("reused") else { return };
        let mut child = sleeper();
        group.enter(child.id());
        let before = DomainProcess { start_time: known(child.id()).start_time - 1, ..known(child.id()) };
        assert!(!kill_if_all_known(&group.0, &[before]).unwrap());
        assert!(child.try_wait().unwrap().is_none());
        end(child);
    }

    #[test]
    fn the_root_of_the_hierarchy_is_no_guests() {
        assert!(killable(Path::new(""), Path::new("/sys/fs/cgroup")).is_none());
    }
}
