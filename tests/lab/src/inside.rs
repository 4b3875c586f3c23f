//! What this program does inside a machine: it looks, and prints a line of JSON for each thing that it sees. Nothing here asks
//! Leasefence or libvirt, so that it can contradict them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::Subcommand;
use leasefence_demo::checker;
use leasefence_demo::disk_watch::DiskWatch;
use leasefence_demo::lease_file::LeaseFile;
use leasefence_demo::process::{self, Process};
use leasefence_demo::record::Record;
use leasefence_demo::verdict::Fault;
use serde::{Deserialize, Serialize};

/// How finely it looks. Emulated processors are slow, and there is one in a machine.
const PERIOD: Duration = Duration::from_millis(100);

/// Every so many periods it looks for new processes: that reads something of each, which took a third of an emulated processor
/// in each period.
const PERIODS_BETWEEN_SCANS: u32 = 10;

/// What is done inside a machine.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub enum Inside {
    /// Print each write that reaches a guest's disk.
    Writes {
        /// The disk, on the storage machine.
        disk: PathBuf,
    },
    /// Print when a guest's process comes or goes.
    Processes {
        /// The guest's name.
        guest: String,
    },
    /// Judge the log on a guest's disk.
    Judge {
        /// The disk, on the storage machine.
        disk: PathBuf,
    },
    /// Print a host's record in a lease file.
    Record {
        /// The lease file or device, on the storage machine.
        lease: PathBuf,
        /// The host's name.
        host: String,
    },
}

/// A line that is printed by `writes` and `processes`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// A write.
    Write(Record),
    /// The guest's process came.
    Started,
    /// It went.
    Ended,
}

/// What is printed by `judge`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Judgement {
    /// Writes on the disk.
    pub writes: u32,
    /// Starts of the guest.
    pub lives: usize,
    /// Each sign of a second writer, in words.
    pub split_brains: Vec<String>,
    /// Whether each of them is a write that came late.
    pub only_late: bool,
    /// What cannot be read, in words.
    pub damage: Vec<String>,
}

/// What is printed by `record`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Renewal {
    /// The incarnation's generation.
    pub generation: u32,
    /// When the record's write was issued, by the host's own wall clock.
    pub wall_ns: u64,
}

/// Does it.
///
/// # Errors
/// When what is looked at cannot be read.
pub fn run(what: &Inside) -> Result<(), Box<dyn Error>> {
    match what {
        Inside::Writes { disk } => watch_writes(disk),
        Inside::Processes { guest } => watch_processes(guest),
        Inside::Judge { disk } => {
            let verdict = checker::check_disk(disk)?;
            Ok(say(&Judgement {
                writes: verdict.writes(),
                lives: verdict.lives.len(),
                only_late: verdict.split_brains.iter().all(|sign| sign.fault == Fault::LateWrite),
                split_brains: verdict.split_brains.iter().map(ToString::to_string).collect(),
                damage: verdict.damage.iter().map(ToString::to_string).collect(),
            })?)
        }
        Inside::Record { lease, host } => {
            let record = LeaseFile::open(lease)?.record(host)?;
            let renewal = Renewal { generation: record.incarnation.generation.0, wall_ns: record.wall_ns };
            Ok(say(&renewal)?)
        }
    }
}

/// Fails when nobody listens any more: then the watcher ends, too.
fn say(line: &impl Serialize) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{}", serde_json::to_string(line)?)?;
    output.flush()
}

fn watch_writes(path: &Path) -> Result<(), Box<dyn Error>> {
    let mut watch = DiskWatch::open(path)?;
    // What was there before the watch began is no news.
    watch.look();
    loop {
        let records = watch.look();
        let last = records.len().saturating_sub(1);
        // There are hundreds a second: the first of a life, and the latest, tell what a timeline shows.
        for (_, record) in
            records.into_iter().enumerate().filter(|(n, record)| *n == last || record.counter == 1)
        {
            say(&Line::Write(record))?;
        }
        thread::sleep(PERIOD);
    }
}

fn watch_processes(guest: &str) -> Result<(), Box<dyn Error>> {
    let name = format!("guest={guest},");
    let mut known: BTreeMap<i32, Process> = BTreeMap::new();
    for period in (0..PERIODS_BETWEEN_SCANS).cycle() {
        for _ in known.extract_if(.., |_, process| !process.is_alive()) {
            say(&Line::Ended)?;
        }
        let present = (period == 0).then(|| process::all_named("qemu-system-x86_64"));
        for process in present.into_iter().flatten() {
            if !known.contains_key(&process.pid) && command_line(process.pid).contains(&name) {
                known.insert(process.pid, process);
                say(&Line::Started)?;
            }
        }
        thread::sleep(PERIOD);
    }
    Ok(())
}

fn command_line(pid: i32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned()
}
