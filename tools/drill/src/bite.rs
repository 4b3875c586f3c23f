//! A watchdog's bite. The drill dies with the machine, so what it has done is written down first, and a sign of life all the while; after
//! the reset `leasefence drill after-reset` says what came of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use leasefence_core::terms::RESET_LATENCY;
use serde::{Deserialize, Serialize};

use crate::canary::Canary;
use crate::hold::{Hold, SELF};
use crate::judge::{Case, Check, Judgement, Kind, Mark, Outcome};
use crate::plan::Plan;
use crate::play::Player;
use crate::process::Process;

const FENCER: &str = "leasefence-fencer";
const PENDING: &str = "drill-pending.json";
const ALIVE: &str = "drill-alive";
/// Between two signs of life.
const SIGN: Duration = Duration::from_millis(100);
/// A machine that was not reset by its watchdog's time and this is not reset.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is written down before the fencer is stopped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// The boot that shall end.
    pub boot_id: String,
    /// When the fencer was stopped: wall time, milliseconds since 1970.
    pub acted_unix_ms: u64,
    /// The host.
    pub host: String,
    /// The cluster.
    pub cluster: String,
    /// Its slot and generation.
    pub incarnation: (u16, u32),
    /// By when the watchdog must have reset the machine.
    pub reset_within_ms: u64,
    /// The canary's name.
    pub canary: String,
    /// Its uuid.
    pub uuid: String,
    /// Its disk.
    pub disk: PathBuf,
}

/// Stops the fencer, and waits for the end.
///
/// # Errors
/// When it could not be done; when the machine still lives, that too is told as one: the watchdog has not bitten.
pub(crate) fn act(player: &Player<'_>, plan: &Plan, canary: &Canary, case: &Case) -> Result<(), String> {
    let status = crate::watch::status(player.client).map_err(|error| error.to_string())?;
    let watchdog = Duration::from_millis(status.own.terms.watchdog_actual_ms) + RESET_LATENCY;
    let directory = &player.config.state_dir;
    let failed = |error: io::Error| format!("Writing down in {} what is done: {error}.", directory.display());
    let pending = Pending {
        boot_id: boot_id().map_err(failed)?,
        acted_unix_ms: leasefence_clock::now().wall_ns / 1_000_000,
        host: plan.ground.host.clone(),
        cluster: plan.ground.cluster.clone(),
        incarnation: case.incarnation,
        reset_within_ms: leasefence_api::words::ms(watchdog),
        canary: canary.name.clone(),
        uuid: canary.uuid.clone(),
        disk: canary.disk.clone(),
    };
    let fencer =
        Process::only(FENCER).map_err(|error| format!("The fencer's process cannot be taken: {error}."))?;
    write_down(directory, &pending).map_err(failed)?;
    let limit = watchdog + PATIENCE;
    let begun = Instant::now();
    let hold = Hold::start(Path::new(SELF), fencer, limit);
    let hold = hold.map_err(|error| {
        forget(directory);
        format!("The fencer could not be stopped: {error}.")
    })?;
    while begun.elapsed() < limit {
        sign_of_life(directory, begun.elapsed()).ok();
        thread::sleep(SIGN);
    }
    hold.release();
    forget(directory);
    Err(NOT_BITTEN.to_owned())
}

/// The promise that is broken when this is said.
pub const NOT_BITTEN: &str = "The watchdog has not reset this machine while its fencer was stopped.";

/// What is pending, if anything is.
///
/// # Errors
/// When it cannot be read.
pub fn pending(directory: &Path) -> Result<Option<Pending>, String> {
    let path = directory.join(PENDING);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}.", path.display())),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| format!("{} cannot be understood ({error}): remove it.", path.display())),
    }
}

/// Forgets it.
pub fn forget(directory: &Path) {
    for name in [PENDING, ALIVE] {
        fs::remove_file(directory.join(name)).ok();
    }
}

/// How long after the stop the machine last gave a sign of life, in milliseconds.
#[must_use]
pub fn last_sign_ms(directory: &Path) -> Option<u64> {
    fs::read_to_string(directory.join(ALIVE)).ok()?.trim().parse().ok()
}

/// What a reset means for what was promised. Pure.
///
/// # Errors
/// When there was none.
pub fn judge(pending: &Pending, boot_id: &str, last_sign_ms: Option<u64>) -> Result<Judgement, String> {
    if pending.boot_id == boot_id {
        return Err(
            "This machine has not been booted since: the drill goes on, or was ended by force.".to_owned()
        );
    }
    let how = "from the fencer's stop to the machine's last sign of life, one each 0.1 s";
    let kept = last_sign_ms.is_none_or(|last| last <= pending.reset_within_ms);
    let check = Check {
        what: "machine reset",
        promised_ms: Some(pending.reset_within_ms),
        measured_ms: last_sign_ms,
        how: how.to_owned(),
        outcome: if kept { Outcome::Kept } else { Outcome::Broken },
    };
    let mark = |at_ms: u64, kind, text: &str| Mark {
        at_ms: i64::try_from(at_ms).unwrap_or(i64::MAX),
        host: pending.host.clone(),
        kind,
        text: text.to_owned(),
    };
    let mut marks = vec![mark(0, Kind::Act, "the fencer is stopped")];
    marks.extend(last_sign_ms.map(|at| mark(at, Kind::Killed, "the machine's last sign of life")));
    Ok(Judgement { marks, windows: Vec::new(), checks: vec![check] })
}

/// The boot that this is.
///
/// # Errors
/// When the kernel does not say.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Whole, and on the disk, before anything is done.
fn write_down(directory: &Path, pending: &Pending) -> io::Result<()> {
    forget(directory);
    let new = directory.join("drill-pending.new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(pending)?)?;
    file.sync_all()?;
    fs::rename(&new, directory.join(PENDING))?;
    File::open(directory)?.sync_all()
}

fn sign_of_life(directory: &Path, since: Duration) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(directory.join(ALIVE))?;
    write!(file, "{:>12}", since.as_millis())?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Pending {
        Pending {
            boot_id: "one".to_owned(),
            acted_unix_ms: 1,
            host: "host-1".to_owned(),
            cluster: "prod".to_owned(),
            incarnation: (0, 3),
            reset_within_ms: 6_500,
            canary: "leasefence-drill-host-1".to_owned(),
            uuid: "u".to_owned(),
            disk: "/mnt/x.img".into(),
        }
    }

    #[test]
    fn a_bite_is_judged_in_the_next_boot_by_the_last_sign_of_life() {
        assert!(judge(&written(), "one", Some(100)).is_err(), "it is the same boot");
        assert!(!judge(&written(), "two", Some(5_100)).expect("another").is_broken());
        assert!(
            judge(&written(), "two", Some(9_000)).expect("another").is_broken(),
            "it lived on for too long"
        );
    }

    #[test]
    fn what_was_done_survives_and_is_forgotten_when_it_was_told() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(pending(dir.path()), Ok(None));
        write_down(dir.path(), &written()).expect("written");
        sign_of_life(dir.path(), Duration::from_millis(900)).expect("written");
        sign_of_life(dir.path(), Duration::from_millis(1_000)).expect("written");
        assert_eq!((pending(dir.path()), last_sign_ms(dir.path())), (Ok(Some(written())), Some(1_000)));
        forget(dir.path());
        assert_eq!((pending(dir.path()), last_sign_ms(dir.path())), (Ok(None), None));
    }
}
