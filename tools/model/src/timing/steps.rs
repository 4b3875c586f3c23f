//! What may happen next in the whole, and what becomes of it.

use std::time::Duration;

use leasefence_core::format::RecordCopy;

use super::disk::{Disk, Sector, index};
use super::observer::{Look, Observer};
use super::rules::{May, Rules};
use super::victim::{Act, Guests, Victim};
use crate::part::{Known, Part};
use crate::relative::{Sequences, age};

/// A state.
#[derive(Clone, Hash)]
pub(crate) struct State {
    pub(crate) victim: Part<Victim>,
    pub(crate) observer: Part<Observer>,
    pub(crate) disk: Part<Disk>,
    pub(crate) may: May,
}

/// A step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// A tick passes on all clocks.
    Tick,
    /// A tick passes, and the victim's `CLOCK_BOOTTIME` is slewed so that it stands still.
    TickSlewed,
    /// The observer's clocks gain a tick.
    Drift,
    /// The observer's `CLOCK_BOOTTIME` is slewed ahead by a tick.
    SlewObserver,
    /// A copy of the record becomes unreadable.
    Damage(RecordCopy),
    /// Something happens on the victim, or to its writes.
    Victim(Act),
    /// The observer does something.
    Observer(Look),
}

impl State {
    /// All that may happen.
    pub(crate) fn steps(&self, rules: &Rules, steps: &mut Vec<Step>) {
        if !rules.to_the_end && self.victim.guests == Guests::Gone {
            return;
        }
        let may = &self.may;
        if !self.victim.is_due(rules) {
            steps.push(Step::Tick);
            steps.extend((may.slew > 0).then_some(Step::TickSlewed));
        }
        let mut acts = Vec::new();
        self.victim.acts(rules, may, &mut acts);
        steps.extend(acts.into_iter().map(Step::Victim));
        let mut looks = Vec::new();
        self.observer.looks(rules, &mut looks);
        looks.extend((may.restart_observer > 0).then_some(Look::Restart));
        looks.extend((may.freeze > 0 && !self.observer.is_frozen()).then_some(Look::Freeze));
        steps.extend(looks.into_iter().map(Step::Observer));
        steps.extend((may.drift > 0).then_some(Step::Drift));
        steps.extend((may.slew > 0).then_some(Step::SlewObserver));
        if may.damage > 0 {
            let whole = |copy: &RecordCopy| self.disk.0[index(*copy)] != Sector::Damaged;
            steps.extend(RecordCopy::BOTH.into_iter().filter(whole).map(Step::Damage));
        }
    }

    /// The state after a step, in canonical form.
    pub(crate) fn after(&self, step: Step, rules: &Rules, known: &Memory) -> Self {
        self.after_as_told(step, rules, known).canonical(known)
    }

    /// The same without new numbers for the writes.
    pub(crate) fn after_as_told(&self, step: Step, rules: &Rules, known: &Memory) -> Self {
        let mut state = self.clone();
        state.may.spend(step);
        match step {
            Step::Tick => state.pass(rules, rules.tick, known),
            Step::TickSlewed => state.pass(rules, Duration::ZERO, known),
            Step::Drift => state.age_observer(rules, rules.tick, rules.tick, known),
            Step::SlewObserver => state.age_observer(rules, rules.tick, Duration::ZERO, known),
            Step::Damage(copy) => {
                state.disk = state.disk.changed(|disk| disk.0[index(copy)] = Sector::Damaged);
            }
            Step::Victim(act) => {
                let key = (state.victim.print(), state.disk.print(), act);
                (state.victim, state.disk) = known.acts.or_find(key, || {
                    let mut disk = *self.disk;
                    let victim = self.victim.changed(|victim| victim.take(act, &mut disk, rules));
                    (victim, Part::new(disk))
                });
            }
            Step::Observer(look) => {
                let key = (state.observer.print(), state.disk.print(), look);
                let take = || self.observer.changed(|observer| observer.take(look, &self.disk, rules));
                state.observer = known.looks.or_find(key, take);
            }
        }
        state
    }

    /// A tick passes, `boot` of it on the victim's `CLOCK_BOOTTIME`.
    fn pass(&mut self, rules: &Rules, boot: Duration, known: &Memory) {
        self.victim = known.ticks.or_find((self.victim.print(), boot), || {
            self.victim.changed(|victim| {
                age(victim, boot, rules.tick, rules.victims_horizon());
                victim.tick(rules);
            })
        });
        self.age_observer(rules, rules.tick, rules.tick, known);
    }

    fn age_observer(&mut self, rules: &Rules, boot: Duration, raw: Duration, known: &Memory) {
        self.observer = known.ages.or_find((self.observer.print(), boot, raw), || {
            self.observer.changed(|observer| {
                age(observer, boot, raw, rules.observers_horizon());
                observer.give_up_when_slow(rules);
            })
        });
    }

    fn canonical(self, known: &Memory) -> Self {
        let Self { victim, observer, disk, may } = self;
        let parts = [victim.sequences(), observer.sequences(), disk.sequences()];
        match Sequences::renumber(parts) {
            None => Self { victim, observer, disk, may },
            Some(numbers) => Self {
                victim: victim.renumbered(&numbers, &known.victims),
                observer: observer.renumbered(&numbers, &known.observers),
                disk: disk.renumbered(&numbers, &known.disks),
                may,
            },
        }
    }
}

/// What became of parts before.
#[derive(Default)]
pub(crate) struct Memory {
    acts: Known<(Part<Victim>, Part<Disk>)>,
    looks: Known<Part<Observer>>,
    ticks: Known<Part<Victim>>,
    ages: Known<Part<Observer>>,
    victims: Known<Part<Victim>>,
    observers: Known<Part<Observer>>,
    disks: Known<Part<Disk>>,
}

impl May {
    /// What a step takes from it.
    fn spend(&mut self, step: Step) {
        let spent = match step {
            Step::TickSlewed | Step::SlewObserver => &mut self.slew,
            Step::Drift => &mut self.drift,
            Step::Damage(_) => &mut self.damage,
            Step::Victim(Act::TimeOut) => &mut self.time_out,
            Step::Victim(Act::Lose) => &mut self.lose,
            Step::Victim(Act::ReadFails) => &mut self.fail_read_back,
            Step::Victim(Act::Crash) => &mut self.crash,
            Step::Victim(Act::Start { other_ttl: true }) => &mut self.change,
            Step::Victim(Act::Ask) => &mut self.ask,
            Step::Victim(Act::Hang) => &mut self.hang,
            Step::Victim(Act::Pause) => &mut self.pause,
            Step::Observer(Look::Freeze) => &mut self.freeze,
            Step::Observer(Look::Restart) => &mut self.restart_observer,
            Step::Tick | Step::Victim(_) | Step::Observer(_) => return,
        };
        *spent -= 1;
    }
}
