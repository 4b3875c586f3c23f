//! What must be seen: a scenario's words for it.

use std::time::{Duration, SystemTime};

use leasefence_demo::story::{Event, Kind};
use leasefence_demo::wait;
use leasefence_demo::witness::Sight;

use super::Stage;
use crate::cluster::{LEASE_TTL, PATIENCE};
use crate::machine::hypervisors;
use crate::resets::By;
use crate::scenario::Failure;

/// How much two machines' clocks, as they were compared when the scenario began, may be wrong together.
const CLOCK_ERROR: Duration = Duration::from_secs(1);

impl Stage<'_> {
    /// Waits for verdicts on both other hosts and for the guest's first write on one of them.
    ///
    /// # Errors
    /// When one does not come.
    pub fn sees_takeover(&mut self) -> Result<(), Failure> {
        self.sees_verdicts()?;
        self.sees_guest_elsewhere()
    }

    /// Waits until both others say that the victim is gone.
    ///
    /// # Errors
    /// When one does not.
    pub fn sees_verdicts(&mut self) -> Result<(), Failure> {
        for observer in self.observers.clone() {
            let what = format!("{observer} to say that {} is gone", self.victim);
            let (at, evidence) = self.cluster.look(&what, PATIENCE, || self.verdict_of(observer))?;
            self.story.enter(
                at,
                observer,
                Kind::Verdict,
                format!("verdict: {} is gone, {evidence}", self.victim),
            );
            self.evidence.push((observer, evidence));
        }
        let renewal = self.renewal(self.victim)?;
        if renewal.generation == self.generation_before(self.victim) {
            let at = self.clocks.here(self.victim, Duration::from_nanos(renewal.wall_ns));
            self.story.enter(at, self.victim, Kind::LastRenewal, "last renewal");
            self.story.enter(at + LEASE_TTL, self.victim, Kind::LeaseEnd, "its lease ends");
        }
        self.sees_no_haste()
    }

    /// What a host has decided of a kind since the scenario began, oldest first.
    fn decided(&self, host: &'static str, event: &str) -> Result<Vec<(SystemTime, String)>, Failure> {
        let decisions = self.cluster.status(host)?.decisions.into_iter();
        let of_kind = decisions.filter(|decision| decision.event == event);
        let timed = of_kind.map(|decision| {
            (self.clocks.here(host, Duration::from_millis(decision.at_unix_ms)), decision.text)
        });
        Ok(timed.filter(|(at, _)| *at >= self.start).collect())
    }

    /// When a host said that the victim is gone, and by which evidence. Its decisions keep that; its answer of now is about the
    /// incarnation of now.
    fn verdict_of(&self, observer: &'static str) -> Option<(SystemTime, String)> {
        let prefix = format!("{} (", self.victim);
        self.decided(observer, "verdict").ok()?.into_iter().find_map(|(at, text)| {
            let (_, evidence) = text.split_once(" is gone: ").filter(|_| text.starts_with(&prefix))?;
            Some((at, evidence.split(';').next()?.to_owned()))
        })
    }

    /// Nobody says that a lease is over by its time before that has passed since the last renewal, unless it was shortened.
    fn sees_no_haste(&self) -> Result<(), Failure> {
        let takeover = self.story.between(Kind::LastRenewal, Kind::Verdict);
        let due = self.verdict_after;
        let expired = self.evidence.iter().any(|(_, evidence)| evidence == "expired");
        match takeover {
            Some(takeover) if expired && !self.fence_asked && takeover + CLOCK_ERROR < due => {
                Err(Failure::Unmet(format!(
                    "{} was said to be gone {takeover:?} after its last renewal, due is {due:?}",
                    self.victim
                )))
            }
            _ => Ok(()),
        }
    }

    /// Both others say that the victim is gone by this evidence, and no other.
    ///
    /// # Errors
    /// When they know it by another.
    pub fn sees_evidence(&self, wanted: &str) -> Result<(), Failure> {
        for (observer, evidence) in &self.evidence {
            if evidence != wanted {
                return Err(Failure::Evidence(format!(
                    "{} is {evidence} to {observer}, not {wanted}",
                    self.victim
                )));
            }
        }
        Ok(())
    }

    /// Waits for the guest's first write on another host, and takes over what the witness saw of it.
    ///
    /// # Errors
    /// When it does not come.
    pub fn sees_guest_elsewhere(&mut self) -> Result<(), Failure> {
        let victim = self.victim;
        let elsewhere = |sight: &Sight| matches!(sight, Sight::Write(record) if record.host != victim && record.counter == 1);
        let first = || self.witness.since(self.start).into_iter().find(|(_, sight)| elsewhere(sight));
        self.cluster.look("the guest's first write on another host", PATIENCE, first)?;
        for (at, sight) in self.witness.since(self.start) {
            self.enter_sight(at, &sight);
        }
        let won = self.leases_won()?;
        self.story.events.extend(won);
        self.story.events.sort_by_key(|event| (event.at, event.kind));
        Ok(())
    }

    fn enter_sight(&mut self, at: SystemTime, sight: &Sight) {
        match sight {
            Sight::Ended(host) if host == self.victim => {
                self.story.enter(at, host, Kind::GuestKilled, "the guest's process is gone");
            }
            Sight::Started(host) if host != self.victim => {
                self.story.enter(at, host, Kind::GuestStarted, "the guest's new process");
            }
            Sight::Write(record) if record.host != self.victim && record.counter == 1 => {
                let text = format!("the guest's first write, in its generation {}", record.generation);
                self.story.enter(at, &record.host, Kind::FirstWrite, text);
            }
            _ => {}
        }
    }

    /// What the agents themselves say about the guest's lease.
    fn leases_won(&self) -> Result<Vec<Event>, Failure> {
        let mut won = Vec::new();
        for observer in &self.observers {
            for (at, text) in self.decided(observer, "lease")? {
                if text.contains("is owned here") {
                    let host = (*observer).to_owned();
                    won.push(Event { at, host, kind: Kind::LeaseWon, text: "wins the guest's lease".into() });
                }
            }
        }
        Ok(won)
    }

    /// Waits until the victim is reset by what `by` says, without anybody's help: before the end of its lease and its budget.
    ///
    /// # Errors
    /// When it is not, or too late, or by something else.
    pub fn sees_reset(&mut self, by: By) -> Result<(), Failure> {
        let victim = self.victim;
        let first = || self.resets().into_iter().find(|reset| reset.host == victim);
        let reset = self.cluster.look(&format!("{victim} to be reset"), PATIENCE, first)?;
        self.story.enter(reset.at, victim, Kind::GuestKilled, format!("the host is reset by {}", reset.by));
        if reset.by != by {
            return Err(Failure::Unmet(format!("{victim} was to be reset by {by}; it was by {}", reset.by)));
        }
        let renewal = self.renewal(victim)?;
        let last = self.clocks.here(victim, Duration::from_nanos(renewal.wall_ns));
        let took = reset.at.duration_since(last).unwrap_or_default();
        let due = self.over_after;
        if renewal.generation == self.generation_before(victim) && took > due + CLOCK_ERROR {
            return Err(Failure::Unmet(format!(
                "{victim} was reset {took:?} after its last renewal, due was {due:?} at the latest"
            )));
        }
        Ok(())
    }

    /// Waits until the victim's watchdog is of this class.
    ///
    /// # Errors
    /// When it does not come to be.
    pub fn sees_watched(&self, class: &str) -> Result<(), Failure> {
        Ok(self.cluster.wait_until_watched(self.victim, class)?)
    }

    /// No hypervisor was reset since the scenario began.
    ///
    /// # Errors
    /// When one was.
    pub fn sees_no_reset(&self) -> Result<(), Failure> {
        match self.resets().first() {
            None => Ok(()),
            Some(reset) => Err(Failure::Unmet(format!("{} was reset by {}", reset.host, reset.by))),
        }
    }

    /// Waits until the victim holds a lease under a higher generation.
    ///
    /// # Errors
    /// When it does not.
    pub fn sees_return(&mut self) -> Result<(), Failure> {
        let (victim, before) = (self.victim, self.generation_before(self.victim));
        self.wait_until_up(victim)?;
        let held = self.cluster.wait_until_held(victim, before)?;
        let how = match self.resets().iter().any(|reset| reset.host == victim && reset.by == By::Watchdog) {
            _ if held.rebooted => ", after the reboot that its status asked for",
            true => ", after its watchdog has reset it",
            false => "",
        };
        let text = format!("holds a lease again, in generation {} (it was {before}){how}", held.generation);
        self.note(Kind::Rejoined, text);
        Ok(())
    }

    /// Waits for half a ttl; then nobody may have been fenced: each host holds its lease under the same generation and has
    /// renewed it in that time, and the guest has gone on writing on the victim in the same life. Call it when what was done is
    /// undone: a host that has renewed since is out of danger.
    ///
    /// # Errors
    /// When somebody was fenced.
    pub fn sees_nobody_fenced(&mut self) -> Result<(), Failure> {
        wait::pause(LEASE_TTL / 2)?;
        self.sees_no_reset()?;
        for host in hypervisors() {
            let own = self.cluster.status(host)?.own;
            if own.state != "held" {
                return Err(Failure::Unmet(format!("{host} was to keep its lease; it is {}", own.state)));
            }
            let age = own.last_renewal_age_ms.map(Duration::from_millis);
            if age.is_none_or(|age| age >= LEASE_TTL / 2) {
                return Err(Failure::Unmet(format!(
                    "{host} was to renew its lease; it last did {age:?} ago"
                )));
            }
            let before = self.generation_before(host);
            if own.generation != Some(before) {
                let text = format!("{host} was fenced: generation {before} and now {:?}", own.generation);
                return Err(Failure::Unmet(text));
            }
        }
        self.sees_guest_unharmed()
    }

    /// The guest has written within the last seconds, on the victim, in the life in which it began.
    ///
    /// # Errors
    /// When it has not.
    pub fn sees_guest_unharmed(&mut self) -> Result<(), Failure> {
        let mut lives: Vec<String> = Vec::new();
        let mut last = None;
        for (at, sight) in self.witness.since(self.guest_since) {
            if let Sight::Write(record) = sight {
                if !lives.contains(&record.boot) {
                    lives.push(record.boot);
                }
                last = Some(at);
            }
        }
        let fresh = last.is_some_and(|at| at.elapsed().unwrap_or_default() < LEASE_TTL / 2);
        match lives.len() {
            1 if fresh => Ok(()),
            1 => Err(Failure::Unmet("the guest writes no more".into())),
            0 => Err(Failure::Unmet("the guest has not written".into())),
            more => Err(Failure::Unmet(format!("the guest was restarted: {more} lives"))),
        }
    }

    /// The storage was slow, and no host has made its connection anew for that.
    ///
    /// # Errors
    /// When one has.
    pub fn sees_connections_left_alone(&self) -> Result<(), Failure> {
        for host in hypervisors() {
            if let Some((_, text)) = self.decided(host, "connection")?.first() {
                return Err(Failure::Unmet(format!("{host}: {text}")));
            }
        }
        Ok(())
    }

    /// Waits until all three hosts hold a lease under a higher generation: each was fenced. The guest's process ended on the
    /// victim, and the guest runs on one host.
    ///
    /// # Errors
    /// When it is not so.
    pub fn sees_all_return(&mut self) -> Result<(), Failure> {
        hypervisors().try_for_each(|host| self.wait_until_up(host))?;
        let rebooted = self.cluster.wait_until_all_held(|host| self.generation_before(host))?;
        let text = format!(
            "all three were fenced and hold their leases again; {} were reset by their watchdogs, {rebooted} took the reboot that \
             their status asked for",
            self.resets().iter().filter(|reset| reset.by == By::Watchdog).count()
        );
        self.note(Kind::Rejoined, text);
        self.sees_guest_ended()?;
        self.sees_guest_on_one_host()
    }

    /// The guest's process on the victim has ended since the scenario began.
    ///
    /// # Errors
    /// When that was not seen.
    pub fn sees_guest_ended(&self) -> Result<(), Failure> {
        let ended = |(_, sight): &(_, Sight)| matches!(sight, Sight::Ended(host) if host == self.victim);
        match self.seen().iter().any(ended) {
            true => Ok(()),
            false => {
                Err(Failure::Unmet(format!("the guest's process on {} was not seen to end", self.victim)))
            }
        }
    }

    /// Waits until all three hosts hold a lease.
    ///
    /// # Errors
    /// When one does not.
    pub fn sees_all_held(&mut self) -> Result<(), Failure> {
        hypervisors().try_for_each(|host| self.wait_until_up(host))?;
        let rebooted = self.cluster.wait_until_all_held(|_| 0)?;
        let text =
            format!("all three hold their leases; {rebooted} took the reboot that their status asked for");
        self.note(Kind::Rejoined, text);
        Ok(())
    }

    /// Waits until the guest writes again, wherever it runs, on one host alone.
    ///
    /// # Errors
    /// When it does not, or runs twice.
    pub fn sees_guest_on_one_host(&mut self) -> Result<(), Failure> {
        let since = SystemTime::now();
        let writes = || {
            let seen = self.witness.since(since);
            seen.into_iter().find_map(|(at, sight)| match sight {
                Sight::Write(record) => Some((at, record)),
                _ => None,
            })
        };
        let (at, record) = self.cluster.look("the guest to write again", PATIENCE, writes)?;
        let text = format!("the guest writes, in its generation {}", record.generation);
        self.story.enter(at, &record.host, Kind::FirstWrite, text);
        let runners = self.cluster.runners()?;
        match runners.len() {
            1 => Ok(()),
            _ => Err(Failure::Unmet(format!("the guest runs on {runners:?}"))),
        }
    }
}
