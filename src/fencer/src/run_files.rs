//! What libvirt leaves in its run directory for each running domain: NAME.pid, and NAME.xml whose root is `<domstatus>`.
//! Reads them without libvirt, and decides whether a pid in a file still is that domain's process. It is read by the fencing
//! thread too, so nothing here allocates once it was made (R7).

use std::ffi::CStr;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leasefence_core::ids::DomainId;
use rustix::fs::{Mode, OFlags, RawDir, Stat as FileStat, fstat, open, openat, stat};
use rustix::io::{Errno, read};
use rustix::time::{ClockId, clock_gettime};

use crate::proc_stat;

/// The most of a status file that is read: the uuid stands far before this.
const MOST_XML_BYTES: usize = 128 * 1024;
/// Room for the names that one call returns.
const DIR_BYTES: usize = 4096;
/// The longest name of a file.
const NAME_BYTES: usize = 256;
/// As many files as are kept in mind.
const MOST: usize = leasefence_page::MAX_PROCESSES;
/// A process that started this much later than its pid file was written was not the one that the file meant.
const LATE: Duration = Duration::from_secs(5);

/// How long an empty pid file may be one that is being written. Until then no scan is complete: it must be over well before a
/// watchdog of 5 s has run out on a host that is clean.
const WRITING: Duration = Duration::from_secs(2);

/// A domain's process by libvirt's files, still to be taken hold of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Candidate {
    pub(crate) domain: DomainId,
    pub(crate) pid: u32,
    pub(crate) start_time: u64,
}

/// Which process a pid file was found to mean, as long as the file stays the same.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Binding {
    file: FileId,
    pid: u32,
    start_time: u64,
}

/// Inode, and when it was written: seconds and nanoseconds.
type FileId = (u64, i64, i64);

/// The run directory.
pub(crate) struct RunFiles {
    dir: PathBuf,
    bindings: Vec<Binding>,
    /// Those of the reading under way.
    seen: Vec<Binding>,
    candidates: Vec<Candidate>,
    xml: Box<[u8]>,
    names: Box<[MaybeUninit<u8>; DIR_BYTES]>,
    /// For a second look, while the first is under way.
    more_names: Box<[MaybeUninit<u8>; DIR_BYTES]>,
}

impl RunFiles {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            bindings: Vec::with_capacity(MOST),
            seen: Vec::with_capacity(MOST),
            candidates: Vec::with_capacity(MOST),
            xml: vec![0; MOST_XML_BYTES].into_boxed_slice(),
            names: Box::new([MaybeUninit::uninit(); DIR_BYTES]),
            more_names: Box::new([MaybeUninit::uninit(); DIR_BYTES]),
        }
    }

    /// Changes whenever a file was made, renamed or removed.
    pub(crate) fn changed(&self) -> Option<(i64, i64)> {
        stat(&self.dir).ok().map(|stat| (stat.st_mtime, nanoseconds(&stat)))
    }

    /// Reads all of it, into [`Self::candidates`]. False when something could not be read, so that a domain may be missing. A
    /// directory that does not exist has no domains.
    ///
    /// `held` gives the start time of the process under a pid that is held by a pidfd and has not exited. As long as that is so
    /// the pid is nobody else's, and its `stat` is not read: it may be dying ([`crate::process::Process::exit_seen`]).
    pub(crate) fn read(&mut self, held: impl Fn(u32) -> Option<u64>) -> bool {
        self.candidates.clear();
        let dir = match open(&self.dir, DIRECTORY, Mode::empty()) {
            Ok(dir) => dir,
            Err(error) => return error == Errno::NOENT,
        };
        let mut reading = Reading {
            dir: &dir,
            bindings: &self.bindings,
            seen: &mut self.seen,
            candidates: &mut self.candidates,
            xml: &mut self.xml,
            more_names: &mut *self.more_names,
            held: &held,
        };
        reading.seen.clear();
        let mut complete = true;
        let mut entries = RawDir::new(&dir, &mut *self.names);
        while let Some(entry) = entries.next() {
            complete &= match entry {
                Ok(entry) if is_domain_pid_file(entry.file_name()) => reading.one(entry.file_name()).is_ok(),
                Ok(_) => true,
                Err(_) => {
                    complete = false;
                    break;
                }
            };
        }
        std::mem::swap(&mut self.bindings, &mut self.seen);
        complete
    }

    /// What the last reading found.
    pub(crate) fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

/// One reading under way.
struct Reading<'a> {
    dir: &'a OwnedFd,
    bindings: &'a [Binding],
    seen: &'a mut Vec<Binding>,
    candidates: &'a mut Vec<Candidate>,
    xml: &'a mut [u8],
    more_names: &'a mut [MaybeUninit<u8>],
    held: &'a dyn Fn(u32) -> Option<u64>,
}

impl Reading<'_> {
    fn one(&mut self, name: &CStr) -> io::Result<()> {
        let Some((file, meta)) = open_in(self.dir, name)? else { return Ok(()) };
        let mut text = [0; 32];
        let len = read(&file, &mut text)?;
        let Some(pid) = number_in(&text[..len]) else {
            // Empty: being written. Old and empty: left over, it names nobody.
            return if age(&meta) < WRITING { Err(ErrorKind::InvalidData.into()) } else { Ok(()) };
        };
        let file = (meta.st_ino, meta.st_mtime, nanoseconds(&meta));
        let known = self.bindings.iter().find(|known| known.file == file && known.pid == pid).copied();
        let start_time = if let Some(start_time) = (self.held)(pid) {
            start_time
        } else {
            let Some(stat) = proc_stat::read(pid)? else { return Ok(()) };
            if known.is_none() && is_reused(&stat, &meta) {
                return Ok(());
            }
            stat.start_time
        };
        if let Some(known) = known.filter(|known| known.start_time != start_time) {
            // The same file, and another process under its pid: reused. The file keeps meaning the one that has ended.
            return self.keep(known);
        }
        self.keep(Binding { file, pid, start_time })?;
        let domain = match self.domain_of(name)? {
            Some(domain) => domain,
            None => self.domain_of_helper(name)?,
        };
        let candidate = Candidate { domain, pid, start_time };
        push(self.candidates, candidate)
    }

    fn keep(&mut self, binding: Binding) -> io::Result<()> {
        push(self.seen, binding)
    }

    /// The uuid in the status file of the domain with this pid file.
    fn domain_of(&mut self, pid_file: &CStr) -> io::Result<Option<DomainId>> {
        let mut name = [0; NAME_BYTES];
        let stem = stem(pid_file);
        let Some(rest) = name.get_mut(stem.len()..stem.len() + 5) else { return Ok(None) };
        rest.copy_from_slice(b".xml\0");
        name[..stem.len()].copy_from_slice(stem);
        let name = CStr::from_bytes_until_nul(&name).map_err(|_| ErrorKind::InvalidData)?;
        Ok(read_status(self.dir, name, self.xml)?.and_then(|len| uuid_in(&self.xml[..len])))
    }

    /// The domain that a helper (virtiofsd, a GPU's) works for: it has no status file of its own. Zero, which is an unknown
    /// domain and protected, where none is found.
    fn domain_of_helper(&mut self, pid_file: &CStr) -> io::Result<DomainId> {
        let Some(number) = number_of_helper(stem(pid_file)) else { return Ok(DomainId::default()) };
        // A descriptor of its own, since the first one is where the reading under way stands.
        let dir = openat(self.dir, c".", DIRECTORY, Mode::empty())?;
        let mut entries = RawDir::new(&dir, self.more_names);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if entry.file_name().to_bytes().ends_with(b".xml")
                && let Some(len) = read_status(self.dir, entry.file_name(), self.xml)?
                && has_number(&self.xml[..len], number)
            {
                return Ok(uuid_in(&self.xml[..len]).unwrap_or_default());
            }
        }
        Ok(DomainId::default())
    }
}

/// What has no room is not forgotten: the reading is not complete then.
fn push<T>(list: &mut Vec<T>, item: T) -> io::Result<()> {
    if list.len() == MOST {
        return Err(ErrorKind::OutOfMemory.into());
    }
    list.push(item);
    Ok(())
}

/// `driver.pid` is the libvirt daemon's own; all others in this directory are domains' or their helpers'.
fn is_domain_pid_file(name: &CStr) -> bool {
    name.to_bytes().ends_with(b".pid") && stem(name) != b"driver"
}

/// The name without what follows its last dot.
fn stem(name: &CStr) -> &[u8] {
    let name = name.to_bytes();
    let end = name.iter().rposition(|byte| *byte == b'.').unwrap_or(name.len());
    &name[..end]
}

fn open_in(dir: &OwnedFd, name: &CStr) -> io::Result<Option<(OwnedFd, FileStat)>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match openat(dir, name, flags, Mode::empty()) {
        Ok(file) => {
            let meta = fstat(&file)?;
            Ok(Some((file, meta)))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A number alone, with blanks around it.
fn number_in(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn nanoseconds(stat: &FileStat) -> i64 {
    i64::try_from(stat.st_mtime_nsec).unwrap_or_default()
}

/// Since it was written; nothing when that lies ahead.
fn age(meta: &FileStat) -> Duration {
    let now = clock_gettime(ClockId::Realtime);
    let at = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let age = at(now.tv_sec, now.tv_nsec) - at(meta.st_mtime, nanoseconds(meta));
    Duration::from_nanos(u64::try_from(age).unwrap_or_default())
}

/// True only when it is certain that a pid file found for the first time names a process that came later: it started well
/// after the file was written, *and* its program is no emulator. Wall time may have been set in between, so that the
/// first alone proves nothing; and in doubt a process is a domain's.
fn is_reused(stat: &proc_stat::Stat, meta: &FileStat) -> bool {
    let now = leasefence_clock::instant();
    let started_ns = stat.start_time.saturating_mul(10_000_000);
    let lived = Duration::from_nanos(now.boot_ns.saturating_sub(started_ns));
    lived + LATE < age(meta) && !looks_like_an_emulator(stat.comm())
}

/// True for the names of QEMU's programs.
pub(crate) fn looks_like_an_emulator(comm: &[u8]) -> bool {
    comm.starts_with(b"qemu-system") || comm.starts_with(b"qemu-kvm") || comm.starts_with(b"kvm")
}

/// Reads the beginning of a status file into `text`, and returns how much that is; none where there is no such file.
fn read_status(dir: &OwnedFd, name: &CStr, text: &mut [u8]) -> io::Result<Option<usize>> {
    let Some((file, _)) = open_in(dir, name)? else { return Ok(None) };
    let mut len = 0;
    while len < text.len() {
        match read(&file, &mut text[len..])? {
            0 => break,
            more => len += more,
        }
    }
    Ok(Some(len))
}

/// The number that a helper's pid file begins with: `3-web-fs0-fs.pid` is virtiofsd of domain 3, `web`.
fn number_of_helper(stem: &[u8]) -> Option<&[u8]> {
    let number = &stem[..stem.iter().position(|byte| *byte == b'-')?];
    number.iter().all(u8::is_ascii_digit).then_some(number)
}

/// What follows the first `what`.
fn after<'a>(text: &'a [u8], what: &[u8]) -> Option<&'a [u8]> {
    let first = *what.first()?;
    let mut rest = text;
    loop {
        rest = &rest[rest.iter().position(|byte| *byte == first)?..];
        match rest.strip_prefix(what) {
            Some(found) => return Some(found),
            None => rest = &rest[1..],
        }
    }
}

/// What follows the root's `<domain `.
fn domain_in(xml: &[u8]) -> Option<&[u8]> {
    after(after(xml, b"<domstatus")?, b"<domain ")
}

/// True for the status file of the domain with this number.
fn has_number(xml: &[u8], number: &[u8]) -> bool {
    let tag = domain_in(xml).and_then(|domain| domain.split(|byte| *byte == b'>').next());
    let has = |quote: u8| {
        let mut rest = tag?;
        // The blank before it is the tag's own where it is the first attribute.
        while let Some(found) = after(rest, b"id=") {
            let value = found.strip_prefix(&[quote]).and_then(|value| value.strip_prefix(number));
            let before = rest.len() - found.len() - 3;
            let is_whole_word = before == 0 || rest[before - 1].is_ascii_whitespace();
            if is_whole_word && value.is_some_and(|value| value.first() == Some(&quote)) {
                return Some(());
            }
            rest = found;
        }
        None
    };
    has(b'\'').is_some() || has(b'"').is_some()
}

/// The first `<uuid>` inside `<domain …>`, itself inside `<domstatus …>`.
fn uuid_in(xml: &[u8]) -> Option<DomainId> {
    let uuid = after(domain_in(xml)?, b"<uuid>")?;
    let end = uuid.iter().position(|byte| *byte == b'<')?;
    if !uuid[end..].starts_with(b"</uuid>") {
        return None;
    }
    std::str::from_utf8(&uuid[..end]).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::time::SystemTime;

    fn nobody(_: u32) -> Option<u64> {
        None
    }

    #[test]
    fn the_uuid_is_the_domains_own_and_no_other_in_the_status_file() {
        let xml = b"<!-- libvirt -->\n<domstatus state='running' reason='booted' pid='77'>\n\
                   <monitor path='/x'/><secret><uuid>00000000-0000-0000-0000-000000000001</uuid></secret>\n\
                   <domain type='qemu' id='3'>\n<name>web</name>\n\
                   <uuid>d2f5a9a0-25b1-4d3a-9f3d-0123456789ab</uuid>\n</domain></domstatus>";
        let expected = "d2f5a9a0-25b1-4d3a-9f3d-0123456789ab".parse().ok();
        assert_eq!(uuid_in(xml), expected);
        assert_eq!(uuid_in(b"<domain type='x'><uuid>d2f5a9a0-25b1-4d3a-9f3d-0123456789ab</uuid>"), None);
        assert_eq!(uuid_in(b""), None);
    }

    #[test]
    fn the_number_is_the_domains_own_attribute_and_whole() {
        let xml =
            |tag: &str| format!("<domstatus pid='9'>\n<domain {tag}>\n<x id='7'/></domain></domstatus>");
        for (tag, is) in [
            ("type='qemu' id='3'", true),
            ("id=\"3\" type='qemu'", true),
            ("type='qemu' id='13'", false),
            ("type='qemu' id='31'", false),
            ("type='qemu' valid='3'", false),
            ("type='qemu' valid='4' id='3'", true),
            ("type='qemu'", false),
        ] {
            assert_eq!(has_number(xml(tag).as_bytes(), b"3"), is, "{tag}");
        }
        assert!(!has_number(xml("type='qemu'").as_bytes(), b"7"), "another element's");
    }

    #[test]
    fn the_daemons_own_pid_file_is_no_domains() {
        assert!(!is_domain_pid_file(c"driver.pid"));
        assert!(is_domain_pid_file(c"web.pid"));
        assert!(is_domain_pid_file(c"web.driver.pid"));
        assert!(!is_domain_pid_file(c"web.xml"));
    }

    /// A host that has proven CLEAN is reset by its watchdog where no scan is complete for as long as that holds.
    #[test]
    fn an_empty_pid_file_leaves_scans_incomplete_for_two_seconds_and_no_longer() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let file = File::create(dir.path().join("web.pid"))?;
        let mut files = RunFiles::new(dir.path());
        assert!(!files.read(nobody), "it is being written");
        file.set_modified(SystemTime::now() - Duration::from_millis(2500))?;
        assert!(files.read(nobody), "it names nobody");
        Ok(())
    }

    /// Catches: the fencing thread that frees the memory of a QEMU it has just killed, since it was reading its `stat`. No
    /// process has this pid: whoever reads its `stat` finds none.
    #[test]
    fn of_a_process_that_is_held_no_stat_is_read() -> io::Result<()> {
        const NOBODY_S: u32 = u32::MAX / 2;
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("web.pid"), NOBODY_S.to_string())?;
        let mut files = RunFiles::new(dir.path());
        for _ in 0..2 {
            assert!(files.read(|pid| (pid == NOBODY_S).then_some(77)));
            let expected = Candidate { domain: DomainId::default(), pid: NOBODY_S, start_time: 77 };
            assert_eq!(files.candidates(), [expected]);
        }
        assert!(files.read(nobody));
        assert!(files.candidates().is_empty());
        Ok(())
    }

    #[test]
    fn many_files_are_read_by_more_than_one_call_and_none_is_left_out() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let own = std::process::id();
        for number in 0..300 {
            fs::write(
                dir.path().join(format!("a-domain-with-a-long-name-{number}.pid")),
                format!("{own}\n"),
            )?;
        }
        let mut files = RunFiles::new(dir.path());
        for _ in 0..2 {
            assert!(files.read(nobody));
            assert_eq!(files.candidates().len(), 300);
        }
        Ok(())
    }

    #[test]
    fn a_helper_is_its_domains_by_the_number_in_front() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let uuid = "d2f5a9a0-25b1-4d3a-9f3d-0123456789ab";
        let xml = |id: u32| {
            format!("<domstatus>\n<domain type='qemu' id='{id}'>\n<uuid>{uuid}</uuid>\n</domain></domstatus>")
        };
        fs::write(dir.path().join("web.xml"), xml(3))?;
        fs::write(dir.path().join("3-db.xml"), xml(13).replace("d2f5", "aaaa"))?;
        let own = std::process::id();
        let of = |name: &str| -> io::Result<String> {
            let file = dir.path().join(name);
            fs::write(&file, own.to_string())?;
            let mut files = RunFiles::new(dir.path());
            assert!(files.read(nobody));
            fs::remove_file(file)?;
            Ok(files.candidates()[0].domain.to_string())
        };
        assert_eq!(of("3-web-fs0-fs.pid")?, uuid);
        assert_eq!(of("web.pid")?, uuid);
        let unknown = DomainId::default().to_string();
        assert_eq!(of("4-other-fs0-fs.pid")?, unknown, "no such domain: unknown, and protected");
        assert_eq!(of("slirp-x.pid")?, unknown);
        Ok(())
    }
}
