//! The judge: looks at the guest's disk and says whether two copies of the guest ever wrote to it at once. It knows nothing of
//! leases or hosts' states: only what a file system on that disk would have suffered. [`crate::record`] has the argument.

use std::io;
use std::path::Path;

use crate::disk::{Disk, Picture, Region};
use crate::layout::{Content, LANES, Layout, Place, ROWS, burst_of, counter_of};
use crate::record::{Deed, Record};
use crate::verdict::{Damage, Evidence, Fault, Life, SplitBrain, Verdict};

/// Judges a disk, device or image.
///
/// # Errors
/// When it cannot be read.
pub fn check_disk(path: &Path) -> io::Result<Verdict> {
    Ok(check(&Disk::open(path)?.picture()?))
}

/// Judges what a disk held.
#[must_use]
pub fn check(picture: &Picture) -> Verdict {
    let mut verdict = Verdict::default();
    let claims = claims(picture, &mut verdict);
    for (life, claim) in &claims {
        let closers = claims.iter().map(|(_, claim)| claim).filter(|other| follows(other, claim)).collect();
        if let Some(region) = usize::try_from(*life).ok().and_then(|life| picture.regions.get(life)) {
            let first_block = picture.layout.region(*life);
            Judge { claim, closers, region, first_block, last: None, verdict: &mut verdict }.judge();
        }
    }
    check_generations(picture.layout, &claims, &mut verdict);
    verdict.split_brains.sort_by_key(|split_brain| split_brain.fault);
    verdict
}

/// Whether a life is another's successor.
fn follows(claim: &Record, predecessor: &Record) -> bool {
    matches!(&claim.deed, Deed::Claim { after: Some(boot), .. } if *boot == predecessor.boot)
        && claim.generation == predecessor.generation + 1
}

/// All claims and whose life they are, by generation. A region that was written to without one is damage.
fn claims(picture: &Picture, verdict: &mut Verdict) -> Vec<(u32, Record)> {
    let mut claims = Vec::new();
    for (life, (content, region)) in (0..).zip(picture.claims.iter().zip(&picture.regions)) {
        let wrong = match content {
            Content::Record(record @ Record { deed: Deed::Claim { .. }, .. }) => {
                claims.push((life, record.clone()));
                continue;
            }
            Content::Record(record) => format!("not a claim, but {record}"),
            Content::Damaged(what) => what.clone(),
            Content::Empty if region.is_empty() => continue,
            Content::Empty => match Place::all().map(|place| region.at(place)).find_map(record_in) {
                Some(record) => format!("empty, but its region is not: there is {record}"),
                None => "empty, but its region is not".into(),
            },
        };
        verdict.damage.push(Damage { block: life, what: wrong });
    }
    claims.sort_by_key(|(_, claim)| claim.generation);
    claims
}

fn record_in(content: &Content) -> Option<&Record> {
    if let Content::Record(record) = content { Some(record) } else { None }
}

/// Each generation has one life, and each but the first a predecessor.
fn check_generations(layout: Layout, claims: &[(u32, Record)], verdict: &mut Verdict) {
    for pair in claims.windows(2) {
        let ((_, older), (_, newer)) = (&pair[0], &pair[1]);
        if older.generation == newer.generation {
            verdict.split_brains.push(SplitBrain {
                fault: Fault::SameGeneration,
                older: Box::new(older.clone()),
                newer: Box::new(newer.clone()),
                evidence: Vec::new(),
            });
        }
    }
    for (life, claim) in claims {
        let first = matches!(claim.deed, Deed::Claim { after: None, .. });
        if !first && !claims.iter().any(|(_, other)| follows(claim, other)) {
            let what = format!("{claim}: the claim of its predecessor is missing");
            verdict.damage.push(Damage { block: *life, what });
        }
    }
    debug_assert!(claims.iter().all(|(life, _)| *life < layout.lives));
}

/// Judges one life.
struct Judge<'a> {
    claim: &'a Record,
    /// The claims of its successors: one, unless two began at once.
    closers: Vec<&'a Record>,
    region: &'a Region,
    first_block: u32,
    /// Its last write.
    last: Option<Record>,
    verdict: &'a mut Verdict,
}

impl Judge<'_> {
    fn judge(mut self) {
        let own = |record: &&Record| record.deed == Deed::Write && record.boot == self.claim.boot;
        let journal = Place::all().filter(|place| matches!(place, Place::Journal { .. }));
        let written = journal.filter_map(|place| record_in(self.region.at(place))).filter(own);
        self.last = written.max_by_key(|record| record.counter).cloned();
        for place in Place::all() {
            match self.region.at(place) {
                Content::Empty => {}
                Content::Damaged(what) => self.damage(place, what.clone()),
                Content::Record(record) => self.judge_record(place, record),
            }
        }
        self.judge_late_writes();
        self.look_for_lost_writes();
        self.verdict.lives.push(Life { claim: self.claim.clone(), last: self.last });
    }

    fn block(&self, place: Place) -> u32 {
        self.first_block + place.block()
    }

    fn damage(&mut self, place: Place, what: String) {
        let block = self.block(place);
        self.verdict.damage.push(Damage { block, what });
    }

    /// Whether a record may be in this region at all, and at this place.
    fn judge_record(&mut self, place: Place, record: &Record) {
        let in_table = matches!(place, Place::Table { .. });
        match record.deed {
            Deed::Write if record.boot == self.claim.boot => {
                if place != Place::in_journal(record.counter) && place != Place::in_table(record.counter) {
                    self.damage(place, format!("{record} does not belong here"));
                }
            }
            Deed::Seal { .. } if in_table && self.closers.is_empty() => {
                let note = format!("a start on {} (boot {}) has not claimed", record.host, record.boot);
                if !self.verdict.notes.contains(&note) {
                    self.verdict.notes.push(note);
                }
            }
            Deed::Seal { .. } if in_table && self.closers.iter().any(|closer| closer.boot == record.boot) => {
            }
            _ => {
                let newer = if in_table { self.closers.first().copied() } else { None };
                let evidence = vec![Evidence { block: self.block(place), record: record.clone() }];
                self.split_brain(
                    Fault::Stranger,
                    record.clone(),
                    newer.unwrap_or(self.claim).clone(),
                    evidence,
                );
            }
        }
    }

    /// What arrived after a successor had looked.
    fn judge_late_writes(&mut self) {
        for closer in self.closers.clone() {
            let Some(saw) = closer.saw() else { continue };
            let late = |place: &Place, record: &Record| {
                let own = record.deed == Deed::Write && record.boot == self.claim.boot;
                own && (matches!(place, Place::Table { .. }) || !closer.has_seen(record.counter))
            };
            let records = Place::all().filter_map(|place| Some((place, record_in(self.region.at(place))?)));
            let mut evidence: Vec<_> = records
                .filter(|(place, record)| late(place, record))
                .map(|(place, record)| Evidence { block: self.block(place), record: record.clone() })
                .collect();
            evidence.sort_by_key(|late| late.record.counter);
            // One burst may have been in flight beyond the last that was seen. A life composes the next when it is done.
            let bursts_in_flight = saw.div_ceil(LANES) + 1;
            let fault = match evidence.last() {
                None => continue,
                Some(last) if last.record.counter > bursts_in_flight * LANES => Fault::WroteOn,
                Some(_) => Fault::LateWrite,
            };
            self.split_brain(fault, self.claim.clone(), closer.clone(), evidence);
        }
    }

    fn split_brain(&mut self, fault: Fault, older: Record, newer: Record, evidence: Vec<Evidence>) {
        let split_brain = SplitBrain { fault, older: Box::new(older), newer: Box::new(newer), evidence };
        self.verdict.split_brains.push(split_brain);
    }

    /// The last write says which must be there: bursts follow one another, each done before the next.
    fn look_for_lost_writes(&mut self) {
        let seen = self.closers.iter().filter_map(|closer| closer.saw()).max().unwrap_or(0);
        let last = self.last.as_ref().map_or(0, |last| last.counter).max(seen);
        if last == 0 {
            return;
        }
        for place in Place::all() {
            let Some(wanted) = self.wanted(place, burst_of(last)) else { continue };
            let lost = match self.region.at(place) {
                Content::Empty => format!("empty, but write {wanted} of {} was done", self.claim.host),
                Content::Record(record) if record.boot == self.claim.boot && record.counter < wanted => {
                    format!("{record}, but write {wanted} was done here later")
                }
                Content::Record(_) | Content::Damaged(_) => continue,
            };
            self.damage(place, lost);
        }
    }

    /// The record that must be at a place, given the last burst of which there is a trace. `None` where there may be any.
    fn wanted(&self, place: Place, last: u32) -> Option<u32> {
        let closed = !self.closers.is_empty();
        // While a life writes, its region is not read all at one instant: two bursts may be new in one part, and not in another.
        let slack = if closed { 0 } else { 1 };
        match place {
            Place::Journal { lane, row } => {
                let burst = last.checked_sub((last + ROWS - row) % ROWS)?;
                let counter = counter_of(burst, lane);
                let done = burst + slack < last || self.closers.iter().any(|closer| closer.has_seen(counter));
                done.then_some(counter)
            }
            Place::Table { .. } if closed => None,
            Place::Table { lane } => Some(counter_of(last.checked_sub(1 + slack)?, lane)),
        }
    }
}

#[cfg(test)]
mod tests;
