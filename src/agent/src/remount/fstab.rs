//! `/etc/fstab`: what is mounted at each start.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use leasefence_transport::{read_list, unescaped};

/// Where it lies.
pub(super) const FSTAB: &str = "/etc/fstab";

/// A line of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    /// `UUID=…`, a device's path, `server:/export`.
    pub(super) source: OsString,
    point: PathBuf,
    options: String,
}

impl Entry {
    /// The first line about this place.
    pub(super) fn about(point: &Path, fstab: &str) -> Option<Self> {
        let lines = fstab.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let mut entries = lines.filter_map(|line| {
            let mut fields = line.split_whitespace();
            let source = unescaped(fields.next()?);
            let point = PathBuf::from(unescaped(fields.next()?));
            Some(Self { source, point, options: fields.nth(1).unwrap_or_default().to_owned() })
        });
        entries.find(|entry| entry.point == point)
    }

    /// Whether it has this option.
    pub(super) fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|word| word == option)
    }

    /// True where its source is a directory that is shown in a second place.
    pub(super) fn is_bind(&self) -> bool {
        self.has("bind") || self.has("rbind")
    }
}

/// What the host has there; nothing where that cannot be read.
pub(super) fn host_fstab() -> String {
    read_list(Path::new(FSTAB)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_by_its_place_however_that_is_written() {
        let fstab = "# a comment\nstorage:/disks  /mnt/disks/ nfs4 _netdev,nofail 0 0\n#s:/x /mnt/x nfs4\ns:/y /mnt/a\\040b nfs\n";
        let about = |point: &str| Entry::about(Path::new(point), fstab);
        let disks = about("/mnt/disks").expect("a line");
        assert_eq!(disks.source, "storage:/disks");
        assert!(disks.has("nofail") && !disks.has("noauto"));
        assert_eq!(about("/mnt/a b").map(|entry| entry.source).as_deref(), Some("s:/y".as_ref()));
        assert_eq!([about("/mnt"), about("/mnt/x"), Entry::about(Path::new("/mnt"), "")], [None, None, None]);
    }
}
