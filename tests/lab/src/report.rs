//! What a run of scenarios has shown: a line each, and a timeline each as text and as a picture.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leasefence_demo::story::{Kind, Story, seconds};
use leasefence_demo::svg;

use crate::scenario::{Failure, KnownRed, Scenario};
use crate::storage::Storage;
use crate::waits::LongestWait;

/// How a scenario ended, against what was expected of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All was seen that must be seen.
    Passed,
    /// It failed, and that is known.
    KnownRed,
    /// It failed.
    Failed,
    /// It lies outside the promise, and this came of it.
    Outside,
    /// It passed although it is listed as red.
    UnexpectedPass,
}

impl Verdict {
    fn of(outcome: &Result<(), Failure>, known: Option<&KnownRed>) -> Self {
        match (outcome, known) {
            (Ok(()), None) => Self::Passed,
            (Ok(()), Some(_)) => Self::UnexpectedPass,
            (Err(failure), Some(known)) if known.is(failure) => Self::KnownRed,
            (Err(_), _) => Self::Failed,
        }
    }

    /// Whether the run as a whole is red for it.
    #[must_use]
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::UnexpectedPass)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::KnownRed => "known red",
            Self::Failed => "FAILED",
            Self::Outside => "outside promise",
            Self::UnexpectedPass => "UNEXPECTED PASS",
        }
    }
}

/// One scenario that was played.
#[derive(Debug)]
pub struct Entry {
    name: &'static str,
    storage: Storage,
    verdict: Verdict,
    why: String,
    story: Option<Story>,
    took: Duration,
    waited: Option<LongestWait>,
}

impl Entry {
    /// What came of a scenario, how long it took, and how long a machine waited for a processor; without a story when it did not even
    /// begin.
    #[must_use]
    pub fn new(
        scenario: &Scenario,
        storage: Storage,
        story: Option<Story>,
        outcome: &Result<(), Failure>,
        took: Duration,
        waited: Option<LongestWait>,
    ) -> Self {
        let known = scenario.known_red_on(storage);
        let why = match (outcome, known) {
            (Err(failure), None) => match waited {
                Some(waited) => format!("{failure} ({waited})"),
                None => failure.to_string(),
            },
            (Err(failure), Some(known)) => format!("{failure}; listed as red: {}", known.why),
            (Ok(()), Some(known)) => format!("listed as red: {}", known.why),
            (Ok(()), None) => String::new(),
        };
        let verdict = match scenario.outside && story.is_some() {
            true => Verdict::Outside,
            false => Verdict::of(outcome, known),
        };
        Self { name: scenario.name, storage, verdict, why, story, took, waited }
    }

    /// How it ended.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Its line in the table.
    #[must_use]
    pub fn line(&self) -> String {
        let ratio = self.story.as_ref().and_then(|story| {
            let takeover = story.between(Kind::LastRenewal, Kind::Verdict)?;
            let ratio = takeover.as_secs_f64() / story.stall_survived.as_secs_f64();
            Some(format!("{} / {} = {ratio:.2}", seconds(takeover), seconds(story.stall_survived)))
        });
        let silence = self.story.as_ref().and_then(Story::longest_silence).map(seconds);
        format!(
            "{:<18} {:<6} {:<16} {:>26} {:>10} {:>6.0} s  {}",
            self.name,
            self.storage.to_string(),
            self.verdict.word(),
            ratio.unwrap_or_else(|| "-".into()),
            silence.unwrap_or_else(|| "-".into()),
            self.took.as_secs_f64(),
            self.why.replace('\n', " "),
        )
    }
}

/// The head of the table.
#[must_use]
pub fn head() -> String {
    format!(
        "{:<18} {:<6} {:<16} {:>26} {:>10} {:>8}",
        "scenario", "on", "outcome", "takeover / stall survived", "silent", "took"
    )
}

/// Where the report lies in its directory.
#[must_use]
pub fn path(directory: &Path) -> PathBuf {
    directory.join("report.txt")
}

/// Writes report and pictures into a directory.
///
/// # Errors
/// When it cannot be written.
pub fn write(directory: &Path, kernel: &str, entries: &[Entry], took: Duration) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut text =
        format!("Linux {kernel}, {} scenarios in {:.0} s\n\n{}\n", entries.len(), took.as_secs_f64(), head());
    for entry in entries {
        writeln!(text, "{}", entry.line()).map_err(io::Error::other)?;
    }
    for entry in entries {
        let Some(story) = &entry.story else { continue };
        writeln!(text, "\n{}\n{story}", story.title).map_err(io::Error::other)?;
        if let Some(waited) = &entry.waited {
            writeln!(text, "    {waited}").map_err(io::Error::other)?;
        }
        let picture = directory.join(format!("{}-{}.svg", entry.name, entry.storage));
        fs::write(picture, svg::draw(std::slice::from_ref(story)))?;
    }
    fs::write(path(directory), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Red;

    #[test]
    fn a_known_red_that_passes_or_fails_otherwise_is_bad() {
        let red = |red| KnownRed { on: Storage::Nfs, red, why: "" };
        let is_bad = |outcome, known: Option<Red>| Verdict::of(&outcome, known.map(red).as_ref()).is_bad();
        let late = || Err(Failure::SplitBrain { late: true, text: String::new() });
        let two_writers = || Err(Failure::SplitBrain { late: false, text: String::new() });
        let evidence = || Err(Failure::Evidence(String::new()));
        let unmet = || Err(Failure::Unmet(String::new()));
        assert!(!is_bad(Ok(()), None), "it passed, as it should");
        assert!(
            !is_bad(late(), Some(Red::LateWrite)) && !is_bad(evidence(), Some(Red::Evidence)),
            "as listed"
        );
        for listed in [Red::LateWrite, Red::Evidence] {
            assert!(is_bad(Ok(()), Some(listed)), "it passed, {listed:?}");
            assert!(
                is_bad(two_writers(), Some(listed)) && is_bad(unmet(), Some(listed)),
                "otherwise, {listed:?}"
            );
        }
        assert!(is_bad(late(), Some(Red::Evidence)) && is_bad(evidence(), Some(Red::LateWrite)), "otherwise");
        assert!(
            is_bad(late(), None) && is_bad(evidence(), None) && is_bad(unmet(), None),
            "it is not listed"
        );
    }
}
