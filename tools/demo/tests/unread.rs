//! Whoever reads may go at any time, as in `leasefence-demo check-disk DISK | head -1`: what it ends with still says what was seen.

#[path = "../../../src/say/tests/support/unread.rs"]
mod unread;

#[test]
fn the_judge_of_a_disk_ends_quietly_when_nobody_reads() {
    let directory = tempfile::tempdir().expect("a directory is made");
    let disk = directory.path().join("disk.img");
    leasefence_demo::guest::create_disk(&disk).expect("a disk is made");
    let path = disk.to_str().expect("its path is text");
    let judged = unread::run_unread(env!("CARGO_BIN_EXE_leasefence-demo"), &["check-disk", path]);
    let read =
        std::process::Command::new(env!("CARGO_BIN_EXE_leasefence-demo")).args(["check-disk", path]).output();
    assert_eq!(judged.status, read.expect("it runs").status);
}
