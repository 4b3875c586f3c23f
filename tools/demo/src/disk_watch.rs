//! Watches the guest's disk: each write as it arrives, whoever makes it. To judge is the checker's.

use std::io;
use std::path::Path;

use crate::disk::Disk;
use crate::follow::Follow;
use crate::layout::Content;
use crate::record::Record;

/// Looking for new lives, and at those that should be over, costs more than looking at the latest one, so it happens in one
/// of so many looks. While nothing is written, which is when a new one is to be expected, it happens in every look.
const LOOKS_PER_LIFE_SCAN: u32 = 25;

/// After so many looks without a write nothing is written: at one look every 20 ms the guest pauses for five.
const QUIET_LOOKS: u32 = 8;

/// A disk that is watched.
#[derive(Debug)]
pub struct DiskWatch {
    disk: Disk,
    lives: Vec<Follow>,
    looks: u32,
    quiet: u32,
}

impl DiskWatch {
    /// Begins to watch.
    ///
    /// # Errors
    /// When the disk cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { disk: Disk::open(path)?, lives: Vec::new(), looks: 0, quiet: 0 })
    }

    /// What has arrived since the last look. The first look finds what the disk holds.
    pub fn look(&mut self) -> Vec<Record> {
        let at_all = self.looks.is_multiple_of(LOOKS_PER_LIFE_SCAN) || self.quiet > QUIET_LOOKS;
        self.looks = self.looks.wrapping_add(1);
        if at_all {
            self.look_for_lives();
        }
        let latest = self.lives.iter().map(Follow::generation).max();
        let mut news = Vec::new();
        for life in self.lives.iter_mut().filter(|life| at_all || Some(life.generation()) == latest) {
            news.extend(life.news(&self.disk));
        }
        self.quiet = if news.is_empty() { self.quiet.saturating_add(1) } else { 0 };
        news
    }

    /// A disk that cannot be read now shows nothing new.
    fn look_for_lives(&mut self) {
        for (life, claim) in (0..).zip(self.disk.claims().unwrap_or_default()) {
            let known = self.lives.iter().any(|follow| follow.life() == life);
            if let (false, Content::Record(claim)) = (known, claim) {
                self.lives.push(Follow::new(life, claim));
            }
        }
    }
}
