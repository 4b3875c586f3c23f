//! A directory of one test's own on a disk file system, and a storage thread whose completions can be waited for.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use leasefence_core::member::LeaseMedium;
use leasefence_core::storage::{IoDone, IoError, IoId, IoOp, IoRequest};
use leasefence_disk::{Disk, DiskOptions, OpenError};

/// Removed when it is dropped.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    /// `name` is the test's own.
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A file of this many bytes, all zero.
    pub(crate) fn file(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.0.join(name);
        std::fs::File::create(&path).unwrap().set_len(bytes).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// A storage thread, used as the agent does: one request outstanding.
pub(crate) struct Bench {
    pub(crate) disk: Disk,
    pub(crate) medium: LeaseMedium,
    done: Receiver<IoDone>,
    next: u64,
}

impl Bench {
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, DiskOptions::default())
    }

    pub(crate) fn open_with(path: &Path, options: DiskOptions) -> Result<Self, OpenError> {
        let (sender, done) = channel();
        let (disk, medium) = Disk::open(path, options, move |ended| drop(sender.send(ended)))?;
        Ok(Self { disk, medium, done, next: 0 })
    }

    pub(crate) fn run(&mut self, op: IoOp) -> IoDone {
        let id = IoId(self.next);
        self.next += 1;
        assert!(self.disk.submit(IoRequest { id, op }));
        let done = self.done.recv_timeout(Duration::from_secs(30)).expect("the storage thread answers");
        assert_eq!(done.id, id);
        done
    }

    pub(crate) fn read(&mut self, offset: u64, len: usize) -> Result<Vec<u8>, IoError> {
        self.run(IoOp::Read { offset, len }).result
    }

    pub(crate) fn write(&mut self, offset: u64, data: Vec<u8>) -> Result<Vec<u8>, IoError> {
        self.run(IoOp::Write { offset, data }).result
    }
}

/// Runs a tool, and gives what it printed; none when it is missing or fails.
pub(crate) fn tool(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A loop device, detached when it is dropped.
pub(crate) struct Loop(pub(crate) PathBuf);

impl Loop {
    /// None, said on the terminal, where this machine gives no loop device.
    pub(crate) fn attach(backing: &Path, sector_size: u32) -> Option<Self> {
        let size = sector_size.to_string();
        let args = ["--find", "--show", "--sector-size", &size, backing.to_str()?];
        let device = tool("losetup", &args);
        if device.is_none() {
            println!("SKIPPED: no loop device to be had here (needs root and losetup)");
        }
        device.map(|device| Self(PathBuf::from(device)))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if tool("losetup", &["--detach", &self.0.display().to_string()]).is_none() {
            println!("{} could not be detached", self.0.display());
        }
    }
}

/// A mounted file system, unmounted when it is dropped.
pub(crate) struct Mount(pub(crate) PathBuf);

impl Mount {
    pub(crate) fn new(args: &[&str], at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let point = at.to_str()?;
        let mounted = tool("mount", &[args, &[point]].concat()).is_some();
        if !mounted {
            println!("SKIPPED: mount {args:?} is not possible here (needs root)");
        }
        mounted.then(|| Self(at.to_path_buf()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // The storage thread lets go of its file a moment after its handle is dropped.
        let unmounted = (0..200).any(|_| {
            let done = tool("umount", &[&self.0.display().to_string()]).is_some();
            if !done {
                std::thread::sleep(Duration::from_millis(25));
            }
            done
        });
        if !unmounted {
            println!("{} could not be unmounted", self.0.display());
        }
    }
}
