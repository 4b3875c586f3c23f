//! A mount of NFS that the fencer has taken off.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use leasefence_transport::{Mount, NfsMount};

use super::fstab::{Entry, host_fstab};
use super::noted::{Presence, host_list, in_the_hosts_mounts, seen_at};

/// Where what was mounted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct MountNote(pub(super) Mount);

impl MountNote {
    /// Whether it is seen at its place.
    pub(super) fn presence(&self, mountinfo: &str) -> Presence {
        match self.seen(mountinfo) {
            Some(mount) if self.is(&mount) => Presence::There,
            _ => Presence::Away,
        }
    }

    /// Mounts it as it was.
    ///
    /// # Errors
    /// What keeps it away, in words.
    pub(super) fn bring_back(&self) -> Result<(), String> {
        match self.seen(&host_list()?) {
            Some(mount) if self.is(&mount) => return Ok(()),
            Some(_) => return Err("something else is mounted there".to_owned()),
            None => {}
        }
        in_the_hosts_mounts(&self.command(&host_fstab()))?;
        match self.seen(&host_list()?) {
            Some(mount) if self.is(&mount) => Ok(()),
            Some(mount) => {
                // A bind mount takes the directory of the local disk where what it is of is not mounted.
                in_the_hosts_mounts(&[OsStr::new("umount"), self.0.point.as_os_str()])?;
                Err(format!("{} would be mounted there", mount.source.display()))
            }
            None => Err("nothing is mounted there yet".to_owned()),
        }
    }

    fn seen(&self, mountinfo: &str) -> Option<Mount> {
        seen_at(&self.0.point, mountinfo)
    }

    fn is(&self, mount: &Mount) -> bool {
        let same_type = mount.fs_type == self.0.fs_type
            || (NfsMount::of(mount).is_some() && NfsMount::of(&self.0).is_some());
        same_type && is_same_source(&mount.source, &self.0.source)
    }

    /// As /etc/fstab says where that mounts it, and else with the options that it had.
    fn command(&self, fstab: &str) -> Vec<OsString> {
        let mut words = vec![OsString::from("mount")];
        let entry = Entry::about(&self.0.point, fstab);
        let by_fstab = entry.is_some_and(|entry| {
            is_same_source(&entry.source, &self.0.source) || entry.has("bind") || entry.has("rbind")
        });
        if !by_fstab {
            let options = format!("{},{}", self.0.options, self.0.flags);
            let fs_type = self.0.fs_type.clone().into();
            words.extend(["-t".into(), fs_type, "-o".into(), options.into(), self.0.source.clone()]);
        }
        words.push(self.0.point.clone().into());
        words
    }
}

fn is_same_source(one: &OsStr, other: &OsStr) -> bool {
    without_end(one) == without_end(other)
}

fn without_end(source: &OsStr) -> &[u8] {
    let mut name = source.as_bytes();
    while let Some(before) = name.strip_suffix(b"/") {
        name = before;
    }
    name
}

#[cfg(test)]
mod tests {
    use leasefence_transport::mounts;

    use super::*;

    const NFS: &str = "40 22 0:50 / /mnt/d rw,nosuid - nfs4 s:/disks rw,vers=4.2\n";

    fn note() -> MountNote {
        MountNote(mounts(NFS).next().expect("a mount"))
    }

    /// Catches: recoveries over a directory of the local disk that is bound there, and over what systemd mounts on demand.
    #[test]
    fn it_is_there_only_when_what_is_mounted_last_is_it() {
        let autofs = "39 22 0:40 / /mnt/d rw - autofs systemd-1 rw\n";
        let bind = "41 22 254:0 /srv/d /mnt/d rw - ext4 /dev/vda rw\n";
        let again = NFS.replace("0:50", "0:61").replace("s:/disks", "s:/disks/");
        let other = NFS.replace("s:/disks", "s:/others");
        for (there, list) in [
            (true, NFS.to_owned()),
            (true, autofs.to_owned() + &again),
            (true, bind.to_owned() + NFS),
            (false, String::new()),
            (false, autofs.to_owned()),
            (false, NFS.to_owned() + bind),
            (false, other),
        ] {
            assert_eq!(note().presence(&list) == Presence::There, there, "{list}");
        }
    }

    #[test]
    fn it_is_mounted_by_fstab_only_where_that_mounts_the_same() {
        let by_hand = "mount -t nfs4 -o rw,vers=4.2,rw,nosuid s:/disks /mnt/d";
        for (fstab, command) in [
            ("s:/disks/ /mnt/d/ nfs4 defaults\n", "mount /mnt/d"),
            ("/srv/nfs/disks /mnt/d none bind\n", "mount /mnt/d"),
            ("s:/others /mnt/d nfs4 defaults\n", by_hand),
            ("", by_hand),
        ] {
            assert_eq!(note().command(fstab).join(OsStr::new(" ")), command, "{fstab}");
        }
    }

    /// Catches: another place that is mounted over, since the name of the one that is away is no UTF-8.
    #[test]
    fn each_byte_of_its_names_is_given_to_mount_again() {
        let line = r"40 22 0:50 / /mnt/\377 rw - nfs4 s:/\376/ rw,vers=4.2";
        let note = MountNote(mounts(line).next().expect("a mount"));
        for (fstab, command) in [
            ("s:/\\376 /mnt/\\377 nfs4 defaults\n", &b"mount /mnt/\xff"[..]),
            (
                "s:/\\377 /mnt/\\377 nfs4 defaults\n",
                &b"mount -t nfs4 -o rw,vers=4.2,rw s:/\xfe/ /mnt/\xff"[..],
            ),
        ] {
            let words = note.command(fstab).join(OsStr::new(" "));
            assert_eq!(words.as_bytes(), command, "{fstab}");
        }
        assert_eq!(note.presence(&line.replace("376", "375")), Presence::Away, "another export");
    }
}
