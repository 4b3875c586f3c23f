//! `/proc/PID/mountinfo`: what is mounted where. Reading it touches no mounted file system, so a
//! dead server does not matter.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::makedev;

/// The mounts of the host's first process: this one may have a mount namespace of its own.
pub const HOST_MOUNTS: &str = "/proc/1/mountinfo";
/// Where the kernel describes processes.
pub(crate) const PROC: &str = "/proc";

/// The mounts of this process, as the kernel lists them: what a path of ours leads to.
///
/// # Errors
/// When the list cannot be read.
pub(crate) fn our_mounts(proc: &Path) -> io::Result<String> {
    read_list(&proc.join("self/mountinfo"))
}

/// The mounts of the host and of this process. The unit has a mount namespace of its own in which `/home`, `/root` and
/// `/run/user` are empty (`ProtectHome=yes`), and an administrator may give it more such settings: a mount there shares the
/// connection to its server all the same. The host's are those of its first process. Where that one is hidden, our own must do.
///
/// # Errors
/// When not even our own list can be read.
pub(crate) fn all_mounts(proc: &Path) -> io::Result<String> {
    let ours = our_mounts(proc)?;
    Ok(read_list(&proc.join("1/mountinfo")).unwrap_or_default() + &ours)
}

/// One of the kernel's lists of names (`mountinfo`, `mountstats`, `swaps`), or `/etc/fstab`. They have blanks and backslashes as three octal
/// digits, and any other byte as it is: what of it is no UTF-8 is put into digits as well. So [`unescaped`] gives each name whole, and the
/// odd name of one mount hides no other.
///
/// # Errors
/// When it cannot be read.
pub fn read_list(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8(fs::read(path)?).unwrap_or_else(|error| escaped(error.as_bytes())))
}

fn escaped(list: &[u8]) -> String {
    let mut text = String::with_capacity(list.len());
    for chunk in list.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\{byte:03o}")));
    }
    text
}

/// Where and how the host has mounted the file system with this device number.
///
/// # Errors
/// When the list cannot be read.
pub fn host_mounts(device: u64) -> io::Result<Vec<Mount>> {
    mounts_with(Path::new("/"), device)
}

/// The same, by the files below `root`.
pub(crate) fn mounts_with(root: &Path, device: u64) -> io::Result<Vec<Mount>> {
    Ok(mounts(&host_list(root)?).filter(|mount| mount.device == device).collect())
}

/// The mounts of the host as the kernel lists them, by the files below `root`.
pub(crate) fn host_list(root: &Path) -> io::Result<String> {
    read_list(&root.join(HOST_MOUNTS.trim_start_matches('/')))
}

/// One mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// The device number of its file system.
    pub device: u64,
    /// Where.
    pub point: PathBuf,
    /// The file system's type: `nfs4`, `ext4`.
    pub fs_type: String,
    /// What is mounted: `server:/export`, `/dev/sda1`.
    pub source: OsString,
    /// What this mount alone has: `rw,nosuid`.
    pub flags: String,
    /// The options of the file system, separated by commas.
    pub options: String,
}

/// Where a host has what it cannot do without.
const SYSTEM: [&str; 6] = ["/", "/boot", "/etc", "/usr", "/var", "/var/lib"];

impl Mount {
    /// True where this host has its own system: a fence must not take it away, and no other host can have the same.
    #[must_use]
    pub fn is_of_the_system(&self) -> bool {
        SYSTEM.iter().any(|point| self.point == Path::new(point))
    }

    /// True where nothing of it can be written to, by this mount or at all.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        [&self.flags, &self.options].iter().any(|list| list.split(',').any(|option| option == "ro"))
    }

    /// The value of an option; the empty text for one without a value.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.split(',').find_map(|option| match option.split_once('=') {
            Some((key, value)) => (key == name).then_some(value),
            None => (option == name).then_some(""),
        })
    }
}

/// All mounts in the kernel's list.
pub fn mounts(mountinfo: &str) -> impl Iterator<Item = Mount> {
    mountinfo.lines().filter_map(parse)
}

/// The mount that `path` lies on: the deepest mount point above it, and of several at one point the last.
#[must_use]
pub fn mount_of(mountinfo: &str, path: &Path) -> Option<Mount> {
    let above = mounts(mountinfo).filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

/// The mount with this number in the kernel's list (`mnt_id` in `/proc/PID/fdinfo`).
#[must_use]
pub fn mount_with_id(mountinfo: &str, id: u32) -> Option<Mount> {
    let of = |line: &&str| line.split(' ').next().and_then(|word| word.parse().ok()) == Some(id);
    mountinfo.lines().find(of).and_then(parse)
}

fn parse(line: &str) -> Option<Mount> {
    let (place, file_system) = line.split_once(" - ")?;
    let (major, minor) = place.split(' ').nth(2)?.split_once(':')?;
    let point = unescaped(place.split(' ').nth(4)?);
    let mut fields = file_system.split(' ');
    let (fs_type, source, options) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Mount {
        device: makedev(major.parse().ok()?, minor.parse().ok()?),
        point: PathBuf::from(point),
        fs_type: fs_type.to_owned(),
        flags: place.split(' ').nth(5)?.to_owned(),
        source: unescaped(source),
        options: options.to_owned(),
    })
}

/// A field of the kernel's list, or of `/etc/fstab` (fstab(5)): both write blanks and backslashes as three octal digits.
#[must_use]
pub fn unescaped(field: &str) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\').then(|| after.get(..3)).flatten().and_then(octal);
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::ffi::OsStr::from_bytes(digits).to_str()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = r"22 1 254:0 / / rw,noatime shared:1 - ext4 /dev/vda rw
40 22 0:50 / /mnt/lease\040here rw,relatime shared:9 - nfs4 10.0.0.1:/lease rw,vers=4.2,hard,nosharecache,proto=tcp,timeo=600,addr=10.0.0.1
41 40 0:51 / /mnt/lease\040here rw - tmpfs none rw
42 22 0:52 / /mnt/le rw - nfs4 10.0.0.2:/ rw,soft";

    /// Catches: a mount of NFS 3 below `/home`, hidden from the unit, whose connection is made anew under it.
    #[test]
    fn what_only_the_host_has_mounted_is_seen_and_a_hidden_host_is_no_error() -> io::Result<()> {
        let proc = tempfile::tempdir()?;
        let proc = proc.path();
        assert!(all_mounts(proc).is_err());
        fs::create_dir_all(proc.join("self"))?;
        fs::write(proc.join("self/mountinfo"), "40 22 0:50 / /lease rw - nfs4 s:/ rw\n")?;
        let points =
            || Ok::<_, io::Error>(mounts(&all_mounts(proc)?).map(|mount| mount.point).collect::<Vec<_>>());
        assert_eq!(points()?, [Path::new("/lease")]);
        fs::create_dir_all(proc.join("1"))?;
        fs::write(proc.join("1/mountinfo"), "41 22 0:51 / /home/old rw - nfs s:/old rw\n")?;
        assert_eq!(points()?, [Path::new("/home/old"), Path::new("/lease")]);
        assert_eq!(mounts(&our_mounts(proc)?).count(), 1);
        Ok(())
    }

    /// Catches: an agent that does not start, and a host without a proof, since somebody has mounted a stick with an old name; and a
    /// mount with such a name that is looked for, or unmounted, at another place.
    #[test]
    fn a_name_that_is_no_utf_8_hides_no_other_and_is_whole_itself() -> io::Result<()> {
        let proc = tempfile::tempdir()?;
        fs::create_dir_all(proc.path().join("self"))?;
        let list = b"40 22 0:50 / /lease\xc3\xa4 rw - nfs4 s:/l rw\n41 22 8:1 / /mnt/\xff\\040\xe4 rw - vfat /dev/\xfe rw\n";
        fs::write(proc.path().join("self/mountinfo"), list)?;
        let all: Vec<Mount> = mounts(&all_mounts(proc.path())?).collect();
        let [lease, stick] = &all[..] else { panic!("{all:?}") };
        assert_eq!(lease.point, Path::new("/lease\u{e4}"));
        assert_eq!(stick.point.as_os_str().as_bytes(), b"/mnt/\xff \xe4");
        assert_eq!(stick.source.as_bytes(), b"/dev/\xfe");
        let list = our_mounts(proc.path())?;
        assert_eq!(mount_of(&list, &stick.point.join("file")), Some(stick.clone()));
        assert_eq!(mount_of(&list, Path::new("/mnt/\u{fffd} \u{fffd}/file")), None);
        Ok(())
    }

    #[test]
    fn the_deepest_and_last_mount_counts_and_names_are_whole() {
        let of = |path: &str| mount_of(MOUNTS, Path::new(path)).map(|mount| mount.fs_type);
        assert_eq!(of("/mnt/lease here/file").as_deref(), Some("tmpfs"), "what was mounted over it last");
        assert_eq!(of("/mnt/le/file").as_deref(), Some("nfs4"));
        assert_eq!(of("/mnt/lease").as_deref(), Some("ext4"), "a name is not a prefix");
        let mount = mount_of(MOUNTS, Path::new("/mnt/le/x")).expect("there");
        assert_eq!(
            (mount.option("soft"), mount.option("addr"), mount.source.to_str()),
            (Some(""), None, Some("10.0.0.2:/"))
        );
        assert_eq!(mount_of("nonsense\n\n", Path::new("/")), None);
    }
}
