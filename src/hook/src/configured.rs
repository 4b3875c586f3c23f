//! Whether this host's agent was ever configured, and where its files are: two keys of its configuration, read line by line,
//! since nothing here may need a library.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The agent's configuration.
pub const CONFIG_PATH: &str = "/etc/leasefence/leasefence.toml";

/// What the hook goes by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Configured {
    /// The agent's sockets, and what is kept until the next boot.
    pub run_dir: PathBuf,
    /// What is kept for good.
    pub state_dir: PathBuf,
    /// Tells two texts of the configuration apart; none when it cannot be read.
    pub checksum: Option<u64>,
}

impl Configured {
    /// Reads it. None when this host has no configuration, or one that names no lease as the packages bring it: then no
    /// agent has ever guarded anything here, and installing a package must break nothing. One that cannot be read may name one.
    #[must_use]
    pub fn read(config: &Path) -> Option<Self> {
        match fs::read(config) {
            Ok(bytes) => Self::of(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => Some(Self::new(None, None, None)),
        }
    }

    /// The same; but a host whose fencer guards a lease is a configured one, whatever an editor or an administrator has done to
    /// the file meanwhile.
    #[must_use]
    pub fn read_or_armed(config: &Path, marker: &Path) -> Option<Self> {
        Self::read(config).or_else(|| {
            let marker = fs::read_to_string(marker).unwrap_or_default();
            marker.starts_with("armed ").then(|| Self::new(None, None, None))
        })
    }

    /// What the text says.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        has(&text, "lease")
            .then(|| Self::new(value(&text, "run_dir"), value(&text, "state_dir"), Some(checksum(bytes))))
    }

    fn new(run_dir: Option<&str>, state_dir: Option<&str>, checksum: Option<u64>) -> Self {
        Self {
            run_dir: run_dir.unwrap_or("/run/leasefence").into(),
            state_dir: state_dir.unwrap_or("/var/lib/leasefence").into(),
            checksum,
        }
    }
}

/// What stands behind `key =` before the first table; the file is TOML.
fn raw<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let top = text.lines().map(str::trim).take_while(|line| !line.starts_with('['));
    let behind = |line: &'a str| {
        let bare = line.strip_prefix(key);
        let quoted =
            || ['"', '\''].into_iter().find_map(|q| line.strip_prefix(q)?.strip_prefix(key)?.strip_prefix(q));
        bare.or_else(quoted)?.trim_start().strip_prefix('=')
    };
    top.filter(|line| !line.starts_with('#')).find_map(behind).map(str::trim)
}

fn has(text: &str, key: &str) -> bool {
    raw(text, key).is_some()
}

/// The text of a string without escapes, which a path has no need of.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let raw = raw(text, key)?;
    let quote = raw.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
    let (value, _) = raw.get(1..)?.split_once(quote)?;
    (!value.is_empty() && !value.contains('\\')).then_some(value)
}

/// FNV-1a: nobody who may write the configuration would gain by two texts of one sum.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_the_packages_bring_configures_nothing() {
        let shipped = include_bytes!("../../../packaging/leasefence.toml");
        assert_eq!(Configured::of(shipped), None);
        assert_eq!(Configured::read(Path::new("/nonexistent/leasefence.toml")), None);
    }

    #[test]
    fn a_lease_however_it_is_written_configures_this_host() {
        for line in ["lease = \"/mnt/a.lease\"", "  lease='/x'", "\"lease\"=\"/x\"", "lease   =\"\""] {
            let text = format!("# lease = no\nwatchdog = \"auto\"\n{line}\n[log]\nlevel = \"info\"\n");
            let read = Configured::of(text.as_bytes()).expect(line);
            assert_eq!(read.run_dir, Path::new("/run/leasefence"));
        }
        for text in ["#lease = \"/x\"", "lease_ttl = \"8s\"", "[lease]\nlease = 1", "cluster = 'lease = 1'"] {
            assert_eq!(Configured::of(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn directories_are_taken_from_it() {
        let text =
            b"cluster = \"a\"\nlease = \"/x\"\nrun_dir = \"/run/other\"\nstate_dir='/srv/state' # here\n";
        let read = Configured::of(text).expect("a lease");
        assert_eq!(
            (read.run_dir.to_str(), read.state_dir.to_str()),
            (Some("/run/other"), Some("/srv/state"))
        );
    }

    /// Catches: a configuration that an editor has moved away for a moment, in which everything may start on an armed host.
    #[test]
    fn an_armed_host_is_configured_also_without_its_configuration() {
        let dir = tempfile::tempdir().expect("a directory");
        let (config, marker) = (dir.path().join("leasefence.toml"), dir.path().join("state"));
        assert_eq!(Configured::read_or_armed(&config, &marker), None);
        for (text, configured) in
            [("armed boot=1 end\n", true), ("disarmed boot=1 arm=1 end\n", false), ("", false)]
        {
            fs::write(&marker, text).expect("written");
            assert_eq!(Configured::read_or_armed(&config, &marker).is_some(), configured, "{text}");
        }
    }

    /// Catches: a host whose configuration cannot be read, on which everything may start.
    #[test]
    fn one_that_cannot_be_read_counts_as_configured() {
        let directory = Path::new("/etc");
        let read = Configured::read(directory).expect("reading a directory fails");
        assert_eq!(read.checksum, None);
    }

    #[test]
    fn another_text_has_another_sum() {
        let sum = |text: &[u8]| Configured::of(text).expect("a lease").checksum;
        assert_ne!(sum(b"lease = 1"), sum(b"lease = 2"));
    }
}
