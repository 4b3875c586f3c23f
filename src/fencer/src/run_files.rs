//! What libvirt leaves in its run directory for each running domain: NAME.pid, and NAME.xml whose root is `<domstatus>`.
//! Reads them without libvirt, and decides whether a pid in a file still is that domain's process.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use leasefence_core::ids::DomainId;
use rustix::fs::OFlags;

use crate::proc_stat;

/// The most of a status file that is read: the uuid stands far before this.
const MOST_XML_BYTES: u64 = 256 * 1024;
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
    file: (u64, i64, i64),
    pid: u32,
    start_time: u64,
}

/// The run directory.
pub(crate) struct RunFiles {
    dir: PathBuf,
    bindings: BTreeMap<PathBuf, Binding>,
}

/// What a reading of the directory gave.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) candidates: Vec<Candidate>,
    /// False when something could not be read, so that a domain may be missing.
    pub(crate) complete: bool,
}

impl RunFiles {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), bindings: BTreeMap::new() }
    }

    /// Changes whenever a file was made, renamed or removed.
    pub(crate) fn changed(&self) -> Option<(i64, i64)> {
        fs::metadata(&self.dir).ok().map(|meta| (meta.mtime(), meta.mtime_nsec()))
    }

    /// Reads all of it. A directory that does not exist has no domains.
    pub(crate) fn read(&mut self) -> Found {
        let mut found = Found { complete: true, ..Found::default() };
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) => {
                found.complete = error.kind() == ErrorKind::NotFound;
                return found;
            }
        };
        let mut seen = BTreeMap::new();
        for entry in entries {
            let Ok(entry) = entry else {
                found.complete = false;
                continue;
            };
            let path = entry.path();
            if is_domain_pid_file(&path) && self.read_one(&path, &mut seen, &mut found).is_err() {
                found.complete = false;
            }
        }
        self.bindings = seen;
        found
    }

    fn read_one(
        &self,
        path: &Path,
        seen: &mut BTreeMap<PathBuf, Binding>,
        found: &mut Found,
    ) -> std::io::Result<()> {
        let Some((mut file, meta)) = open(path)? else { return Ok(()) };
        let mut text = String::new();
        file.by_ref().take(32).read_to_string(&mut text)?;
        let Ok(pid) = text.trim().parse::<u32>() else {
            // Empty: being written. Old and empty: left over, it names nobody.
            return if age(&meta) < WRITING { Err(ErrorKind::InvalidData.into()) } else { Ok(()) };
        };
        let Some(stat) = proc_stat::read(pid)? else { return Ok(()) };
        let file = (meta.ino(), meta.mtime(), meta.mtime_nsec());
        let binding = Binding { file, pid, start_time: stat.start_time };
        let known = self.bindings.get(path).filter(|known| known.file == file && known.pid == pid);
        match known {
            Some(known) if known.start_time != stat.start_time => {
                // The same file, and another process under its pid: reused. The file keeps meaning the one that has ended.
                seen.insert(path.to_owned(), *known);
                return Ok(());
            }
            None if is_reused(&stat, &meta) => return Ok(()),
            _ => {}
        }
        seen.insert(path.to_owned(), binding);
        let domain = match domain_of(&path.with_extension("xml"))? {
            Some(domain) => domain,
            None => self.domain_of_helper(path)?,
        };
        found.candidates.push(Candidate { domain, pid, start_time: stat.start_time });
        Ok(())
    }

    /// The domain that a helper (virtiofsd, a GPU's) works for: it has no status file of its own. Zero, which is an unknown
    /// domain and protected, where none is found.
    fn domain_of_helper(&self, path: &Path) -> std::io::Result<DomainId> {
        let Some(number) = number_of_helper(path) else { return Ok(DomainId::default()) };
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "xml")
                && let Some(xml) = status(&path)?
                && has_number(&xml, number)
            {
                return Ok(uuid_in(&xml).unwrap_or_default());
            }
        }
        Ok(DomainId::default())
    }
}

/// `driver.pid` is the libvirt daemon's own; all others in this directory are domains' or their helpers'.
fn is_domain_pid_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "pid")
        && path.file_stem().is_some_and(|stem| stem != "driver")
}

fn open(path: &Path) -> std::io::Result<Option<(File, fs::Metadata)>> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file.metadata().map(|meta| Some((file, meta))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn age(meta: &fs::Metadata) -> Duration {
    meta.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default()
}

/// True only when it is certain that a pid file found for the first time names a process that came later: it started well
/// after the file was written, *and* its program is no emulator. Wall time may have been set in between, so that the
/// first alone proves nothing; and in doubt a process is a domain's.
fn is_reused(stat: &proc_stat::Stat, meta: &fs::Metadata) -> bool {
    let now = leasefence_clock::instant();
    let started_ns = stat.start_time.saturating_mul(10_000_000);
    let lived = Duration::from_nanos(now.boot_ns.saturating_sub(started_ns));
    lived + LATE < age(meta) && !looks_like_an_emulator(&stat.comm)
}

/// True for the names of QEMU's programs.
pub(crate) fn looks_like_an_emulator(comm: &str) -> bool {
    comm.starts_with("qemu-system") || comm.starts_with("qemu-kvm") || comm.starts_with("kvm")
}

/// The uuid in a domain's status file.
fn domain_of(path: &Path) -> std::io::Result<Option<DomainId>> {
    Ok(status(path)?.as_deref().and_then(uuid_in))
}

fn status(path: &Path) -> std::io::Result<Option<String>> {
    let Some((file, _)) = open(path)? else { return Ok(None) };
    let mut text = Vec::new();
    file.take(MOST_XML_BYTES).read_to_end(&mut text)?;
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

/// The number that a helper's pid file begins with: `3-web-fs0-fs.pid` is virtiofsd of domain 3, `web`.
fn number_of_helper(path: &Path) -> Option<&str> {
    let (number, _) = path.file_stem()?.to_str()?.split_once('-')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(number)
}

/// True for the status file of the domain with this number.
fn has_number(xml: &str, number: &str) -> bool {
    let domain = xml
        .find("<domstatus")
        .and_then(|at| xml.get(at..))
        .and_then(|rest| rest.get(rest.find("<domain ")?..));
    let tag = domain.and_then(|domain| domain.get(..domain.find('>')?));
    tag.is_some_and(|tag| {
        [format!(" id='{number}'"), format!(" id=\"{number}\"")].iter().any(|id| tag.contains(id))
    })
}

/// The first `<uuid>` inside `<domain …>`, itself inside `<domstatus …>`.
fn uuid_in(xml: &str) -> Option<DomainId> {
    let status = xml.get(xml.find("<domstatus")?..)?;
    let domain = status.get(status.find("<domain ")?..)?;
    let uuid = domain.get(domain.find("<uuid>")? + "<uuid>".len()..)?;
    uuid.get(..uuid.find("</uuid>")?)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uuid_is_the_domains_own_and_no_other_in_the_status_file() {
        let xml = "<!-- libvirt -->\n<domstatus state='running' reason='booted' pid='77'>\n\
                   <monitor path='/x'/><secret><uuid>00000000-0000-0000-0000-000000000001</uuid></secret>\n\
                   <domain type='qemu' id='3'>\n<name>web</name>\n\
                   <uuid>d2f5a9a0-25b1-4d3a-9f3d-0123456789ab</uuid>\n</domain></domstatus>";
        let expected = "d2f5a9a0-25b1-4d3a-9f3d-0123456789ab".parse().ok();
        assert_eq!(uuid_in(xml), expected);
        assert_eq!(uuid_in("<domain type='x'><uuid>d2f5a9a0-25b1-4d3a-9f3d-0123456789ab</uuid>"), None);
        assert_eq!(uuid_in(""), None);
    }

    #[test]
    fn the_daemons_own_pid_file_is_no_domains() {
        assert!(!is_domain_pid_file(Path::new("/run/libvirt/qemu/driver.pid")));
        assert!(is_domain_pid_file(Path::new("/run/libvirt/qemu/web.pid")));
        assert!(!is_domain_pid_file(Path::new("/run/libvirt/qemu/web.xml")));
    }

    /// A host that has proven CLEAN is reset by its watchdog where no scan is complete for as long as that holds.
    #[test]
    fn an_empty_pid_file_leaves_scans_incomplete_for_two_seconds_and_no_longer() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let file = File::create(dir.path().join("web.pid"))?;
        let mut files = RunFiles::new(dir.path());
        assert!(!files.read().complete, "it is being written");
        file.set_modified(SystemTime::now() - Duration::from_millis(2500))?;
        assert!(files.read().complete, "it names nobody");
        Ok(())
    }

    #[test]
    fn a_helper_is_its_domains_by_the_number_in_front() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let uuid = "d2f5a9a0-25b1-4d3a-9f3d-0123456789ab";
        let xml = |id: u32| {
            format!("<domstatus>\n<domain type='qemu' id='{id}'>\n<uuid>{uuid}</uuid>\n</domain></domstatus>")
        };
        fs::write(dir.path().join("web.xml"), xml(3))?;
        fs::write(dir.path().join("3-db.xml"), xml(13).replace("d2f5", "aaaa"))?;
        let files = RunFiles::new(dir.path());
        let of = |name: &str| files.domain_of_helper(&dir.path().join(name)).map(|domain| domain.to_string());
        assert_eq!(of("3-web-fs0-fs.pid")?, uuid);
        assert_eq!(
            of("4-other-fs0-fs.pid")?,
            DomainId::default().to_string(),
            "no such domain: unknown, and protected"
        );
        assert_eq!(of("slirp-x.pid")?, DomainId::default().to_string());
        Ok(())
    }
}
