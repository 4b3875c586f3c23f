//! How the member begins: once there is a page, and the fencer has said which watchdog this host has and whether it resets
//! itself. It is told that once; when it changes, the process begins again.

use leasefence_config::HasWatchdog;
use leasefence_core::member::{Input, LogLevel, Member};

use super::Engine;
use crate::fencer::Fencer;
use crate::watchdog::Answer;

impl Engine {
    /// What the fencer says of watchdog and reset: the member begins by it, and the process begins again when it has changed.
    pub(super) fn look_at_watchdog(&mut self) {
        let Some(fencer) = &mut self.fencer else { return };
        self.watchdog.heard(fencer.watchdog().as_ref());
        self.reset.heard(fencer.reset());
        if self.member.is_none() {
            self.begin_when_answered();
        } else if let Some(change) = self.watchdog.has_changed().or_else(|| self.reset.has_changed()) {
            self.end(change);
        }
    }

    fn begin_when_answered(&mut self) {
        let is_guarded = self.fencer.as_mut().and_then(Fencer::read).is_some_and(|half| half.armed);
        let at_most = is_guarded.then(|| self.parts.setup.terms.longest_gap());
        match self.watchdog.answer(leasefence_clock::instant(), at_most, self.reset.is_answered()) {
            Answer::Waiting => {}
            Answer::Has(watchdog) => self.begin(watchdog),
            Answer::Silent(watchdog) => {
                let text = "the fencer does not answer what would reset this host: is it of this release?";
                self.say(LogLevel::Warn, "watchdog", text.to_owned());
                self.begin(watchdog);
            }
        }
    }

    fn begin(&mut self, watchdog: Option<HasWatchdog>) {
        let predecessor = self.fencer.as_mut().and_then(Fencer::predecessor);
        let config =
            match self.parts.setup.member(&self.parts.config, watchdog, self.reset.is_on(), predecessor) {
                Ok(config) => config,
                Err(error) => return self.end(format!("with this host's watchdog, {error}")),
            };
        self.watchdog.told(watchdog);
        self.reset.told(self.reset.is_on());
        self.member = Some(Member::new(config));
        self.look_at_fencer();
        if let Some(medium) = self.medium {
            self.input(Input::Opened(medium));
        }
        self.parts.nudge.nudge();
    }
}
