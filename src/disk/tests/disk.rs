//! The storage thread on real files and devices.

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{Bench, Dir, Loop, Mount, tool};
use leasefence_core::storage::{IoError, IoOp};
use leasefence_disk::{Disk, DiskOptions, OpenError};

const MIB: u64 = 1 << 20;

fn open_error(path: &Path) -> OpenError {
    Bench::open(path).err().expect("must be refused")
}

fn words(error: &IoError) -> String {
    error.to_string()
}

#[test]
fn what_was_written_is_read_through_a_freshly_opened_path() {
    let dir = Dir::new("fresh");
    let path = dir.file("lease", MIB);
    let (mut writer, mut reader) = (Bench::open(&path).unwrap(), Bench::open(&path).unwrap());
    assert_eq!((writer.medium.size, writer.medium.block_device), (MIB, false));
    for (turn, byte) in (1..=20u8).enumerate() {
        let offset = u64::try_from(turn).unwrap() * 4096;
        writer.write(offset, vec![byte; 4096]).unwrap();
        assert_eq!(reader.read(offset, 4096).unwrap(), vec![byte; 4096]);
    }
    let all = reader.read(0, usize::try_from(MIB).unwrap()).unwrap();
    assert_eq!((all.len(), all[0], all[19 * 4096 + 7]), (1 << 20, 1, 20), "longer than the first buffer");
}

#[test]
fn each_request_is_stamped_right_before_and_right_after_the_call() {
    let dir = Dir::new("stamps");
    let mut bench = Bench::open(&dir.file("lease", MIB)).unwrap();
    let before = leasefence_clock::now();
    let write = bench.run(IoOp::Write { offset: 0, data: vec![1; 4096] });
    let read = bench.run(IoOp::Read { offset: 0, len: 4096 });
    let stamps = [before, write.issued, write.ended, read.issued, read.ended, leasefence_clock::now()];
    assert!(
        stamps.is_sorted_by_key(|now| now.instant.boot_ns)
            && stamps.is_sorted_by_key(|now| now.instant.raw_ns)
    );
    assert!(write.ended.instant.since_by_faster(write.issued.instant) > Duration::ZERO);
}

#[test]
fn a_replaced_file_is_told_by_the_next_read_and_writes_still_go_to_the_held_one() {
    let dir = Dir::new("replaced");
    let path = dir.file("lease", MIB);
    let mut bench = Bench::open(&path).unwrap();
    bench.write(0, vec![7; 4096]).unwrap();
    fs::rename(dir.file("other", MIB), &path).unwrap();
    let error = bench.read(0, 4096).unwrap_err();
    assert!(matches!(error, IoError::Replaced(_)) && words(&error).contains("lease"), "{error}");
    bench.write(4096, vec![8; 4096]).unwrap();
    assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 0), "the new file is not touched");
}

#[test]
fn a_deleted_file_or_another_kind_in_its_place_is_a_replaced_one() {
    let dir = Dir::new("deleted");
    let path = dir.file("lease", MIB);
    let mut bench = Bench::open(&path).unwrap();
    let kept = dir.0.join("kept");
    fs::rename(&path, &kept).unwrap();
    let read = |bench: &mut Bench| bench.read(0, 4096).unwrap_err();
    assert!(matches!(read(&mut bench), IoError::Replaced(why) if why.contains("no such file")));
    fs::copy(&kept, &path).unwrap();
    assert!(
        matches!(read(&mut bench), IoError::Replaced(_)),
        "a copy, while the held file lives on elsewhere"
    );
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(read(&mut bench), IoError::Replaced(_)), "a directory");
    fs::remove_dir(&path).unwrap();
    tool("mkfifo", &[path.to_str().unwrap()]).unwrap();
    assert!(matches!(read(&mut bench), IoError::Replaced(_)), "a pipe, which must not hold the thread");
    fs::remove_file(&path).unwrap();
    symlink(&kept, &path).unwrap();
    assert_eq!(bench.read(0, 4096), Ok(vec![0; 4096]), "the same file by another way is the same file");
}

#[test]
fn a_truncated_file_is_an_error_with_path_and_offset_and_a_grown_one_is_not() {
    let dir = Dir::new("truncated");
    let path = dir.file("lease", MIB);
    let mut bench = Bench::open(&path).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(8192 + 512).unwrap();
    assert!(bench.read(4096, 4096).is_ok());
    for offset in [8192, 65536] {
        let error = words(&bench.read(offset, 4096).unwrap_err());
        let named = error.contains(&format!("offset {offset}")) && error.contains("lease");
        assert!(named && error.contains("of 4096 bytes"), "{error}");
    }
    bench.write(65536, vec![1; 4096]).unwrap();
    assert!(bench.read(65536, 4096).is_ok());
}

#[test]
fn what_is_not_whole_sectors_is_refused_before_any_call() {
    let dir = Dir::new("aligned");
    let path = dir.file("lease", MIB);
    let mut bench = Bench::open(&path).unwrap();
    for (offset, len) in [(1, 512), (0, 511), (0, 0), (u64::MAX - 511, 512)] {
        assert!(words(&bench.read(offset, len).unwrap_err()).contains("whole sectors"), "{offset} {len}");
        assert!(bench.write(offset, vec![1; len]).is_err());
    }
    assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn each_thing_that_cannot_be_a_lease_file_is_refused_with_what_to_do() {
    let dir = Dir::new("refused");
    let missing = open_error(&dir.0.join("missing")).to_string();
    assert!(missing.contains("is the storage mounted?") && missing.contains("leasefence init"), "{missing}");
    let below_a_file = dir.file("plain", 0).join("lease");
    assert!(matches!(open_error(&below_a_file), OpenError::NotFound(_)));
    assert!(matches!(open_error(&dir.0), OpenError::Directory(_)));
    let pipe = dir.0.join("pipe");
    tool("mkfifo", &[pipe.to_str().unwrap()]).unwrap();
    assert!(matches!(open_error(&pipe), OpenError::Kind(_, "pipe or socket")), "{}", open_error(&pipe));
    let device = open_error(Path::new("/dev/full"));
    assert!(matches!(device, OpenError::Kind(_, "character device")), "{device}");
}

#[test]
fn a_file_that_may_not_be_written_is_refused_for_the_right_reason() {
    let dir = Dir::new("permission");
    let path = dir.file("lease", MIB);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    if nix::unistd::geteuid().is_root() {
        println!("SKIPPED: root may write every file");
    } else {
        assert!(matches!(open_error(&path), OpenError::Permission(..)));
    }
    let image = dir.file("image", 16 * MIB);
    if tool("mkfs.ext4", &["-q", image.to_str().unwrap()]).is_none() {
        return println!("SKIPPED: no mkfs.ext4 here");
    }
    let point = dir.0.join("ro");
    let Some(mount) = Mount::new(&["-o", "loop,ro", image.to_str().unwrap()], &point) else { return };
    assert!(matches!(open_error(&mount.0.join("lost+found")), OpenError::Directory(_)));
    drop(mount);
    let Some(mount) = Mount::new(&["-o", "loop", image.to_str().unwrap()], &point) else { return };
    fs::write(mount.0.join("lease"), vec![0; 8192]).unwrap();
    tool("mount", &["-o", "remount,ro", point.to_str().unwrap()]).unwrap();
    let error = open_error(&mount.0.join("lease"));
    assert!(matches!(error, OpenError::ReadOnly(_)) && error.to_string().contains("for writing"), "{error}");
    let options = DiskOptions { read_only: true, lock: None };
    let mut reader = Bench::open_with(&mount.0.join("lease"), options).unwrap();
    assert!(reader.read(0, 4096).is_ok());
    assert!(reader.write(0, vec![1; 4096]).is_err(), "opened for reading alone");
}

#[test]
fn a_file_system_in_memory_is_refused_whatever_its_kernel_says_of_direct_io() {
    let dir = Dir::new("tmpfs");
    let Some(mount) = Mount::new(&["-t", "tmpfs", "none"], &dir.0.join("memory")) else { return };
    let path = mount.0.join("lease");
    fs::write(&path, vec![0; 8192]).unwrap();
    let error = open_error(&path).to_string();
    assert!(error.contains("without direct I/O") && error.contains("tmpfs"), "{error}");
}

#[test]
fn a_full_file_system_is_an_error_of_the_write_and_reads_go_on() {
    let dir = Dir::new("full");
    let image = dir.file("image", 4 * MIB);
    if tool("mkfs.ext4", &["-q", "-O", "^has_journal", "-m", "0", image.to_str().unwrap()]).is_none() {
        return println!("SKIPPED: no mkfs.ext4 here");
    }
    let Some(mount) = Mount::new(&["-o", "loop", image.to_str().unwrap()], &dir.0.join("small")) else {
        return;
    };
    let path = mount.0.join("lease");
    fs::File::create(&path).unwrap().set_len(MIB).unwrap();
    let mut bench = Bench::open(&path).unwrap();
    let filler = fs::File::create(mount.0.join("filler")).unwrap();
    let mut at = 0;
    while filler.write_at(&[1; 4096], at).is_ok_and(|written| written == 4096) {
        at += 4096;
    }
    let error = words(&bench.write(8192, vec![1; 4096]).unwrap_err());
    assert!(error.contains("No space left on device") && error.contains("offset 8192"), "{error}");
    assert_eq!(bench.read(8192, 4096), Ok(vec![0; 4096]));
}

#[test]
fn a_block_device_tells_its_size_and_sector_and_takes_both_sector_sizes() {
    for sector in [512u32, 4096] {
        let dir = Dir::new(&format!("loop{sector}"));
        let backing = dir.file("backing", 2 * MIB);
        let Some(device) = Loop::attach(&backing, sector) else { return };
        let mut bench = Bench::open(&device.0).unwrap();
        let medium = bench.medium;
        assert_eq!((medium.size, medium.block_device, medium.sector_size), (2 * MIB, true, sector));
        let unit = usize::try_from(sector).unwrap();
        bench.write(u64::from(sector), vec![9; unit]).unwrap();
        assert_eq!(bench.read(u64::from(sector), unit), Ok(vec![9; unit]));
        assert_eq!(bench.read(512, 512).is_ok(), sector == 512, "half a sector of a 4096-byte device");
        assert!(bench.read(2 * MIB, unit).is_err(), "beyond the end");
        let link = dir.0.join("by-id");
        symlink(&device.0, &link).unwrap();
        assert!(Bench::open(&link).unwrap().read(0, unit).is_ok());
    }
}

#[test]
fn the_thread_is_named_and_dropping_the_handle_ends_it_without_waiting() {
    let dir = Dir::new("thread");
    let bench = Bench::open(&dir.file("lease", MIB)).unwrap();
    assert!(threads().contains(&"storage".to_owned()));
    drop(bench);
}

#[expect(clippy::unwrap_used, reason = "this process has threads")]
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .map(|n| n.trim().into())
        .collect()
}

#[test]
fn a_completion_that_never_returns_holds_up_nobody_who_drops_the_handle() {
    let dir = Dir::new("stuck");
    let path = dir.file("lease", MIB);
    let (started, release) = (std::sync::mpsc::channel(), Arc::new(std::sync::Barrier::new(2)));
    let hold = Arc::clone(&release);
    let (disk, _) = Disk::open(&path, DiskOptions::default(), move |_| {
        let _told = started.0.send(());
        hold.wait();
    })
    .unwrap();
    let request = |id| leasefence_core::storage::IoRequest {
        id: leasefence_core::storage::IoId(id),
        op: IoOp::Read { offset: 0, len: 4096 },
    };
    assert!(disk.submit(request(1)) && disk.submit(request(2)), "submitting never blocks");
    started.1.recv_timeout(Duration::from_secs(10)).unwrap();
    drop(disk); // would hang here, if it joined
    release.wait();
}

/// A limit that has passed before the thread could answer stands for storage that hangs.
#[test]
fn an_open_without_an_answer_within_the_limit_is_an_error_that_says_so() {
    let dir = Dir::new("limit");
    let path = dir.file("lease", MIB);
    match Disk::open_within(&path, DiskOptions::default(), Duration::ZERO, |_| {}) {
        Err(error @ OpenError::Stuck(..)) => {
            assert!(error.to_string().contains("the storage hangs"), "{error}");
        }
        other => assert!(other.is_ok(), "the thread was quicker than the limit"),
    }
}
