//! Runs the command line, and plays the hosts whose records it reads.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use leasefence_core::format::{Claim, Header, HostName, HostRecord, HostState, LeasePage, RecordCopy};
use leasefence_core::ids::{BootId, Generation, HostKey, Incarnation, Nonce, Sequence, Slot};
use leasefence_core::terms::Terms;

/// What the hosts of these tests promise: longer than a lease file without any record is watched.
pub(crate) const VERDICT_AFTER: Duration = Duration::from_secs(7);

/// How a command ended.
pub(crate) struct Ran {
    pub(crate) stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Ran {
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }

    /// Exit code 1 and this complaint: never a signal, never a panic.
    #[track_caller]
    pub(crate) fn fails_with(&self, complaint: &str) -> &Self {
        assert_eq!(self.code, Some(1), "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.contains(complaint), "no {complaint:?} in: {}", self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn says(&self, words: &str) -> &Self {
        assert!(self.stdout.contains(words), "no {words:?} in: {}", self.stdout);
        self
    }
}

pub(crate) fn run(arguments: &[&str]) -> Ran {
    ran(Command::new(env!("CARGO_BIN_EXE_leasefence")).args(arguments))
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    }
}

pub(crate) fn init(path: &Path, options: &[&str]) -> Ran {
    run(&[&["init", path.to_str().unwrap(), "--cluster", "prod"], options].concat())
}

pub(crate) fn write_at(path: &Path, offset: u64, bytes: &[u8]) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

/// A host that has joined the cluster in this file.
pub(crate) fn host(path: &Path, slot: Slot, generation: u32, state: HostState) -> Host {
    let mut bytes = vec![0; 4096];
    std::fs::File::open(path).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    let terms = Terms { lease_ttl: VERDICT_AFTER, ..Terms::default() };
    let record = HostRecord {
        incarnation: Incarnation { slot, generation: Generation(generation) },
        host_key: HostKey([7; 16]),
        sequence: Sequence(1),
        state,
        terms,
        echo: terms,
        host_name: HostName::cut(&format!("host-{slot}")),
        ..HostRecord::default()
    };
    Host { path: path.to_owned(), header: Header::decode(0, &bytes).unwrap(), record }
}

pub(crate) struct Host {
    path: PathBuf,
    header: Header,
    record: HostRecord,
}

impl Host {
    /// Its claim, both copies of its record, and all its sectors of the lease pages.
    pub(crate) fn write(&self) {
        let (layout, slot) = (&self.header.layout, self.record.incarnation.slot);
        let name = self.record.host_name.clone();
        let claim =
            Claim { slot, boot_id: BootId::ZERO, host_key: self.record.host_key, nonce: Nonce(1), name };
        write_at(&self.path, self.claim_offset(), &claim.encode(&layout.claim(slot)));
        for copy in RecordCopy::BOTH {
            write_at(&self.path, self.offset(copy), &self.record.encode(&layout.host_record(slot, copy)));
            for page in 0..layout.pages() {
                let place = layout.lease_page(page, slot, copy);
                let sector = LeasePage::new(self.record.incarnation, BootId::ZERO, Sequence(1));
                write_at(&self.path, place.offset, &sector.encode(&place));
            }
        }
    }

    /// One renewal.
    pub(crate) fn renew(&mut self) {
        self.record.sequence = self.record.sequence.next();
        let copy = RecordCopy::of_sequence(self.record.sequence);
        let place = self.header.layout.host_record(self.record.incarnation.slot, copy);
        write_at(&self.path, place.offset, &self.record.encode(&place));
    }

    pub(crate) fn offset(&self, copy: RecordCopy) -> u64 {
        self.header.layout.host_record(self.record.incarnation.slot, copy).offset
    }

    pub(crate) fn claim_offset(&self) -> u64 {
        self.header.layout.claim(self.record.incarnation.slot).offset
    }
}

/// A mount that ends with the test; none, with the reason printed, where mounting is not allowed.
pub(crate) struct Mount {
    directory: tempfile::TempDir,
}

impl Mount {
    /// A file system in memory with room for this many bytes.
    pub(crate) fn small(bytes: u64) -> Option<Self> {
        Self::with(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
    }

    /// What is on a device.
    pub(crate) fn of(device: &Path) -> Option<Self> {
        Self::with(&[device.to_str().unwrap()])
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn make_read_only(&self) {
        let status = Command::new("mount").args(["-o", "remount,ro"]).arg(self.path()).status().unwrap();
        assert!(status.success());
    }

    fn with(arguments: &[&str]) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let output = Command::new("mount").args(arguments).arg(directory.path()).output();
        if output.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self { directory });
        }
        println!("skipped: mounting is not allowed here: {output:?}");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.directory.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the test's mount is left behind");
    }
}

/// A loop device that ends with the test; none, with the reason printed, where there is none.
pub(crate) struct Loop {
    device: PathBuf,
    _backing: tempfile::NamedTempFile,
}

impl Loop {
    pub(crate) fn of(bytes: u64) -> Option<Self> {
        let backing = tempfile::NamedTempFile::new().unwrap();
        backing.as_file().set_len(bytes).unwrap();
        let output = Command::new("losetup").args(["-f", "--show"]).arg(backing.path()).output();
        match output {
            Ok(output) if output.status.success() => {
                let device = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
                Some(Self { device, _backing: backing })
            }
            other => {
                println!("skipped: no loop device here: {other:?}");
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.device
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let detached = Command::new("losetup").arg("-d").arg(&self.device).status();
        assert!(detached.is_ok_and(|status| status.success()), "the test's loop device is left behind");
    }
}
