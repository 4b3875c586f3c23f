//! The directory of one run: the hosts' disks, the shared storage, logs. It names its owner, so that what a crashed run
//! left behind is recognised, and cleaned, by the next one. Nothing else on the machine is ever cleaned.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::cgroups;
use crate::process::Process;

/// Why there is no place to run in.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// Creating or cleaning.
    #[error("cannot prepare the run directory {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    /// A file system on which leases and disks cannot lie.
    #[error("{0} is no place for leases and disks: {1}; choose a directory on a real disk with --dir")]
    Unfit(PathBuf, String),
}

/// A run's directory. It is removed when dropped, unless [`RunDir::keep`] was called.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    keep: bool,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl RunDir {
    /// Makes a directory below `base`, after cleaning what runs that crashed have left there.
    ///
    /// # Errors
    /// When `base` cannot be written, lies in memory or has no direct I/O.
    pub fn create(base: &Path) -> Result<Self, RunDirError> {
        fs::create_dir_all(base).map_err(|error| RunDirError::Io(base.into(), error))?;
        let base = fs::canonicalize(base).map_err(|error| RunDirError::Io(base.into(), error))?;
        clean_leftovers(&base);
        check_fitness(&base)?;
        let path =
            base.join(format!("run-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
        let run = Self { path, keep: false };
        run.populate().map_err(|error| RunDirError::Io(run.path.clone(), error))?;
        Ok(run)
    }

    fn populate(&self) -> io::Result<()> {
        fs::create_dir(&self.path)?;
        record(&self.path, Process::myself()?)?;
        fs::create_dir(self.shared())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A short name of this run, for what lies outside the directory.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The shared storage, as seen from this machine.
    #[must_use]
    pub fn shared(&self) -> PathBuf {
        self.path.join("shared")
    }

    /// Leaves the directory in place until the next run cleans it: its logs say what went wrong.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if !self.keep {
            fs::remove_dir_all(&self.path).ok();
        }
    }
}

/// Writes down that `process` belongs to `directory`.
///
/// # Errors
/// When the file cannot be written.
pub fn record(directory: &Path, process: Process) -> io::Result<()> {
    File::create(directory.join("process.json"))?.write_all(serde_json::to_string(&process)?.as_bytes())
}

fn recorded(directory: &Path) -> Option<Process> {
    serde_json::from_slice(&fs::read(directory.join("process.json")).ok()?).ok()
}

/// Removes the runs below `base` whose owner is gone: their hosts, should one be left, their control groups, their files.
fn clean_leftovers(base: &Path) {
    for run in fs::read_dir(base).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if recorded(&run).is_some_and(|owner| !owner.is_alive()) {
            clean(&run);
        }
    }
}

/// Ends and removes all that a run has made.
pub fn clean(run: &Path) {
    let run_name = run.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for host in fs::read_dir(run).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let Some(init) = recorded(&host) else { continue };
        init.signal(Signal::SIGKILL).ok();
        crate::wait::until("a host's end", std::time::Duration::from_secs(5), || {
            (!init.is_alive()).then_some(())
        })
        .ok();
        let host_name = host.file_name().unwrap_or_default().to_string_lossy().into_owned();
        cgroups::remove(&cgroup_name(&run_name, &host_name));
    }
    fs::remove_dir_all(run).ok();
}

/// The name of a host's control groups: unlike any that somebody else would make.
#[must_use]
pub fn cgroup_name(run: &str, host: &str) -> String {
    format!("leasefence-demo-{run}-{host}")
}

/// Leases need direct I/O; and memory is no storage that outlives a power cut.
fn check_fitness(base: &Path) -> Result<(), RunDirError> {
    let unfit = |why: String| RunDirError::Unfit(base.into(), why);
    let kind = statfs(base).map_err(|errno| unfit(errno.to_string()))?.filesystem_type();
    if kind == TMPFS_MAGIC {
        return Err(unfit("it is a tmpfs".into()));
    }
    let probe = base.join(format!(".probe-{}", std::process::id()));
    let opened = File::options().create(true).write(true).custom_flags(OFlag::O_DIRECT.bits()).open(&probe);
    fs::remove_file(&probe).ok();
    opened.map(drop).map_err(|error| unfit(format!("no direct I/O ({error})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_whose_owner_is_gone_is_cleaned_and_one_that_lives_is_not() {
        let base = tempfile::tempdir_in("/var/tmp").unwrap();
        let living = RunDir::create(base.path()).unwrap();
        let crashed = base.path().join("run-crashed");
        fs::create_dir(&crashed).unwrap();
        // The same pid with an earlier start: the owner has died, and its pid was given to somebody else.
        let me = Process::myself().unwrap();
        record(&crashed, Process { start_ticks: me.start_ticks - 1, ..me }).unwrap();
        let strangers = base.path().join("strangers");
        fs::create_dir(&strangers).unwrap();

        let _next = RunDir::create(base.path()).unwrap();
        assert!(!crashed.exists());
        assert!(living.path().exists() && strangers.exists());
    }

    #[test]
    fn memory_is_no_place_for_leases() {
        let memory = Path::new("/dev/shm/leasefence-demo-test");
        let refused = RunDir::create(memory).map(drop).unwrap_err();
        fs::remove_dir_all(memory).ok();
        assert!(refused.to_string().contains("tmpfs"), "{refused}");
    }
}
