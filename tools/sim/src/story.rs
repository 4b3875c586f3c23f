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

/// All lines.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Story {
    /// In the order of time; none: nobody will read them.
    lines: Option<Vec<Line>>,
    /// How many hosts have lanes.
    pub hosts: usize,
}

impl Story {
    /// An empty one, kept or not.
    #[must_use]
    pub fn new(kept: bool, hosts: usize) -> Self {
        Self { lines: kept.then(Vec::new), hosts }
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
