//! What happened, for people: a line an event, each in the lane of a host or of the storage. Kept only on demand.

use crate::time::MS;

/// Whose line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// A host's.
    Host(usize),
    /// The storage's, and what concerns all.
    Storage,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Nanoseconds of the world's time.
    pub at: u64,
    /// Whose.
    pub lane: Lane,
    /// A stable word for the kind of event.
    pub event: &'static str,
    /// The sentence.
    pub text: String,
}

/// A process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Process {
    /// It is not there.
    #[default]
    Gone,
    /// It is there, and stopped.
    Stopped,
    /// It runs.
    Runs,
}

/// A domain's process on a host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RunSight {
    /// Which run.
    pub run: usize,
    /// Of which domain.
    pub domain: usize,
    /// It was killed.
    pub killed: bool,
    /// It is gone, and what it wrote may still land.
    pub gone: bool,
}

/// How a host looks from outside.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sight {
    /// It is on.
    pub powered: bool,
    /// The whole host stands still.
    pub still: bool,
    /// Its agent.
    pub agent: Process,
    /// Its fencer.
    pub fencer: Process,
    /// Its fencer guards a lease.
    pub armed: bool,
    /// The end of that lease is latched.
    pub latched: bool,
    /// Its requests do not reach the lease storage.
    pub requests_cut: bool,
    /// Nor do answers come back.
    pub answers_cut: bool,
    /// The domains' processes on it, and those of which a write may still land.
    pub runs: Vec<RunSight>,
}

/// All lines, and how each host looked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Story {
    /// In the order of time; none: nobody will read them.
    lines: Option<Vec<Line>>,
    /// Of each host since when it looks how.
    sights: Vec<Vec<(u64, Sight)>>,
    /// How many hosts have lanes.
    pub hosts: usize,
}

impl Story {
    /// An empty one, kept or not.
    #[must_use]
    pub fn new(kept: bool, hosts: usize) -> Self {
        Self { lines: kept.then(Vec::new), sights: vec![Vec::new(); hosts], hosts }
    }

    /// True where somebody will read it.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.lines.is_some()
    }

    /// Enters how a host looks, if that has changed.
    pub fn see(&mut self, at: u64, host: usize, sight: Sight) {
        if self.sights[host].last().is_none_or(|(_, last)| *last != sight) {
            self.sights[host].push((at, sight));
        }
    }

    /// Since when a host looks how, in the order of time.
    #[must_use]
    pub fn sights(&self, host: usize) -> &[(u64, Sight)] {
        &self.sights[host]
    }

    /// Adds a line; its sentence is made only if it is kept.
    pub fn tell(&mut self, at: u64, lane: Lane, event: &'static str, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(Line { at, lane, event, text: text() });
        }
    }

    /// The lines.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        self.lines.as_deref().unwrap_or_default()
    }

    /// One line of text an event.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines().iter().map(Line::text).collect()
    }
}

impl Line {
    /// One line of text.
    #[must_use]
    pub fn text(&self) -> String {
        let (us, who) = (self.at / 1_000, self.lane.name());
        format!("{:>5}.{:06} {who:<8} {:<16} {}\n", us / (MS), us % (MS), self.event, self.text)
    }
}

impl Lane {
    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Host(index) => format!("host-{index}"),
            Self::Storage => "storage".to_owned(),
        }
    }
}
