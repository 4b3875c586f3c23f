//! A mapped device that the fencer has removed, and the tool that makes it anew.

use std::fmt;
use std::fs;
use std::path::Path;

use leasefence_transport::{MappedDevice, Mapping};

/// A mapped device: what it is, and its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct MappedNote {
    uuid: String,
    pub(super) name: String,
    mapping: Mapping,
}

impl MappedNote {
    pub(super) fn of(device: &MappedDevice) -> Self {
        Self { uuid: device.uuid.clone(), name: device.name.clone(), mapping: device.mapping }
    }

    /// What `Display` has written.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (uuid, name) = text.split_once(' ')?;
        let mapping = match uuid {
            uuid if uuid.starts_with("mpath-") => Mapping::Multipath,
            uuid if uuid.starts_with("LVM-") => Mapping::Volume,
            _ => Mapping::Partition,
        };
        Some(Self { uuid: uuid.to_owned(), name: name.to_owned(), mapping })
    }

    /// Whether the kernel has a mapped device of this identity and this name, whatever its number is now.
    pub(super) fn is_there(&self) -> bool {
        let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
        let says = |dm: &Path, attribute: &str, wanted: &str| {
            fs::read_to_string(dm.join(attribute)).is_ok_and(|text| text.trim_end() == wanted)
        };
        devices
            .map(|device| device.path().join("dm"))
            .any(|dm| says(&dm, "uuid", &self.uuid) && says(&dm, "name", &self.name))
    }

    /// What an administrator would type. multipathd and udev often have done it before.
    pub(super) fn command(&self) -> Vec<String> {
        match self.mapping {
            Mapping::Multipath => words(&["multipath", self.uuid.trim_start_matches("mpath-")]),
            Mapping::Volume => words(&["lvchange", "-ay", &volume_of(&self.name)]),
            // All partitions of the device whose identity follows `partN-`.
            Mapping::Partition => {
                let whole = self.uuid.split_once('-').map_or("", |(_, whole)| whole);
                words(&["kpartx", "-a", "-p", self.delimiter(), &format!("/dev/disk/by-id/dm-uuid-{whole}")])
            }
        }
    }

    /// What stands between the name of a multipath device and the number of its partition: each distribution has its own.
    fn delimiter(&self) -> &'static str {
        let stem = self.name.trim_end_matches(|c: char| c.is_ascii_digit());
        ["-part", "_part", "p"].into_iter().find(|delimiter| stem.ends_with(delimiter)).unwrap_or_default()
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl fmt::Display for MappedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.uuid, self.name)
    }
}

/// `GROUP/VOLUME` of the name that LVM gives a mapped device: a hyphen between the two, and those within them doubled.
fn volume_of(name: &str) -> String {
    let parts: Vec<String> =
        name.replace("--", "\0").split('-').map(|part| part.replace('\0', "-")).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_tool() {
        let command =
            |text: &str| MappedNote::read(text).map(|note| note.command().join(" ")).unwrap_or_default();
        assert_eq!(command("mpath-36001405 mpatha"), "multipath 36001405");
        for (name, delimiter) in [("mpatha-part2", "-part"), ("mpathap2", "p"), ("mpatha2", "")] {
            let made = format!("kpartx -a -p {delimiter} /dev/disk/by-id/dm-uuid-mpath-36001405");
            assert_eq!(command(&format!("part2-mpath-36001405 {name}")), made);
        }
        assert_eq!(command("LVM-ab shared--vg-guest--1--disk"), "lvchange -ay shared-vg/guest-1-disk");
        assert_eq!(MappedNote::read("LVM-ab"), None);
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let text = "LVM-ab vg-disk";
        let note = MappedNote::read(text).expect("a note");
        assert_eq!(note.to_string(), text);
        assert!(!note.is_there());
    }
}
