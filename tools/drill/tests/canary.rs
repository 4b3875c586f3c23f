//! The canary on a real BIOS: it counts, goes on where the life before it had come to, and switches itself off when it is told to.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use leasefence_drill::canary::{self, Beat};

/// Direct I/O wants a disk under it.
const BASE: &str = "/var/tmp";
/// An emulated BIOS on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn start(disk: &Path, machine: &str) -> Child {
    Command::new("qemu-system-x86_64")
        .args(["-display", "none", "-nodefaults", "-no-user-config", "-m", "32"])
        .args(["-machine", &format!("{machine},accel=tcg")])
        .args(["-drive", &format!("file={},format=raw,if=virtio,cache=none", disk.display())])
        .stdin(Stdio::null())
        .spawn()
        .expect("QEMU starts")
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not come");
        thread::sleep(Duration::from_millis(50));
    }
}

fn counting(disk: &Path, life: u32, counter: u32) -> Beat {
    let beat = || {
        canary::read(disk)
            .expect("it can be read")
            .filter(|beat| beat.life == life && beat.counter >= counter)
    };
    wait_for("the canary's count", beat)
}

#[test]
fn a_canary_counts_goes_on_in_its_next_life_and_stops_when_it_is_told_to() {
    if Command::new("qemu-system-x86_64").arg("--version").output().is_err() {
        eprintln!("\n*** the canary DID NOT RUN: there is no qemu-system-x86_64 ***\n");
        return;
    }
    let dir = tempfile::tempdir_in(BASE).expect("a directory");
    let disk = dir.path().join("canary.img");
    canary::create(&disk).expect("a disk");
    let mut first = start(&disk, "pc");
    assert_eq!(counting(&disk, 1, 5).before, 0);
    first.kill().expect("it is ours");
    first.wait().expect("it has ended");
    let before = counting(&disk, 1, 5);
    let mut second = start(&disk, "q35");
    let beat = counting(&disk, 2, before.counter + 3);
    assert_eq!((beat.began_at, beat.before), (before.counter, before.counter));
    canary::stop(&disk).expect("the word is written");
    let ended = wait_for("the canary's end", || second.try_wait().expect("it is ours"));
    assert!(ended.success(), "it has switched itself off: {ended}");
    let beat = canary::read(&disk).expect("it can be read").expect("it has counted");
    assert_eq!((beat.life, beat.before), (2, before.counter), "the word has harmed no record");
}
