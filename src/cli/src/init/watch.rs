//! Watches a lease file that is to be replaced, as an observer watches a host: if nothing moved for as long as its own
//! hosts would wait before calling one gone, none of them is alive.

use std::io::{IsTerminal, Write as _};
use std::ops::Range;
use std::time::Duration;

use leasefence_clock::instant;
use leasefence_core::format::init::WatchPlan;
use leasefence_core::format::{Copies, Header, HostRecord, RecordCopy};
use leasefence_core::time::Instant;

use super::judge::plan;
use crate::medium::{Medium, Mode};
use crate::outcome::CliError;
use crate::text::duration_ms;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Between two lines of progress where nobody looks at a terminal.
const QUIET_PROGRESS: Duration = Duration::from_secs(10);

/// Returns once nothing has moved for long enough.
///
/// The wait is counted as an observer counts (R3, R4): from the end of the first read to the start of the last one, by
/// the slower clock. Each read goes through a freshly opened descriptor.
///
/// # Errors
/// As soon as anything moves, when a host is in maintenance, or when a read fails.
pub(super) fn quiet(medium: &Medium, header: Option<&Header>) -> Result<(), CliError> {
    let range = header
        .map_or_else(|| WatchPlan::of_headless(medium.size()).range, |it| WatchPlan::range_of(&it.layout));
    let first = read(medium, &range)?;
    let since = instant();
    let plan = plan(header, &first, medium.size());
    refuse_maintenance(medium, &plan)?;
    let mut progress = Progress::new(medium, header, plan.at_least, since);
    loop {
        let started = instant();
        let passed = started.since_by_slower(since);
        let now = read(medium, &range)?;
        if let Some(at) = first_difference(&first, &now) {
            return Err(moved(medium, header, range.start + at, &now));
        }
        if passed >= plan.at_least {
            progress.end();
            return Ok(());
        }
        progress.show(passed, started);
        std::thread::sleep(LOOK.min(plan.at_least - passed));
    }
}

fn read(medium: &Medium, range: &Range<u64>) -> Result<Vec<u8>, CliError> {
    let len = usize::try_from(range.end - range.start).map_err(CliError::from_display)?;
    let fresh = Medium::open(medium.path(), Mode::Read).and_then(|fresh| fresh.read(range.start, len));
    fresh.map_err(|error| {
        CliError::Other(format!("watching {}: {error}. Nothing was written", medium.path().display()))
    })
}

fn refuse_maintenance(medium: &Medium, plan: &WatchPlan) -> Result<(), CliError> {
    if plan.disarmed.is_empty() {
        return Ok(());
    }
    Err(CliError::Other(format!(
        "{}: {} in maintenance, and may run domains without moving its record: watching proves nothing. Arm and release \
         it, or free its slot, first. Nothing was written.",
        medium.path().display(),
        plan.disarmed.join(", ") + if plan.disarmed.len() == 1 { " is" } else { " are" },
    )))
}

fn first_difference(first: &[u8], now: &[u8]) -> Option<u64> {
    let shorter = first.len() != now.len();
    let at = first.iter().zip(now).position(|(before, after)| before != after);
    at.map(|at| at as u64).or_else(|| shorter.then_some(first.len().min(now.len()) as u64))
}

fn moved(medium: &Medium, header: Option<&Header>, at: u64, now: &[u8]) -> CliError {
    let who =
        header.and_then(|header| host_at(header, at, now)).unwrap_or_else(|| format!("byte {at} changed"));
    CliError::Other(format!(
        "{}: {who}: the cluster is alive. Stop its agents first (leasefence release on each host). Nothing was written.",
        medium.path().display()
    ))
}

/// The host whose record lies at this byte.
fn host_at(header: &Header, at: u64, now: &[u8]) -> Option<String> {
    let layout = &header.layout;
    let here =
        |slot| RecordCopy::BOTH.iter().any(|copy| layout.host_record(slot, *copy).range().contains(&at));
    let slot = layout.slots().find(|slot| here(*slot))?;
    let skipped = usize::try_from(layout.host_records().start - WatchPlan::range_of(layout).start).ok()?;
    let copies = Copies::<HostRecord>::in_scan(layout, slot, now.get(skipped..)?);
    let name = copies.newest().map_or("its host", |(_, record)| record.host_name.as_str());
    Some(format!("slot {slot} moves ({name})"))
}

/// Tells a person how long it still takes.
struct Progress {
    what: String,
    at_least: Duration,
    terminal: bool,
    said: Option<Instant>,
}

impl Progress {
    fn new(medium: &Medium, header: Option<&Header>, at_least: Duration, since: Instant) -> Self {
        let cluster =
            header.map_or("its former cluster".to_owned(), |it| format!("cluster '{}'", it.cluster_name));
        let what = format!("watching {} for signs of life of {cluster}", medium.path().display());
        let terminal = std::io::stderr().is_terminal();
        eprintln!("{what}: {}", duration_ms(millis(at_least)));
        Self { what, at_least, terminal, said: Some(since) }
    }

    fn show(&mut self, passed: Duration, now: Instant) {
        let left = duration_ms(millis(self.at_least.saturating_sub(passed)));
        if self.terminal {
            eprint!("\r{}: nothing moves, {left} left   ", self.what);
            drop(std::io::stderr().flush());
        } else if self.said.is_none_or(|said| now.since_by_slower(said) >= QUIET_PROGRESS) {
            eprintln!("{}: nothing moves, {left} left", self.what);
            self.said = Some(now);
        }
    }

    fn end(&self) {
        if self.terminal {
            eprintln!();
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
