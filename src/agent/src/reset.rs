//! This host's own reset, as the main loop knows it: what the configuration wants, what the fencer answers, and what of it is
//! in this host's record. The trigger is the fencer's.

use leasefence_config::{Config, Reset as Wanted};
use leasefence_page::{ResetReport, ResetWish};

/// Wish, answer, and what was told.
#[derive(Debug)]
pub(crate) struct Reset {
    wish: ResetWish,
    report: Option<ResetReport>,
    /// What the member was told, once there is one.
    told: Option<bool>,
}

impl Reset {
    /// What `config` wants.
    pub(crate) fn new(config: &Config) -> Self {
        Self { wish: ResetWish { on: config.fence.reset == Wanted::On }, report: None, told: None }
    }

    /// What is to be written into the page.
    pub(crate) fn wish(&self) -> &ResetWish {
        &self.wish
    }

    /// Takes what the fencer says.
    pub(crate) fn heard(&mut self, report: Option<ResetReport>) {
        self.report = report;
    }

    /// What the fencer said last.
    pub(crate) fn report(&self) -> ResetReport {
        self.report.unwrap_or_default()
    }

    /// True when the fencer has answered. One of a release without a reset never does, and has none.
    pub(crate) fn is_answered(&self) -> bool {
        self.report().wish == self.wish
    }

    /// Whether this host's record may say so: the fencer will do it (PROTOCOL 5: it keeps a sooner verdict before any record
    /// carries it, and lets go of it only while nothing is armed).
    pub(crate) fn is_on(&self) -> bool {
        self.report().on
    }

    /// The member was told: its record says so from now on.
    pub(crate) fn told(&mut self, on: bool) {
        self.told = Some(on);
    }

    /// What the record says and is not so any more. The agent that begins again changes the record by the protocol's steps.
    pub(crate) fn has_changed(&self) -> Option<String> {
        let told = self.told.filter(|told| self.is_answered() && *told != self.is_on())?;
        let note = self.report().note;
        let why = if note.is_empty() { String::new() } else { format!(", {note}") };
        let word = |on| if on { "on" } else { "off" };
        Some(format!("reset was {} and is {}{why}: beginning again", word(told), word(self.is_on())))
    }

    /// What an operator should know. `has_watchdog`: something else would reset this host.
    pub(crate) fn warnings(&self, has_watchdog: bool) -> Vec<String> {
        let report = self.report();
        let mut warnings = Vec::new();
        if self.told.is_some() && self.wish.on && !report.on {
            let note = report.note.as_str();
            let why = if note.is_empty() { "the fencer says nothing of it" } else { note };
            warnings.push(format!("fence.reset is on, and this host cannot reset itself: {why}."));
        } else if !report.note.is_empty() {
            warnings.push(format!("The reset of this host: {}.", report.note));
        }
        if self.told.is_some() && !report.on && !has_watchdog {
            warnings.push(
                "NOTHING RESETS THIS HOST if a guest of it cannot be killed, or its storage not be shown quiet: it has no watchdog, and \
                 does not reset itself (fence.reset). Such a guest may write on while its peers wait for an operator, or, where the lease \
                 file accepts class none, while one of them runs it."
                    .to_owned(),
            );
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use leasefence_page::Text;

    use super::*;

    fn reset(wanted: &str) -> Reset {
        let text = format!("cluster = \"lab\"\nlease = \"/lease\"\n[fence]\nreset = \"{wanted}\"\n");
        Reset::new(&Config::parse(&text, Path::new("leasefence.toml")).expect("it is complete"))
    }

    fn report(wish: bool, on: bool) -> Option<ResetReport> {
        Some(ResetReport { wish: ResetWish { on: wish }, on, ..ResetReport::default() })
    }

    /// Peers call a host without a watchdog expired by this flag: it is never written before the fencer would keep it.
    #[test]
    fn the_record_says_on_only_while_the_fencer_does_and_off_as_soon_as_it_does_not() {
        let mut reset = reset("on");
        assert!(!reset.is_answered() && !reset.is_on(), "nobody has answered");
        reset.heard(report(false, false));
        assert!(!reset.is_answered(), "it answers another wish");
        reset.heard(report(true, true));
        assert!(reset.is_answered() && reset.is_on());
        reset.told(true);
        assert_eq!(reset.has_changed(), None);
        reset.heard(report(true, false));
        assert!(reset.has_changed().is_some_and(|said| said.contains("was on and is off")));
    }

    /// One that is turned off goes on until nothing is armed, and so does the record.
    #[test]
    fn a_deferred_wish_leaves_it_on() {
        let mut reset = reset("off");
        assert!(reset.is_answered(), "a fencer of a release without a reset says nothing of it");
        reset.heard(report(true, true));
        assert!(!reset.is_answered());
        reset.heard(report(false, true));
        assert!(reset.is_answered() && reset.is_on());
    }

    #[test]
    fn a_host_that_nothing_resets_says_so_loudly() {
        let mut reset = reset("off");
        assert!(reset.warnings(false).is_empty(), "it has not begun");
        reset.told(false);
        assert!(reset.warnings(false)[0].starts_with("NOTHING RESETS THIS HOST"));
        assert!(reset.warnings(true).is_empty());
        let mut reset = self::reset("on");
        reset.told(false);
        let note = Text::cut("there is no /proc/sysrq-trigger");
        reset.heard(report(true, false).map(|report| ResetReport { note, ..report }));
        let said = reset.warnings(false);
        assert!(said[0].contains("cannot reset itself: there is no"), "{said:?}");
        assert_eq!(said.len(), 2);
    }
}
