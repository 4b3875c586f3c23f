//! A guest on paper, step by step as `guest/guest.c` does it, so that each write can be held back, dropped, or come twice.

use super::*;
use crate::verdict::Outcome;

/// A write on its way to the disk.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) copy: usize,
    life: u32,
    /// `None`: the claim.
    pub(crate) place: Option<Place>,
    pub(crate) record: Record,
}

impl Request {
    pub(crate) fn land(&self, disk: &mut Picture) {
        let content = Content::Record(self.record.clone());
        let life = usize::try_from(self.life).unwrap();
        match self.place {
            Some(place) => disk.regions[life].put(place, content),
            None => disk.claims[life] = content,
        }
    }
}

/// A start of the guest.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    number: usize,
    pub(crate) generation: u32,
    pub(crate) predecessor: Option<(u32, Record)>,
    bursts: u32,
}

impl Copy {
    /// Step 1: reads all claims. Each copy has a region of its own, and a host.
    pub(crate) fn look(number: usize, disk: &Picture) -> Self {
        let claims =
            (0..).zip(&disk.claims).filter_map(|(life, claim)| Some((life, record_in(claim)?.clone())));
        let predecessor = claims.max_by_key(|(_, claim)| claim.generation);
        let generation = predecessor.as_ref().map_or(0, |(_, claim)| claim.generation) + 1;
        Self { number, generation, predecessor, bursts: 0 }
    }

    fn record(&self, deed: Deed, counter: u32) -> Record {
        Record {
            deed,
            generation: self.generation,
            boot: format!("boot-{}", self.number),
            host: format!("host-{}", self.number),
            counter,
            uptime_ms: 100 * self.bursts,
            at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn after(&self) -> Option<String> {
        self.predecessor.as_ref().map(|(_, claim)| claim.boot.clone())
    }

    /// Step 2.
    pub(crate) fn seals(&self) -> Vec<Request> {
        let Some((life, _)) = self.predecessor else { return Vec::new() };
        let record = self.record(Deed::Seal { after: self.after().unwrap() }, 0);
        let place = |lane| Some(Place::Table { lane });
        (0..LANES)
            .map(|lane| Request { copy: self.number, life, place: place(lane), record: record.clone() })
            .collect()
    }

    /// Steps 3 and 4.
    pub(crate) fn claim(&self, disk: &Picture) -> Request {
        let mut seen = Vec::new();
        if let Some((life, _)) = self.predecessor {
            let region = &disk.regions[usize::try_from(life).unwrap()];
            let journal = Place::all().filter(|place| matches!(place, Place::Journal { .. }));
            seen = journal
                .filter_map(|place| record_in(region.at(place)))
                .map(|record| record.counter)
                .collect();
        }
        let saw = seen.iter().copied().max().unwrap_or(0);
        let burst = if saw == 0 { 1..1 } else { counter_of(burst_of(saw), 0)..saw };
        let without = burst.filter(|counter| !seen.contains(counter)).collect();
        let record = self.record(Deed::Claim { after: self.after(), saw, without }, 0);
        Request { copy: self.number, life: u32::try_from(self.number).unwrap(), place: None, record }
    }

    /// Step 5: the next burst.
    pub(crate) fn burst(&mut self) -> Vec<Request> {
        let life = u32::try_from(self.number).unwrap();
        let counters = (0..LANES).map(|lane| counter_of(self.bursts, lane));
        let requests = counters
            .flat_map(|counter| {
                [Place::in_journal(counter), Place::in_table(counter)].map(|place| (counter, place))
            })
            .map(|(counter, place)| Request {
                copy: self.number,
                life,
                place: Some(place),
                record: self.record(Deed::Write, counter),
            })
            .collect();
        self.bursts += 1;
        requests
    }
}

pub(crate) fn land(requests: &[Request], disk: &mut Picture) {
    for request in requests {
        request.land(disk);
    }
}

pub(crate) fn empty_disk(lives: u32) -> Picture {
    let many = usize::try_from(lives).unwrap();
    Picture {
        layout: Layout { lives },
        claims: vec![Content::Empty; many],
        regions: vec![Region::empty(); many],
    }
}

/// A copy that has begun as it should.
fn begin(number: usize, disk: &mut Picture) -> Copy {
    let copy = Copy::look(number, disk);
    land(&copy.seals(), disk);
    copy.claim(disk).land(disk);
    copy
}

fn write(copy: &mut Copy, bursts: u32, disk: &mut Picture) {
    for _ in 0..bursts {
        land(&copy.burst(), disk);
    }
}

fn faults(disk: &Picture) -> Vec<Fault> {
    let verdict = check(disk);
    assert_eq!(verdict.damage, []);
    verdict.split_brains.iter().map(|split_brain| split_brain.fault).collect()
}

#[test]
fn one_life_after_another_is_no_split_brain() {
    let mut disk = empty_disk(4);
    for number in 0..3 {
        let mut copy = begin(number, &mut disk);
        write(&mut copy, 20 * u32::try_from(number).unwrap(), &mut disk);
        // Its last burst reaches the disk in part, while it lives: that is a host that lost its power.
        land(&copy.burst()[3..9], &mut disk);
    }
    let verdict = check(&disk);
    assert_eq!(verdict.outcome(), Outcome::Clean, "{verdict:?}");
    let lives: Vec<_> = verdict.lives.iter().map(|life| (life.claim.host.as_str(), life.writes())).collect();
    assert_eq!(lives, [("host-0", 5), ("host-1", 165), ("host-2", 325)]);
}

#[test]
fn a_copy_that_writes_on_after_its_successor_has_begun_is_caught() {
    let mut disk = empty_disk(4);
    let mut older = begin(0, &mut disk);
    write(&mut older, 5, &mut disk);
    let mut newer = begin(1, &mut disk);
    write(&mut older, 2, &mut disk);
    write(&mut newer, 90, &mut disk);
    let verdict = check(&disk);
    let split_brain = &verdict.split_brains[0];
    assert_eq!((split_brain.fault, verdict.outcome()), (Fault::WroteOn, Outcome::SplitBrain));
    assert_eq!((split_brain.older.host.as_str(), split_brain.newer.host.as_str()), ("host-0", "host-1"));
    assert_eq!(split_brain.evidence.len(), 8 + 8 + 8, "two rows of the journal, and the table");
    assert!(split_brain.to_string().contains("from write 41 to write 56"), "{split_brain}");
}

#[test]
fn a_single_late_write_of_the_dead_is_caught_however_long_the_next_life_lasts() {
    let mut disk = empty_disk(4);
    let mut older = begin(0, &mut disk);
    write(&mut older, 5, &mut disk);
    let in_flight = older.burst();
    let mut newer = begin(1, &mut disk);
    write(&mut newer, 3, &mut disk);
    for late in &in_flight {
        let mut disk = disk.clone();
        late.land(&mut disk);
        let mut newer = newer.clone();
        write(&mut newer, 200, &mut disk);
        let mut third = begin(2, &mut disk);
        write(&mut third, 30, &mut disk);
        assert_eq!(faults(&disk), [Fault::LateWrite], "{late:?}");
    }
}

#[test]
fn a_write_that_comes_again_is_caught_where_it_destroys_what_the_next_life_has_written() {
    let mut disk = empty_disk(4);
    let mut older = begin(0, &mut disk);
    let done = older.burst();
    land(&done, &mut disk);
    let mut newer = begin(1, &mut disk);
    write(&mut newer, 3, &mut disk);
    let again = done.iter().find(|request| matches!(request.place, Some(Place::Table { lane: 5 }))).unwrap();
    again.land(&mut disk);
    assert_eq!(faults(&disk), [Fault::LateWrite]);
}

#[test]
fn two_copies_that_start_at_once_are_caught() {
    let mut disk = empty_disk(4);
    let mut first = begin(0, &mut disk);
    write(&mut first, 5, &mut disk);
    let (one, other) = (Copy::look(1, &disk), Copy::look(2, &disk));
    for copy in [&one, &other] {
        land(&copy.seals(), &mut disk);
        copy.claim(&disk).land(&mut disk);
    }
    assert_eq!(faults(&disk), [Fault::SameGeneration]);
}

#[test]
fn a_late_seal_of_a_start_that_never_claimed_is_caught() {
    let mut disk = empty_disk(4);
    let mut first = begin(0, &mut disk);
    write(&mut first, 5, &mut disk);
    let unseen = Copy::look(1, &disk);
    let mut next = begin(2, &mut disk);
    write(&mut next, 5, &mut disk);
    unseen.seals()[7].land(&mut disk);
    assert_eq!(faults(&disk), [Fault::Stranger]);
}

#[test]
fn a_start_that_is_cut_short_before_its_claim_is_noted_and_no_fault() {
    let mut disk = empty_disk(4);
    let mut first = begin(0, &mut disk);
    write(&mut first, 5, &mut disk);
    land(&Copy::look(1, &disk).seals()[..5], &mut disk);
    let verdict = check(&disk);
    assert_eq!((verdict.outcome(), verdict.notes.len()), (Outcome::Clean, 1));
    begin(2, &mut disk);
    assert_eq!((faults(&disk), check(&disk).notes.len()), (Vec::new(), 0));
}

#[test]
fn a_torn_write_is_damage() {
    let mut disk = empty_disk(4);
    let mut copy = begin(0, &mut disk);
    write(&mut copy, 5, &mut disk);
    disk.regions[0].put(Place::in_journal(17), Content::Damaged("torn: …".into()));
    let verdict = check(&disk);
    assert_eq!((verdict.outcome(), verdict.damage.len()), (Outcome::Damaged, 1));
    assert!(verdict.damage[0].to_string().contains("torn"));
}

#[test]
fn a_zeroed_block_is_damage_wherever_it_is() {
    let mut disk = empty_disk(4);
    let mut copy = begin(0, &mut disk);
    write(&mut copy, 30, &mut disk);
    for place in [Place::in_journal(counter_of(25, 7)), Place::in_table(1)] {
        let mut disk = disk.clone();
        disk.regions[0].put(place, Content::Empty);
        let verdict = check(&disk);
        assert_eq!(verdict.outcome(), Outcome::Damaged, "{place:?}");
        assert!(verdict.damage[0].what.starts_with("empty"), "{verdict:?}");
    }
    disk.claims[0] = Content::Empty;
    assert_eq!(check(&disk).outcome(), Outcome::Damaged);
}

#[test]
fn a_write_that_was_seen_and_is_gone_is_damage() {
    let mut disk = empty_disk(4);
    let mut first = begin(0, &mut disk);
    write(&mut first, 30, &mut disk);
    let before = disk.regions[0].at(Place::in_journal(240)).clone();
    land(&first.burst(), &mut disk);
    begin(1, &mut disk);
    // A server that lost its cache: the place holds again what it held a round before.
    disk.regions[0].put(Place::in_journal(248), before);
    assert_eq!(check(&disk).outcome(), Outcome::Damaged);
    disk.claims[0] = Content::Empty;
    let verdict = check(&disk);
    assert!(
        verdict.damage.iter().any(|damage| damage.what.contains("predecessor is missing")),
        "{verdict:?}"
    );
}

mod chance;
