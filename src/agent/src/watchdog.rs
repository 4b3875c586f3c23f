//! The watchdog, as the main loop knows it: what the configuration wants, what the fencer answers, and what of it is in this
//! host's record. The device is the fencer's.

use std::time::Duration;

use leasefence_config::{Config, HasWatchdog, Watchdog as Wanted};
use leasefence_core::format::WatchdogClass;
use leasefence_core::terms::PET_INTERVAL;
use leasefence_core::time::Instant;
use leasefence_page::{DevicePath, Text, UNSEEN, WatchdogDevice, WatchdogReport, WatchdogWish};

/// The longest that a beginning agent waits for the fencer's answer. One of a release without a watchdog never answers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// Pets that are missed before somebody is told.
const MISSED: u32 = 4;

/// Wish, answer, and what was told.
#[derive(Debug)]
pub(crate) struct Watchdog {
    wish: WatchdogWish,
    /// The operator has seen it reset this machine.
    seen_to_reset: bool,
    /// When the wish was written first.
    asked: Option<Instant>,
    report: Option<WatchdogReport>,
    /// What the member was told, once there is one.
    told: Option<Option<HasWatchdog>>,
}

/// Whether the agent may begin, by the watchdog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// The fencer has not answered yet.
    Waiting,
    /// With this watchdog, or with none.
    Has(Option<HasWatchdog>),
    /// The fencer does not answer: what it says is open counts.
    Silent(Option<HasWatchdog>),
}

impl Watchdog {
    /// What `config` wants.
    pub(crate) fn new(config: &Config) -> Self {
        let device = match &config.watchdog {
            Wanted::None => WatchdogDevice::None,
            Wanted::Auto => WatchdogDevice::Auto,
            Wanted::Path(path) => WatchdogDevice::Path(DevicePath::cut(&path.to_string_lossy())),
        };
        let wish = WatchdogWish { device, timeout: config.watchdog_timeout() };
        Self { wish, seen_to_reset: config.watchdog_seen_to_reset, asked: None, report: None, told: None }
    }

    /// What is to be written into the page.
    pub(crate) fn wish(&self) -> &WatchdogWish {
        &self.wish
    }

    /// The wish lies in the page.
    pub(crate) fn asked(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    /// Takes what the fencer says.
    pub(crate) fn heard(&mut self, report: Option<&WatchdogReport>) {
        self.report = report.copied();
        if let Some(report) = self.report.as_mut().filter(|report| report.unseen) {
            if self.seen_to_reset {
                report.class = WatchdogClass::Hardware;
            } else {
                let between = if report.note.is_empty() { "" } else { "; " };
                report.note = Text::cut(&format!("{}{between}{UNSEEN}", report.note));
            }
        }
    }

    /// What the fencer said last.
    pub(crate) fn report(&self) -> WatchdogReport {
        self.report.unwrap_or_default()
    }

    fn is_answered(&self) -> bool {
        self.report.is_some_and(|report| report.wish == self.wish)
    }

    /// The device that would reset this host.
    pub(crate) fn has(&self) -> Option<HasWatchdog> {
        let report = self.report.filter(|report| report.open && report.class != WatchdogClass::None)?;
        Some(HasWatchdog { class: report.class, earliest: report.timeout, latest: report.holds() })
    }

    /// Whether the agent may begin; `others`: all else that it waits for is answered. A lease that is guarded is not renewed meanwhile: it waits `at_most` this long, if at all.
    pub(crate) fn answer(&self, now: Instant, at_most: Option<Duration>, others: bool) -> Answer {
        let waited = self.asked.map_or(Duration::ZERO, |asked| now.since_by_slower(asked));
        if self.is_answered() && others {
            Answer::Has(self.has())
        } else if waited >= at_most.map_or(ANSWERS_WITHIN, |most| most.min(ANSWERS_WITHIN)) {
            Answer::Silent(self.has())
        } else {
            Answer::Waiting
        }
    }

    /// The member was told of this watchdog: its record says so from now on.
    pub(crate) fn told(&mut self, watchdog: Option<HasWatchdog>) {
        self.told = Some(watchdog);
    }

    /// What the record says of it and is not so any more. The agent that begins again changes the record by the protocol's
    /// steps (PROTOCOL 5), with its lease going on.
    pub(crate) fn has_changed(&self) -> Option<String> {
        let told = self.told.filter(|told| self.is_answered() && *told != self.has())?;
        let words = |watchdog: Option<HasWatchdog>| {
            watchdog.map_or_else(
                || "none".to_owned(),
                |watchdog| format!("{} ({} s)", watchdog.class.as_str(), watchdog.latest.as_secs()),
            )
        };
        let note = self.report().note;
        let why = if note.is_empty() { String::new() } else { format!(", {note}") };
        Some(format!("the watchdog was {} and is {}{why}: beginning again", words(told), words(self.has())))
    }

    /// What an operator should know.
    pub(crate) fn warnings(&self, now: Instant) -> Vec<String> {
        let report = self.report();
        let mut warnings = Vec::new();
        let wanted = self.wish.device != WatchdogDevice::None;
        if self.told.is_some() && wanted && self.has().is_none() {
            let why =
                if self.report.is_none() { "the fencer says nothing of it" } else { report.note.as_str() };
            warnings.push(format!(
                "No watchdog would reset this host if its fencer could not end its domains: {why}"
            ));
        }
        if report.deferred {
            warnings.push(format!("The watchdog: {}.", report.note));
        }
        let age = now.since_by_faster(report.last_pet);
        if report.open && age > PET_INTERVAL * MISSED {
            let left = report.holds().saturating_sub(age).as_secs();
            let text = format!(
                "The watchdog was last petted {:.1} s ago: it resets this host within {left} s, unless the fencer may pet it again",
                age.as_secs_f64()
            );
            warnings.push(text);
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::default().plus(Duration::from_secs(seconds))
    }

    fn watchdog() -> Watchdog {
        let text = "cluster = \"lab\"\nlease = \"/lease\"\nwatchdog = \"/dev/watchdog7\"\n";
        Watchdog::new(&Config::parse(text, Path::new("leasefence.toml")).expect("it is complete"))
    }

    fn open(wish: WatchdogWish) -> WatchdogReport {
        WatchdogReport {
            wish,
            class: WatchdogClass::Soft,
            open: true,
            timeout: Duration::from_secs(5),
            last_pet: at(100),
            ..WatchdogReport::default()
        }
    }

    /// The record says what is so from its first write on: not `none` first, and never what an older wish had.
    #[test]
    fn the_agent_begins_once_its_wish_is_answered() {
        let mut watchdog = watchdog();
        watchdog.asked(at(100));
        assert_eq!(watchdog.answer(at(101), None, true), Answer::Waiting);
        let other = WatchdogWish { device: WatchdogDevice::Auto, ..*watchdog.wish() };
        watchdog.heard(Some(&open(other)));
        assert_eq!(watchdog.answer(at(104), None, true), Answer::Waiting, "it answers another wish");
        let has = Some(HasWatchdog::exact(WatchdogClass::Soft, Duration::from_secs(5)));
        assert_eq!(watchdog.answer(at(105), None, true), Answer::Silent(has), "what is open counts");
        let quarter = Some(Duration::from_secs(2));
        assert_eq!(watchdog.answer(at(101), quarter, true), Answer::Waiting);
        assert_eq!(watchdog.answer(at(102), quarter, true), Answer::Silent(has), "a lease is running out");
        watchdog.heard(Some(&open(*watchdog.wish())));
        assert_eq!(watchdog.answer(at(101), None, true), Answer::Has(has));
        assert_eq!(watchdog.answer(at(101), None, false), Answer::Waiting, "another answer is missing");
    }

    #[test]
    fn a_watchdog_that_is_lost_or_another_makes_the_agent_begin_again() {
        let mut watchdog = watchdog();
        watchdog.heard(Some(&open(*watchdog.wish())));
        assert_eq!(watchdog.has_changed(), None, "nobody was told yet");
        watchdog.told(watchdog.has());
        assert_eq!(watchdog.has_changed(), None);
        let lost = WatchdogReport { class: WatchdogClass::None, open: false, ..open(*watchdog.wish()) };
        watchdog.heard(Some(&lost));
        let said = watchdog.has_changed().expect("it is gone");
        assert!(said.contains("was soft (5 s) and is none"), "{said}");
        assert!(watchdog.warnings(at(100))[0].contains("No watchdog"));
        // A fencer that begins again has not answered yet.
        watchdog.heard(Some(&WatchdogReport::default()));
        assert_eq!(watchdog.has_changed(), None);
    }

    /// On some boards it never does, and peers start a dead host's domains by its class.
    #[test]
    fn what_must_be_seen_to_reset_counts_as_hardware_once_it_was() {
        let mut watchdog = watchdog();
        let report = WatchdogReport { unseen: true, ..open(*watchdog.wish()) };
        watchdog.heard(Some(&report));
        let class = |watchdog: &Watchdog| (watchdog.has().map(|has| has.class), watchdog.report().class);
        assert_eq!(class(&watchdog), (Some(WatchdogClass::Soft), WatchdogClass::Soft));
        assert!(watchdog.report().note.as_str().contains("watchdog_seen_to_reset"));
        watchdog.seen_to_reset = true;
        watchdog.heard(Some(&report));
        assert_eq!(class(&watchdog), (Some(WatchdogClass::Hardware), WatchdogClass::Hardware));
        assert!(watchdog.report().note.is_empty());
        // A word about one device is none about another.
        watchdog.heard(Some(&open(*watchdog.wish())));
        assert_eq!(class(&watchdog).0, Some(WatchdogClass::Soft));
    }

    #[test]
    fn missed_pets_are_said() {
        let mut watchdog = watchdog();
        watchdog.heard(Some(&open(*watchdog.wish())));
        assert!(watchdog.warnings(at(101)).is_empty());
        assert!(watchdog.warnings(at(103))[0].contains("resets this host within 2 s"));
    }
}
