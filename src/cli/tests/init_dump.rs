//! `leasefence init` and `leasefence dump` on real files and devices: good, damaged, foreign, truncated, read-only, full.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

#[path = "support/lease_file.rs"]
mod lease_file;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use lease_file::{Loop, Mount, Ran, host, init, run, write_at};
use leasefence_core::format::{HostState, RecordCopy};
use leasefence_core::ids::Slot;

/// A lease file of a test cluster of four hosts in a directory of its own.
fn cluster() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("prod.lease");
    init(&path, &["--test", "--max-hosts", "4", "--pages", "2"]).succeeds();
    (directory, path)
}

fn dump(path: &Path) -> Ran {
    run(&["dump", path.to_str().unwrap()])
}

#[test]
fn a_new_file_is_private_whole_and_well() {
    let (_directory, path) = cluster();
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(metadata.len(), 1 << 20);
    dump(&path).succeeds().says("all is well").says("cluster 'prod'");
}

#[test]
fn init_says_in_words_what_a_weaker_proof_means() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("l");
    let ran = init(&path, &["--test", "--accept", "soft,virtual,none"]).succeeds();
    ran.says("its domains may still")
        .says("Never pause")
        .says("its domains run twice")
        .says("a test cluster");
}

#[test]
fn init_refuses_bad_parameters_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("l");
    let rows: [(&[&str], &str); 7] = [
        (&["--max-hosts", "0"], "1 to 256 hosts"),
        (&["--max-hosts", "257"], "1 to 256 hosts"),
        (&["--pages", "17"], "1 to 16 lease pages"),
        (&["--sector-size", "512"], "block devices"),
        (&["--sector-size", "1000"], "512 or 4096"),
        (&["--min-write-drain", "0s"], "too short"),
        (&["--longest-verdict-after", "1s"], "longest verdict_after"),
    ];
    for (options, complaint) in rows {
        init(&path, &[&["--test"], options].concat()).fails_with(complaint);
        assert!(!path.exists(), "{options:?}");
    }
    run(&["init", path.to_str().unwrap(), "--test", "--cluster", ""]).fails_with("cluster's name is empty");
    assert!(!path.exists());
}

#[test]
fn init_refuses_a_directory_that_is_missing_and_one_where_nothing_is_mounted() {
    let directory = tempfile::tempdir().unwrap();
    init(&directory.path().join("gone/l"), &["--test"]).fails_with("mount the shared storage there first");
    init(directory.path(), &["--test"]).fails_with("is a directory");
    init(Path::new("/dev/null"), &[]).fails_with("character device");
    // Temporary directories are on local file systems, as is an empty directory that waits for a mount.
    init(&directory.path().join("l"), &[]).fails_with("Mount the shared storage at");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn init_takes_an_empty_file_and_one_of_zeroes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("l");
    for len in [0, 5000, 12 << 20] {
        std::fs::write(&path, vec![0; len]).unwrap();
        init(&path, &["--test", "--max-hosts", "4", "--pages", "2"]).succeeds();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1 << 20);
        dump(&path).succeeds().says("all is well");
    }
}

#[test]
fn init_refuses_what_is_not_empty_even_with_force() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("l");
    let mut bytes = vec![0; 3 << 20];
    bytes[(2 << 20) + 77] = b'!';
    std::fs::write(&path, &bytes).unwrap();
    for force in [&["--test"][..], &["--test", "--force"]] {
        init(&path, force).fails_with("byte 2097229 begins");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing was written");
    }
}

#[test]
fn init_refuses_a_lease_file_and_with_force_that_of_another_cluster() {
    let (_directory, path) = cluster();
    let before = std::fs::read(&path).unwrap();
    init(&path, &["--test"]).fails_with("--force replaces it if nothing in it moves");
    let other = run(&["init", path.to_str().unwrap(), "--test", "--force", "--cluster", "other"]);
    other.fails_with("another cluster, 'prod'");
    assert_eq!(std::fs::read(&path).unwrap(), before, "nothing was written");
}

#[test]
fn force_knows_another_cluster_by_its_last_header_when_the_first_is_damaged() {
    let (_directory, path) = cluster();
    write_at(&path, 10, b"damage");
    let other = run(&["init", path.to_str().unwrap(), "--test", "--force", "--cluster", "other"]);
    other.fails_with("another cluster, 'prod'");
}

#[test]
fn force_replaces_a_quiet_lease_file_only_after_its_longest_verdict_after() {
    let (_directory, path) = cluster();
    host(&path, Slot(1), 7, HostState::Held).write();
    let began = leasefence_clock::instant();
    init(&path, &["--test", "--force", "--max-hosts", "4", "--pages", "2"]).succeeds();
    let took = leasefence_clock::instant().since_by_slower(began);
    assert!(took >= lease_file::VERDICT_AFTER, "watched for {took:?} only");
    dump(&path).succeeds().says("2 sectors whole");
}

#[test]
fn force_refuses_while_a_record_moves_and_names_the_host() {
    let (_directory, path) = cluster();
    let mut record = host(&path, Slot(1), 7, HostState::Held);
    record.write();
    let moving = std::thread::spawn(move || {
        for _ in 0..40 {
            std::thread::sleep(std::time::Duration::from_millis(200));
            record.renew();
        }
    });
    init(&path, &["--test", "--force"]).fails_with("slot 1 moves (host-1): the cluster is alive");
    dump(&path).says("host-1");
    moving.join().unwrap();
}

#[test]
fn force_refuses_while_a_host_is_in_maintenance() {
    let (_directory, path) = cluster();
    host(&path, Slot(2), 1, HostState::Disarmed).write();
    init(&path, &["--test", "--force"]).fails_with("host-2 is in maintenance");
}

#[test]
fn a_full_file_system_leaves_nothing_behind() {
    let Some(mount) = Mount::small(4 << 20) else { return };
    let path = mount.path().join("l");
    init(&path, &["--test"]).fails_with("nothing was left behind").fails_with("the storage is full");
    assert_eq!(std::fs::read_dir(mount.path()).unwrap().count(), 0);
    init(&path, &["--test", "--max-hosts", "4", "--pages", "2"]).succeeds();
}

#[test]
fn a_file_size_limit_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("l");
    // SIGXFSZ ignored, as by a daemon's parent: the write fails with EFBIG instead of killing the command.
    let command = format!(
        "trap '' XFSZ; ulimit -f 2048; exec {} init {} --cluster prod --test",
        env!("CARGO_BIN_EXE_leasefence"),
        path.display()
    );
    lease_file::ran(Command::new("bash").args(["-c", &command])).fails_with("nothing was left behind");
    assert!(!path.exists());
}

#[test]
fn a_read_only_file_system_is_said_and_not_touched() {
    let Some(mount) = Mount::small(4 << 20) else { return };
    let path = mount.path().join("l");
    init(&path, &["--test", "--max-hosts", "4", "--pages", "2"]).succeeds();
    mount.make_read_only();
    init(&path, &["--test", "--force"]).fails_with("read-only");
    init(&mount.path().join("new"), &["--test"]).fails_with("read-only");
    dump(&path).succeeds();
}

#[test]
fn a_block_device_is_written_with_its_own_sector_size_and_refused_when_too_small() {
    let Some(device) = Loop::of(12 << 20) else { return };
    init(device.path(), &["--sector-size", "4096"]).fails_with("logical sectors of 512");
    init(device.path(), &["--max-hosts", "256"]).fails_with("take a larger device");
    init(device.path(), &["--max-hosts", "16"]).succeeds();
    dump(device.path()).succeeds().says("units of 512").says("all is well");
    init(device.path(), &["--max-hosts", "16"]).fails_with("is not empty");
}

#[test]
fn a_mounted_block_device_is_refused() {
    let Some(device) = Loop::of(12 << 20) else { return };
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(device.path()).status();
    if !made.is_ok_and(|status| status.success()) {
        return println!("skipped: no mkfs.ext4");
    }
    init(device.path(), &["--force"]).fails_with("not Leasefence's");
    let Some(mount) = Mount::of(device.path()) else { return };
    init(device.path(), &["--force"]).fails_with("mounted or otherwise in use");
    drop(mount);
}

#[test]
fn dump_names_each_damaged_sector_and_exits_with_1() {
    let (_directory, path) = cluster();
    let record = host(&path, Slot(1), 7, HostState::Held);
    record.write();
    let (a, claim) = (record.offset(RecordCopy::A), record.claim_offset());
    write_at(&path, a + 100, b"x");
    write_at(&path, claim + 1000, b"x");
    write_at(&path, 900_000, b"x");
    let ran = dump(&path);
    ran.fails_with("");
    ran.says("host record, slot 1 A").says("its CRC says").says("byte 1000 after the record is not zero");
    ran.says("where nothing belongs").says("something is WRONG");
    ran.says("host record, slot 1 B").says("'host-1' 1.7 held");
}

#[test]
fn dump_reads_a_file_by_its_last_header_and_without_any() {
    let (_directory, path) = cluster();
    host(&path, Slot(1), 7, HostState::Held).write();
    write_at(&path, 0, &[0xff; 4096]);
    dump(&path)
        .fails_with("")
        .says("header, first")
        .says("not a Leasefence sector")
        .says("host record, slot 1 A");
    write_at(&path, (1 << 20) - 4096, &[0; 4096]);
    dump(&path).fails_with("").says("NO HEADER").says("'host-1' 1.7 held");
    let told = run(&["dump", path.to_str().unwrap(), "--max-hosts", "4", "--pages", "2"]);
    told.fails_with("").says("host record, slot 1 A");
}

#[test]
fn dump_reads_a_truncated_file_as_far_as_it_goes() {
    let (_directory, path) = cluster();
    for len in [500_000, 30_000, 5000, 4096, 17, 0] {
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap();
        let ran = dump(&path);
        ran.fails_with("").says(if len < 4096 { "NO HEADER" } else { "TRUNCATED" });
    }
}

#[test]
fn dump_reads_what_is_no_lease_file_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("noise");
    let mut noise = 1_u32;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.to_le_bytes()[3]
    })
    .take(300_000)
    .collect();
    std::fs::write(&path, &bytes).unwrap();
    dump(&path).fails_with("").says("NO HEADER").says("300032 bytes that are not all zero");
    dump(&directory.path().join("gone")).fails_with("is the storage mounted?");
    dump(directory.path()).fails_with("is a directory");
}

#[test]
fn dump_as_json_says_the_same_to_programs() {
    let (_directory, path) = cluster();
    host(&path, Slot(1), 7, HostState::Held).write();
    let json = |ran: &Ran| serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap();
    let well = run(&["dump", "--json", path.to_str().unwrap()]).succeeds();
    let value = json(&well);
    assert_eq!(value["summary"]["well"], true);
    assert_eq!(value["summary"]["header"]["cluster"], "prod");
    let record =
        value["sectors"].as_array().unwrap().iter().find(|it| it["record"]["kind"] == "host record").unwrap();
    assert_eq!(record["record"]["name"], "host-1");
    assert_eq!(record["place"]["copy"], "A");
    write_at(&path, 64, b"damage");
    let bad = run(&["dump", "--json", path.to_str().unwrap()]);
    bad.fails_with("");
    let value = json(&bad);
    assert_eq!(value["sectors"][0]["well"], false);
    assert!(value["sectors"][0]["damage"].as_str().unwrap().starts_with("damaged"));
}

#[test]
fn a_dump_into_a_closed_pipe_is_no_crash() {
    let (_directory, path) = cluster();
    let command =
        format!("set -o pipefail; {} dump {} | true", env!("CARGO_BIN_EXE_leasefence"), path.display());
    lease_file::ran(Command::new("bash").args(["-c", &command])).succeeds();
}
