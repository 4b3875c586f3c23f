//! What leads to the storages of the page, a line each, noted while it is there.

use std::collections::BTreeSet;

use super::noted::lines_about;

/// The lines, in the order in which what they are about is brought back.
#[derive(Default)]
pub(super) struct Notes {
    lines: Vec<String>,
    /// Those that the last look found.
    found: BTreeSet<String>,
    /// Those that it did not find.
    gone: BTreeSet<String>,
}

impl Notes {
    /// What [`Self::text`] was.
    pub(super) fn read(text: &str) -> Self {
        Self { lines: text.lines().map(str::to_owned).collect(), ..Self::default() }
    }

    pub(super) fn text(&self) -> String {
        self.lines.iter().fold(String::new(), |text, line| text + line + "\n")
    }

    pub(super) fn lines(&self) -> impl DoubleEndedIterator<Item = &String> {
        self.lines.iter()
    }

    /// Notes what there is of the storages that are `named`, and returns what of it the last look did not find. What is gone, or named
    /// no more, is noted no more once two looks have not found it, and it was taken away `by_others` than the fencer.
    pub(super) fn look(&mut self, named: &BTreeSet<u64>, mountinfo: &str, by_others: bool) -> Vec<String> {
        let now: Vec<String> = named.iter().flat_map(|device| lines_about(*device, mountinfo)).collect();
        let new = now.iter().filter(|line| !self.found.contains(*line)).cloned().collect();
        self.found = now.iter().cloned().collect();
        let is_others_doing = |line: &String| by_others && self.gone.contains(line);
        self.lines.retain(|line| !now.contains(line) && !is_others_doing(line));
        self.gone = self.lines.iter().cloned().collect();
        self.lines.extend(now);
        new
    }
}
