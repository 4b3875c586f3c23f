//! What happened, on one axis of time: this machine's wall clock. (The hosts' own clocks differ by design, and Leasefence
//! never compares them. Wall time is the one clock that a time namespace does not bend.)

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::witness::{Seen, Sight};

/// A kind of event, in the order in which a failover goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// The victim's last renewal: measured times count from here.
    LastRenewal,
    /// What the demo did to the victim.
    Fault,
    /// The end of the victim's lease.
    LeaseEnd,
    /// The victim's guest is gone.
    GuestKilled,
    /// A peer could say that the victim is gone.
    Verdict,
    /// A peer has won the guest's lease.
    LeaseWon,
    /// The guest's new process.
    GuestStarted,
    /// The guest's first write since.
    FirstWrite,
    /// The demo took back what it had done.
    Mended,
    /// The victim holds a lease again.
    Rejoined,
}

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// On which host.
    pub host: String,
    /// What kind.
    pub kind: Kind,
    /// In words.
    pub text: String,
}

/// A measured failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Story {
    /// Its letter.
    pub letter: char,
    /// What is done, in a sentence.
    pub title: String,
    /// All hosts by name.
    pub hosts: Vec<String>,
    /// The host it is done to.
    pub victim: String,
    /// What happened, oldest first.
    pub events: Vec<Event>,
    /// What the witness saw meanwhile.
    pub seen: Vec<Seen>,
    /// The longest stall of storage that a host survives: ttl less one renewal.
    pub stall_survived: Duration,
    /// The judge's sentence on the disk's log.
    pub judgement: String,
}

impl Story {
    /// Enters an event at its place in time.
    pub fn enter(&mut self, at: SystemTime, host: &str, kind: Kind, text: impl Into<String>) {
        let event = Event { at, host: host.into(), kind, text: text.into() };
        let place = self.events.partition_point(|other| (other.at, other.kind) <= (event.at, event.kind));
        self.events.insert(place, event);
    }

    /// The first event of a kind.
    #[must_use]
    pub fn at(&self, kind: Kind) -> Option<SystemTime> {
        self.events.iter().find(|event| event.kind == kind).map(|event| event.at)
    }

    /// The zero of the story's time: the last renewal, or the first event.
    #[must_use]
    pub fn zero(&self) -> SystemTime {
        self.at(Kind::LastRenewal).or_else(|| self.events.first().map(|event| event.at)).unwrap_or(UNIX_EPOCH)
    }

    /// Time from one kind of event to another.
    #[must_use]
    pub fn between(&self, from: Kind, to: Kind) -> Option<Duration> {
        self.at(to)?.duration_since(self.at(from)?).ok()
    }

    /// How long the guest did not write.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        let first = self.at(Kind::FirstWrite)?;
        let last = self.writes().take_while(|at| *at < first).last()?;
        first.duration_since(last).ok()
    }

    /// The longest time between two writes that were seen one after the other.
    #[must_use]
    pub fn longest_silence(&self) -> Option<Duration> {
        self.writes().zip(self.writes().skip(1)).filter_map(|(one, next)| next.duration_since(one).ok()).max()
    }

    /// When each write was seen.
    fn writes(&self) -> impl Iterator<Item = SystemTime> {
        self.seen.iter().filter(|(_, sight)| matches!(sight, Sight::Write(_))).map(|(at, _)| *at)
    }
}

/// The story as a table of its events, and its figures.
impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.events {
            let since = signed_seconds(event.at, self.zero());
            writeln!(f, "    {}  {since:>8}  {:<7} {}", clock(event.at), event.host, event.text)?;
        }
        writeln!(f)?;
        if let Some(takeover) = self.between(Kind::LastRenewal, Kind::Verdict) {
            writeln!(f, "    {}", figure_of_merit(takeover, self.stall_survived))?;
        } else if let Some(proof) = self.between(Kind::Fault, Kind::Verdict) {
            writeln!(f, "    from request to proof: {}", seconds(proof))?;
        }
        if let Some(silence) = self.silence() {
            writeln!(f, "    the guest was silent for {}", seconds(silence))?;
        }
        write!(f, "    the disk's log: {}", self.judgement)
    }
}

fn figure_of_merit(takeover: Duration, survived: Duration) -> String {
    format!(
        "takeover {} (last renewal to verdict) / stall survived {} = {:.2}; dead time {}",
        seconds(takeover),
        seconds(survived),
        takeover.as_secs_f64() / survived.as_secs_f64(),
        seconds(takeover.saturating_sub(survived)),
    )
}

/// Seconds with the digits that were measured.
#[must_use]
pub fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Seconds from `zero` to `at`, with their sign.
#[must_use]
pub fn signed_seconds(at: SystemTime, zero: SystemTime) -> String {
    match at.duration_since(zero) {
        Ok(after) => format!("+{:.2} s", after.as_secs_f64()),
        Err(error) => format!("-{:.2} s", error.duration().as_secs_f64()),
    }
}

/// The time of day in UTC.
#[must_use]
pub fn clock(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let day = since.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}.{:03}", day / 3600, day / 60 % 60, day % 60, since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(43_200 + seconds)
    }

    fn story() -> Story {
        let mut story = Story {
            letter: 'a',
            title: "host-1 loses its power".into(),
            hosts: vec!["host-1".into(), "host-2".into()],
            victim: "host-1".into(),
            events: Vec::new(),
            seen: Vec::new(),
            stall_survived: Duration::from_millis(7500),
            judgement: "one writer at a time".into(),
        };
        story.enter(at(12), "host-2", Kind::Verdict, "host-1 is gone");
        story.enter(at(0), "host-1", Kind::LastRenewal, "last renewal");
        story.enter(at(1), "host-1", Kind::Fault, "power cut");
        story
    }

    #[test]
    fn events_stand_in_the_order_of_time_and_count_from_the_last_renewal() {
        let text = story().to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0].trim(), "12:00:00.000   +0.00 s  host-1  last renewal");
        assert_eq!(lines[2].trim(), "12:00:12.000  +12.00 s  host-2  host-1 is gone");
    }

    #[test]
    fn the_figure_of_merit_is_takeover_over_stall_survived() {
        assert!(story().to_string().contains("/ stall survived 7.50 s = 1.60; dead time 4.50 s"));
    }
}
