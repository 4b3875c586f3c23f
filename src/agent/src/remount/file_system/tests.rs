use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use leasefence_transport::IscsiPath;

use super::*;
use crate::remount::own_mounts::{tool, with_mounts_of_its_own};

/// The LUN with two partitions, the second of which has the file system.
const LUN: &str = "sys/devices/platform/host2/session7/target2:0:0/2:0:0:1";
const WWID: &str = "t10.LIO-ORG disks:  lab-disks\n";

/// Sysfs of a kernel.
struct Kernel(tempfile::TempDir);

impl Kernel {
    fn new() -> io::Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn place(&self, place: &str) -> PathBuf {
        fs::canonicalize(self.root()).unwrap_or_default().join(place)
    }

    /// A SCSI device that says what it is.
    fn lun(&self, scsi: &str, wwid: &str) -> io::Result<()> {
        fs::create_dir_all(self.place(scsi))?;
        fs::write(self.place(scsi).join("wwid"), wwid)
    }

    /// A block device of it, or any other; with a number, a partition.
    fn device(&self, number: &str, place: &str, partition: Option<u32>) -> io::Result<()> {
        fs::create_dir_all(self.place(place))?;
        if let Some(partition) = partition {
            fs::write(self.place(place).join("partition"), format!("{partition}\n"))?;
        }
        fs::create_dir_all(self.root().join("sys/dev/block"))?;
        symlink(self.place(place), self.root().join("sys/dev/block").join(number))
    }

    /// What the kernel does when a disk is deleted, whatever is mounted of it.
    fn deleted(&self, numbers: &[&str]) -> io::Result<()> {
        numbers.iter().try_for_each(|number| fs::remove_file(self.root().join("sys/dev/block").join(number)))
    }

    fn with_lun() -> io::Result<Self> {
        let kernel = Self::new()?;
        kernel.lun(LUN, WWID)?;
        kernel.device("8:16", &format!("{LUN}/block/sdb"), None)?;
        kernel.device("8:18", &format!("{LUN}/block/sdb/sdb2"), Some(2))?;
        Ok(kernel)
    }

    fn notes(&self, mountinfo: &str) -> Vec<FileSystemNote> {
        let path = IscsiPath { place: self.place(LUN), target: String::new(), portals: Vec::new() };
        FileSystemNote::on(self.root(), &[path], mountinfo)
    }

    fn note(&self) -> FileSystemNote {
        self.notes(&list("8:18", "rw")).remove(0)
    }
}

/// The mounts of a host.
fn list(device: &str, options: &str) -> String {
    format!(
        "22 1 254:0 / / rw - ext4 /dev/vda rw\n40 22 {device} / /mnt/d\\040x rw - ext4 /dev/sdb2 {options}\n"
    )
}

#[test]
fn what_is_mounted_of_the_disk_and_its_partitions_is_noted_and_read_back() -> io::Result<()> {
    let kernel = Kernel::with_lun()?;
    kernel.device("253:0", "sys/devices/virtual/block/dm-0", None)?;
    let other = "sys/devices/platform/host2/session7/target2:0:0/2:0:0:2";
    kernel.lun(other, "naa.6001405\n")?;
    kernel.device("8:48", &format!("{other}/block/sdd"), None)?;
    let more = "44 22 8:48 / /mnt/other rw - ext4 /dev/sdd rw\n41 22 8:16 / /mnt/whole rw - xfs /dev/sdb rw\n\
                42 22 253:0 / /mnt/volume rw - ext4 /dev/mapper/v rw\n43 22 0:50 / /mnt/n rw - nfs4 s:/ rw\n";
    let notes = kernel.notes(&(list("8:18", "rw") + more));
    let points: Vec<_> = notes.iter().map(|note| note.mount.point.as_path()).collect();
    assert_eq!(points, [Path::new("/mnt/d x"), Path::new("/mnt/whole")], "neither a volume's nor another's");
    for note in notes {
        assert_eq!(FileSystemNote::read(&note.to_string()), Some(note));
    }
    assert_eq!(kernel.note().part, Part { number: 2, disk: "t10.LIO-ORG_disks:_lab-disks".to_owned() });
    assert_eq!(FileSystemNote::read("2 disk"), None);
    Ok(())
}

/// Catches: recoveries that go on over a mount of a disk that was deleted, which fails whatever is asked of it; and over another's.
#[test]
fn it_is_there_only_when_what_is_mounted_last_lies_on_its_own_disk_that_is_there() -> io::Result<()> {
    let kernel = Kernel::with_lun()?;
    let note = kernel.note();
    let standing = |list: &str| note.standing(kernel.root(), list);
    assert_eq!(standing(&list("8:18", "rw")), Standing::Works);
    kernel.deleted(&["8:16", "8:18"])?;
    assert_eq!(standing(&list("8:18", "rw")), Standing::Dead);
    assert_eq!(standing("22 1 254:0 / / rw - ext4 /dev/vda rw\n"), Standing::Away);
    let on_demand = "41 40 0:60 / /mnt/d\\040x rw - autofs systemd-1 rw\n";
    assert_eq!(standing(on_demand), Standing::Away);
    // It comes back by a new session, with another number; meanwhile another disk has its old address.
    let again = "sys/devices/platform/host3/session8/target3:0:0/3:0:0:1";
    kernel.lun(again, WWID)?;
    kernel.device("8:32", &format!("{again}/block/sdc"), None)?;
    kernel.device("8:34", &format!("{again}/block/sdc/sdc2"), Some(2))?;
    kernel.lun(LUN, "naa.6001405\n")?;
    kernel.device("8:18", &format!("{LUN}/block/sdb/sdb2"), Some(2))?;
    assert_eq!(standing(&(list("8:66", "rw") + &list("8:34", "rw"))), Standing::Works);
    assert_eq!(standing(&(list("8:34", "rw") + &list("8:66", "rw"))), Standing::Dead);
    assert_eq!(standing(&list("8:34", "ro,errors=remount-ro")), Standing::ReadOnly);
    assert_eq!(standing(&list("8:32", "rw")), Standing::Hindered("another disk is mounted there"));
    assert_eq!(standing(&list("8:18", "rw")), Standing::Hindered("another disk is mounted there"));
    for other in ["0:50", "8:99"] {
        let there = standing(&list(other, "rw"));
        assert_ne!(there, Standing::Works, "{other}");
        assert_eq!(there == Standing::Dead, other == "8:99", "{other}");
    }
    Ok(())
}

/// Catches: a disk that is noted by its address since the kernel is just deleting it: nothing would ever be that disk again.
#[test]
fn a_disk_that_is_being_deleted_is_gone() -> io::Result<()> {
    let kernel = Kernel::with_lun()?;
    let note = kernel.note();
    fs::remove_file(kernel.place(LUN).join("wwid"))?;
    assert_eq!(kernel.notes(&list("8:18", "rw")), []);
    assert_eq!(note.standing(kernel.root(), &list("8:18", "rw")), Standing::Dead);
    Ok(())
}

/// Catches: a lease's mount, or another's, that is taken off with the dead one beneath it.
#[test]
fn what_works_within_a_dead_mount_keeps_it_there() -> io::Result<()> {
    let kernel = Kernel::with_lun()?;
    let note = kernel.note();
    kernel.deleted(&["8:16", "8:18"])?;
    let within = |line: &str| {
        let list = list("8:18", "rw") + line;
        note.alive_within(kernel.root(), &list).map(|mount| mount.point)
    };
    let lease = "50 40 0:51 / /mnt/d\\040x/lease rw - nfs4 s:/lease rw\n";
    assert_eq!(within(lease), Some(PathBuf::from("/mnt/d x/lease")));
    assert_eq!(within("50 40 8:18 /a /mnt/d\\040x/bound rw - ext4 /dev/sdb2 rw\n"), None, "it is dead, too");
    assert_eq!(within("50 22 0:51 / /mnt/d\\040xy rw - nfs4 s:/lease rw\n"), None, "beside it");
    Ok(())
}

/// Catches: a file system that another host was given while this one was fenced, and that both have mounted then.
#[test]
fn only_what_is_mounted_at_each_start_is_mounted_by_us() -> io::Result<()> {
    let kernel = Kernel::with_lun()?;
    let line = "40 22 8:18 / /mnt/disks rw - ext4 /dev/sdb2 rw\n";
    let note = kernel.notes(line).remove(0);
    let refused = |fstab: &str| note.mounted_at_start(fstab).err().unwrap_or_default();
    assert_eq!(refused("# disks\nUUID=1-2  /mnt/disks  ext4 _netdev,nofail 0 2\n"), "");
    assert_eq!(refused("/dev/disk/by-path/ip-x-lun-1-part2 /mnt/disks/ ext4\n"), "");
    for fstab in ["", "# UUID=1-2 /mnt/disks ext4 defaults 0 0\n", "UUID=1-2 /mnt ext4 defaults 0 0\n"] {
        assert!(refused(fstab).contains("does not name it"), "{fstab}");
    }
    assert!(refused("UUID=1-2 /mnt/disks ext4 _netdev,noauto 0 0\n").contains("noauto"));
    assert!(refused("/dev/sdb2 /mnt/disks ext4 defaults 0 0\n").contains("/dev/sdb2"));
    Ok(())
}

/// A loop device, until this is dropped, or until nothing has it mounted any more.
struct Loop(String);

impl Loop {
    fn over(image: &Path) -> io::Result<Self> {
        let device = tool("losetup", &["--find", "--show", &image.to_string_lossy()])?;
        Ok(Self(device.trim().to_owned()))
    }

    fn number(&self) -> io::Result<String> {
        let device = fs::metadata(&self.0)?.rdev();
        Ok(format!("{}:{}", major(device), nix::sys::stat::minor(device)))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        tool("losetup", &["--detach", &self.0]).ok();
    }
}

fn is_there(note: &FileSystemNote) -> bool {
    note.presence(&host_list().unwrap_or_default()) == Presence::There
}

/// Two loop devices over one image are the disk before and after, and sysfs says what it would of a disk. Catches: an unmount that is
/// refused as busy, and a mount of the dead disk that stays; another disk that is mounted in its place; and a directory of it that is
/// bound elsewhere, and never comes back since its line names no disk.
#[test]
fn a_busy_dead_mount_is_taken_off_and_what_lies_on_the_disk_mounted_anew() -> io::Result<()> {
    let name =
        "remount::file_system::tests::a_busy_dead_mount_is_taken_off_and_what_lies_on_the_disk_mounted_anew";
    with_mounts_of_its_own(name, a_disk_is_deleted_and_comes_back)
}

fn a_disk_is_deleted_and_comes_back() -> io::Result<()> {
    let kernel = Kernel::new()?;
    let (image, point, fstab) = (kernel.place("image"), kernel.place("point"), kernel.place("fstab"));
    let bound_at = kernel.place("bound");
    File::create(&image)?.set_len(16 << 20)?;
    tool("mkfs.ext4", &["-q", "-F", &image.to_string_lossy()])?;
    fs::create_dir(&point)?;
    fs::create_dir(&bound_at)?;
    fs::write(&fstab, "")?;
    tool("mount", &["--bind", &fstab.to_string_lossy(), FSTAB])?;
    let (before, after) = (Loop::over(&image)?, Loop::over(&image)?);
    tool("mount", &["-t", "tmpfs", "none", "/sys/dev/block"])?;
    let shows = |device: &Loop, scsi: &str| {
        kernel.lun(scsi, WWID)?;
        let place = kernel.place(scsi).join("block/sdx");
        fs::create_dir_all(&place)?;
        symlink(place, Path::new("/sys/dev/block").join(device.number()?))
    };
    shows(&before, LUN)?;
    tool("mount", &[&before.0, &point.to_string_lossy()])?;
    fs::write(point.join("kept"), "kept")?;
    tool("mount", &["--bind", &point.to_string_lossy(), &bound_at.to_string_lossy()])?;
    let path = IscsiPath { place: kernel.place(LUN), target: String::new(), portals: Vec::new() };
    let list = host_list().map_err(io::Error::other)?;
    let [note, bound] = &FileSystemNote::on(Path::new(ROOT), &[path], &list)[..] else {
        return Err(io::Error::other("it is not noted"));
    };
    assert!(is_there(note) && is_there(bound));
    let held = File::open(point.join("kept"))?;
    held.sync_all()?;
    assert!(tool("umount", &[&point.to_string_lossy()]).is_err(), "it is busy");

    fs::remove_file(Path::new("/sys/dev/block").join(before.number()?))?;
    assert!(!is_there(note));
    let refused = note.bring_back().expect_err("nothing says that it may be mounted");
    assert!(refused.contains("does not name it"), "{refused}");
    assert!(!host_list().is_ok_and(|list| list.contains("/point ")), "a mount of a disk that is gone");
    assert!(!is_there(note));

    fs::write(&fstab, format!("/dev/none {} ext4 nofail 0 0\n", point.display()))?;
    let failed = note.bring_back().expect_err("the disk is not back");
    assert_eq!(failed, "there is no disk of it");
    let lines = |disk: &str| {
        let (point, bound) = (point.display(), bound_at.display());
        format!("{disk} {point} ext4 nofail 0 0\n{point} {bound} none bind,nofail 0 0\n")
    };
    fs::write(&fstab, lines(&after.0))?;
    let too_soon = bound.bring_back().expect_err("it would show an empty directory");
    assert!(too_soon.contains("no disk is mounted there yet"), "{too_soon}");
    // Before it is back, another has the path that fstab knows.
    kernel.lun("sys/devices/platform/host3/session8/target3:0:0/3:0:0:2", "naa.6001405\n")?;
    let number = Path::new("/sys/dev/block").join(after.number()?);
    let other = kernel.place("sys/devices/platform/host3/session8/target3:0:0/3:0:0:2/block/sdx");
    fs::create_dir_all(&other)?;
    symlink(other, &number)?;
    let failed = note.bring_back().expect_err("another disk is there");
    assert!(failed.contains("which is another disk"), "{failed}");
    assert!(!host_list().is_ok_and(|list| list.contains("/point ")), "it was not even mounted");
    fs::remove_file(number)?;
    shows(&after, "sys/devices/platform/host3/session8/target3:0:0/3:0:0:1")?;
    assert_eq!(note.bring_back(), Ok(()));
    assert!(is_there(note));
    assert_eq!(bound.bring_back(), Ok(()));
    assert!(is_there(bound));
    assert_eq!(fs::read_to_string(bound_at.join("kept"))?, "kept");
    fs::write(point.join("after"), "after")?;
    tool("umount", &[&bound_at.to_string_lossy()])?;
    tool("umount", &[&point.to_string_lossy()])?;
    assert!(!is_there(note));
    Ok(())
}
