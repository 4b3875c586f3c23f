//! The guest's ROM in real QEMU processes, without hosts around it: that it writes as it says, sixteen writes at once, and
//! that `check-disk` sees on its disk what was planted there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use leasefence_demo::disk::Disk;
use leasefence_demo::disk_watch::DiskWatch;
use leasefence_demo::layout::{BLOCK_BYTES, Content, LANES, Layout, Place, SECTOR_BYTES};
use leasefence_demo::record::Record;
use leasefence_demo::verdict::{Fault, Outcome, Verdict};
use leasefence_demo::{checker, guest, rom, wait};

const QEMU: &str = "qemu-system-x86_64";

/// A disk, and starts of the guest on it.
struct Bench {
    directory: tempfile::TempDir,
    rom: PathBuf,
}

impl Bench {
    /// `None` where QEMU or the compiler is missing. A test that did not run must not look like one that passed.
    fn new(test: &str) -> Option<Self> {
        for program in [QEMU, "gcc", "objcopy"] {
            if Command::new(program).arg("--version").output().is_err() {
                eprintln!("\n*** {test} DID NOT RUN: there is no {program} ***\n");
                return None;
            }
        }
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let rom = rom::build(directory.path()).unwrap();
        guest::create_disk(&directory.path().join("disk.img")).unwrap();
        Some(Self { directory, rom })
    }

    fn disk(&self) -> PathBuf {
        self.directory.path().join("disk.img")
    }

    fn trace(&self) -> PathBuf {
        self.directory.path().join("trace")
    }

    /// Starts the guest as it would be on a host, whether or not it runs already.
    fn start(&self, machine: &str, host: &str) -> Copy {
        let disk = self.disk();
        let drive = format!("if=none,id=disk,format=raw,cache=none,file.locking=off,file={}", disk.display());
        let child = Command::new(QEMU)
            .args([
                "-machine",
                machine,
                "-accel",
                "tcg",
                "-m",
                "16",
                "-nodefaults",
                "-display",
                "none",
                "-bios",
            ])
            .arg(&self.rom)
            .args(["-drive", &drive, "-device", "virtio-blk-pci,drive=disk", "-serial", "stdio"])
            .args(["-fw_cfg", &format!("name=opt/leasefence/host,string={host}")])
            .args(["-fw_cfg", "name=opt/leasefence/boot,file=/proc/sys/kernel/random/uuid"])
            .args(["-trace", "virtio_blk_handle_write", "-trace", "virtio_blk_rw_complete"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.trace()).unwrap())
            .spawn();
        Copy { child: child.unwrap() }
    }

    fn verdict(&self) -> Verdict {
        checker::check_disk(&self.disk()).unwrap()
    }

    /// Waits until a host's copy has written so much.
    fn wait_for_writes(&self, host: &str, writes: u32) {
        let enough = |verdict: Verdict| {
            verdict.lives.iter().any(|life| life.claim.host == host && life.writes() >= writes).then_some(())
        };
        wait::until("writes", Duration::from_secs(60), || enough(self.verdict())).unwrap();
    }

    /// A life of the guest from its start to the loss of its power.
    fn live(&self, machine: &str, host: &str, writes: u32) {
        let copy = self.start(machine, host);
        self.wait_for_writes(host, writes);
        drop(copy);
    }

    /// The block of a place of the first life on a host.
    fn block(&self, host: &str, place: Place) -> u64 {
        let layout = Layout::of(usize::try_from(fs::metadata(self.disk()).unwrap().len()).unwrap()).unwrap();
        let claims = Disk::open(&self.disk()).unwrap().claims().unwrap();
        let of_host = |content: &Content| matches!(content, Content::Record(claim) if claim.host == host);
        let life = u32::try_from(claims.iter().position(of_host).unwrap()).unwrap();
        u64::from(layout.region(life) + place.block())
    }

    fn read(&self, block: u64) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK_BYTES];
        File::open(self.disk()).unwrap().read_exact_at(&mut bytes, block * BLOCK_BYTES as u64).unwrap();
        bytes
    }

    fn plant(&self, block: u64, bytes: &[u8]) {
        let disk = File::options().write(true).open(self.disk()).unwrap();
        disk.write_all_at(bytes, block * BLOCK_BYTES as u64).unwrap();
        disk.sync_all().unwrap();
    }

    fn check_disk(&self, words: &[&str]) -> Output {
        check_disk(&self.disk(), words)
    }
}

/// A start of the guest. Its power is cut when it is dropped.
struct Copy {
    child: Child,
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn check_disk(path: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leasefence-demo"))
        .arg("check-disk")
        .arg(path)
        .args(words)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_guest_that_moves_is_clean_and_has_sixteen_writes_in_flight_on_both_machines() {
    let Some(bench) = Bench::new("a clean handover") else { return };
    for (machine, host) in [("pc", "host-1"), ("q35", "host-2"), ("pc", "host-3")] {
        bench.live(machine, host, 120);
        let trace = fs::read_to_string(bench.trace()).unwrap();
        let (mut now, mut most) = (0, 0);
        for line in trace.lines() {
            now += i32::from(line.contains("virtio_blk_handle_write"));
            now -= i32::from(line.contains("virtio_blk_rw_complete"));
            most = most.max(now);
        }
        assert!(most >= 8, "only {most} writes in flight on {machine}");
    }
    let verdict = bench.verdict();
    assert_eq!(verdict.outcome(), Outcome::Clean, "{verdict:#?}");
    let hosts: Vec<_> = verdict.lives.iter().map(|life| life.claim.host.as_str()).collect();
    assert_eq!(hosts, ["host-1", "host-2", "host-3"]);
    let output = bench.check_disk(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(said(&output).ends_with("clean: one writer at a time\n"));
}

#[test]
fn a_watch_sees_every_write_once_and_a_new_life_from_its_first() {
    let Some(bench) = Bench::new("a watched disk") else { return };
    let mut watch = DiskWatch::open(&bench.disk()).unwrap();
    let mut seen = Vec::new();
    for host in ["host-1", "host-2"] {
        let copy = bench.start("pc", host);
        let enough = |seen: &[Record]| seen.iter().filter(|record| record.host == host).count() >= 200;
        wait::until("writes", Duration::from_secs(60), || {
            seen.extend(watch.look());
            enough(&seen).then_some(())
        })
        .unwrap();
        drop(copy);
        (0..30).for_each(|_| seen.extend(watch.look()));
    }
    for life in bench.verdict().lives {
        let of_life = seen.iter().filter(|record| record.boot == life.claim.boot);
        let mut counters: Vec<_> = of_life.map(|record| record.counter).collect();
        counters.sort_unstable();
        counters.dedup();
        let all = seen.iter().filter(|record| record.boot == life.claim.boot).count();
        assert_eq!((counters.len(), counters[0]), (all, 1), "none twice, and the first");
        assert_eq!(counters.last(), Some(&life.writes()));
    }
}

#[test]
fn a_planted_overlap_is_caught() {
    let Some(bench) = Bench::new("a planted overlap") else { return };
    let first = bench.start("pc", "host-1");
    bench.wait_for_writes("host-1", 50);
    let second = bench.start("pc", "host-2");
    bench.wait_for_writes("host-2", 300);
    drop((first, second));
    let verdict = bench.verdict();
    assert_eq!(verdict.split_brains[0].fault, Fault::WroteOn, "{verdict:#?}");
    assert_eq!(verdict.split_brains[0].older.host, "host-1");
    let output = bench.check_disk(&[]);
    assert_eq!(output.status.code(), Some(1));
    println!("{}", said(&output));
    assert!(said(&output).ends_with("SPLIT BRAIN\n"));
}

#[test]
fn a_planted_late_write_is_caught() {
    let Some(bench) = Bench::new("a planted late write") else { return };
    bench.live("pc", "host-1", 100);
    let place = bench.block("host-1", Place::in_table(4));
    let late = bench.read(place);
    bench.live("pc", "host-2", 100);
    assert_eq!(bench.verdict().outcome(), Outcome::Clean);
    bench.plant(place, &late);
    bench.live("pc", "host-3", 100);
    let output = bench.check_disk(&["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["outcome"], "split-brain");
    let caught = &answer["verdict"]["split_brains"][0];
    assert_eq!(caught["fault"], "late-write", "{answer:#}");
    assert_eq!(caught["evidence"][0]["block"], place);
    assert_eq!((&caught["older"]["host"], &caught["newer"]["host"]), (&"host-1".into(), &"host-2".into()));
}

#[test]
fn torn_and_zeroed_sectors_are_damage() {
    let Some(bench) = Bench::new("planted damage") else { return };
    bench.live("pc", "host-1", 240);
    let verdict = bench.verdict();
    assert_eq!(verdict.outcome(), Outcome::Clean);
    // Some bursts before its last: what it was writing when it lost its power may be missing, and the journal is a ring.
    let done = verdict.lives[0].writes() - 5 * LANES;
    let place = bench.block("host-1", Place::in_journal(done));
    let whole = bench.read(place);
    for (sectors, word) in [(1..3, "torn"), (0..8, "empty")] {
        let mut bytes = whole.clone();
        bytes[sectors.start * SECTOR_BYTES..sectors.end * SECTOR_BYTES].fill(0);
        bench.plant(place, &bytes);
        let output = bench.check_disk(&[]);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(said(&output).contains(&format!("damage: block {place}: {word}")), "{output:?}");
    }
}

#[test]
fn what_is_no_disk_of_the_guest_cannot_be_judged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("small");
    File::create(&path).unwrap().write_all(b"something").unwrap();
    assert_eq!(check_disk(&path, &[]).status.code(), Some(2));
    assert_eq!(check_disk(&directory.path().join("none"), &[]).status.code(), Some(2));
}
