//! Copies that start, stall, die and come back by chance, with writes that arrive whenever they like. Who wrote too late is
//! kept beside the disk; the checker, who has only the disk, must say the same.

use super::*;

/// Seeds tried.
const SEEDS: u64 = 1000;

/// What is known of a copy, and nobody can see from the disk.
struct Known {
    copy: Copy,
    /// Its next step; writes that are not done hold it up.
    step: Step,
    alive: bool,
    in_flight: Vec<Request>,
    done: Vec<Request>,
    /// When it read its predecessor's journal: how many writes had landed by then.
    read_at: Option<usize>,
    claimed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Seal,
    Claim,
    Write,
}

struct World {
    random: fastrand::Rng,
    disk: Picture,
    copies: Vec<Known>,
    /// Each write that changed the disk, oldest first.
    landed: Vec<Request>,
}

impl World {
    fn new(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { random, disk: empty_disk(8), copies: Vec::new(), landed: Vec::new() }
    }

    fn start(&mut self) {
        if self.copies.len() < 6 {
            let copy = Copy::look(self.copies.len(), &self.disk);
            let (step, in_flight, done) = (Step::Seal, Vec::new(), Vec::new());
            self.copies.push(Known {
                copy,
                step,
                alive: true,
                in_flight,
                done,
                read_at: None,
                claimed: false,
            });
        }
    }

    /// A copy takes its next step, if its last one is done.
    fn advance(&mut self, number: usize) {
        let known = &mut self.copies[number];
        if !known.alive || !known.in_flight.is_empty() {
            return;
        }
        (known.in_flight, known.step) = match known.step {
            Step::Seal => (known.copy.seals(), Step::Claim),
            Step::Claim => {
                known.read_at = Some(self.landed.len());
                (vec![known.copy.claim(&self.disk)], Step::Write)
            }
            Step::Write => (known.copy.burst(), Step::Write),
        };
        known.done.clear();
    }

    fn land_one(&mut self, number: usize) {
        let known = &mut self.copies[number];
        if known.in_flight.is_empty() {
            return;
        }
        let request = known.in_flight.swap_remove(self.random.usize(..known.in_flight.len()));
        known.claimed |= request.place.is_none();
        request.land(&mut self.disk);
        self.landed.push(request.clone());
        known.done.push(request);
    }

    /// A write of the application comes a second time.
    fn land_again(&mut self, number: usize) {
        let again = self.random.choice(self.copies[number].done.iter()).cloned();
        if let Some(request) = again.filter(|request| request.record.deed == Deed::Write) {
            let before = self.disk.clone();
            request.land(&mut self.disk);
            if before != self.disk {
                self.landed.push(request);
            }
        }
    }

    /// Anything goes.
    fn disorder(&mut self) {
        for _ in 0..self.random.usize(20..400) {
            if self.copies.is_empty() || self.random.u8(..) < 3 {
                self.start();
            }
            let number = self.random.usize(..self.copies.len());
            match self.random.u8(..100) {
                0..40 => self.land_one(number),
                40..50 => (0..20).for_each(|_| self.land_one(number)),
                50..98 => self.advance(number),
                98 => self.copies[number].alive = false,
                _ => self.land_again(number),
            }
        }
    }

    /// A copy starts when the one before is dead and its writes are drained: some have arrived, the others never will.
    fn order(&mut self) {
        for _ in 0..self.random.usize(1..6) {
            self.start();
            let number = self.copies.len() - 1;
            for _ in 0..self.random.usize(..800) {
                if self.random.bool() { self.land_one(number) } else { self.advance(number) }
            }
            self.copies[number].alive = false;
            self.copies[number].in_flight.clear();
        }
    }

    /// Whether two lives began unseen by one another, or any write came too late.
    fn is_split_brain(&self) -> bool {
        let claimed: Vec<_> = self.copies.iter().filter(|known| known.claimed).collect();
        let twins = claimed.iter().any(|one| {
            let twin = |other: &&&Known| {
                other.copy.number != one.copy.number && other.copy.generation == one.copy.generation
            };
            claimed.iter().any(|other| twin(&other))
        });
        let late =
            |(at, request): (usize, &Request)| claimed.iter().any(|next| self.is_late(at, request, next));
        twins || self.landed.iter().enumerate().any(late)
    }

    /// Whether a write reached the table after the next life had sealed this page of it, or the journal after it had read it.
    fn is_late(&self, at: usize, request: &Request, next: &Known) -> bool {
        let writer = &self.copies[request.copy];
        let concerns = match request.record.deed {
            Deed::Write => next.copy.after().as_ref() == Some(&request.record.boot),
            Deed::Seal { .. } => next.copy.number != request.copy && next.copy.after() == writer.copy.after(),
            Deed::Claim { .. } => false,
        };
        let sealed = || {
            let is_seal = |other: &Request| {
                matches!(other.record.deed, Deed::Seal { .. }) && other.place == request.place
            };
            self.landed[..at].iter().any(|other| other.copy == next.copy.number && is_seal(other))
        };
        let in_table = matches!(request.place, Some(Place::Table { .. }));
        concerns && if in_table { sealed() } else { next.read_at.is_some_and(|read_at| read_at <= at) }
    }
}

#[test]
fn the_disk_shows_every_late_write_and_no_other() {
    let (mut split, mut clean) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        world.disorder();
        let verdict = check(&world.disk);
        let seen = verdict.outcome() == Outcome::SplitBrain;
        assert_eq!(seen, world.is_split_brain(), "seed {seed}: {verdict:#?}");
        assert_eq!(verdict.damage, [], "seed {seed}");
        *(if seen { &mut split } else { &mut clean }) += 1;
    }
    assert!(split > SEEDS / 10 && clean > SEEDS / 10, "{split} with and {clean} without a second writer");
}

#[test]
fn lives_in_order_are_clean() {
    for seed in 0..SEEDS / 10 {
        let mut world = World::new(seed);
        world.order();
        assert!(!world.is_split_brain());
        let verdict = check(&world.disk);
        assert_eq!(verdict.outcome(), Outcome::Clean, "seed {seed}: {verdict:#?}");
    }
}
