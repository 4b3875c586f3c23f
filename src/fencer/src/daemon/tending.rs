//! What the loop looks after beside the beat, and what it tells of that: the host's own reset, the watchdog, the storages, the
//! finder.

use leasefence_core::fencing::Quiet;
use leasefence_page::WatchdogReport;
use rustix::fs::{major, minor};

use super::Daemon;
use crate::finder::Troubles;
use crate::layout_file::Held;
use crate::watchdog;

/// As many storages' last words are kept in mind; of one beyond these each word is said.
pub(super) const MOST_SAID: usize = 64;

impl Daemon {
    /// Before the beat, which may have to reset this host.
    pub(super) fn tend_reset(&mut self) {
        let wish = self.hands.page.read_reset_wish();
        self.hands.reset.take_wish(self.fencer.half().armed, wish);
        self.fencer.resets_host(self.hands.reset.is_on());
        let Some(report) = self.hands.reset.news() else { return };
        self.hands.page.write_reset_report(&report);
        self.write_layout_file();
        self.hands.log.line(match (report.on, report.wish.on) {
            (true, _) => "resets this host (sysrq) where it cannot show it fenced in time",
            (false, true) => "warning: fence.reset is on, and this host cannot reset itself",
            (false, false) => "does not reset this host itself",
        });
        if !report.note.is_empty() {
            self.hands.log.line(format_args!("reset: {}", report.note));
        }
    }

    fn write_layout_file(&mut self) {
        let (report, resets) = (self.told_of_watchdog, self.hands.reset.is_on());
        if let Err(error) = self.layout_file.write(Held::new(report.open, report.nowayout), resets) {
            self.hands.log.line(format_args!("warning: writing page-layout: {error}"));
        }
    }

    /// After the beat, so that a pet rests on what this beat has seen.
    pub(super) fn tend_watchdog(&mut self) {
        let wish = self.hands.page.read_watchdog_wish();
        self.watchdog.take_wish(&self.fencer, wish);
        self.watchdog.tend(leasefence_clock::instant(), &mut self.fencer);
        self.tell_of_watchdog();
    }

    pub(super) fn tell_of_watchdog(&mut self) {
        let Some(report) = self.watchdog.news() else { return };
        self.hands.page.write_watchdog_report(&report);
        self.hands.answered = Some(report.wish);
        let before = WatchdogReport { last_pet: report.last_pet, ..self.told_of_watchdog };
        self.told_of_watchdog = report;
        self.write_layout_file();
        if before != report {
            self.hands.log.line(watchdog::Told(&report));
        }
    }

    pub(super) fn quiesce(&mut self) {
        let Some(quiescence) = &mut self.quiescence else { return };
        if let Some(error) = quiescence.prepare(&self.fencer) {
            self.hands.log.line(format_args!("error: no thread for a storage: {error}"));
        }
        let (log, said) = (&mut self.hands.log, &mut self.said);
        quiescence.tend(leasefence_clock::instant(), &mut self.fencer, |target, answer| {
            let text = match answer {
                Ok(Quiet::Forced) => "is quiet: what was under way was cut off",
                Ok(_) => "is quiet: all was acknowledged",
                Err(why) => why.as_str(),
            };
            if !said.iter().any(|(known, before)| known == target && before == answer) {
                said.retain(|(known, _)| known != target);
                if said.len() < MOST_SAID {
                    said.push((target.clone(), *answer));
                }
                let (major, minor) = (major(target.device), minor(target.device));
                log.line(format_args!("storage {major}:{minor}: {text}"));
            }
        });
    }

    pub(super) fn tell_of_finder(&mut self) {
        let now = leasefence_clock::instant();
        let Some((before, now)) = self.hands.discovery.take_troubles(now) else { return };
        let log = &mut self.hands.log;
        let Troubles { hung, ended, not_started, unlocked, lost } = now;
        if (Troubles { unlocked, lost, ..before }) != now {
            log.line(format_args!(
                "warning: the finder, which looks for domains that libvirt's files do not show, is started again; since this \
                 process started {hung} hung, {ended} ended, and {not_started} could not be started"
            ));
        }
        if unlocked && !before.unlocked {
            log.line("warning: the finder's memory is not locked, under pressure it may find nothing (LimitMEMLOCK)");
        }
        match (before.lost, lost) {
            (false, true) => log.line(
                "warning: the finder has not looked for long, or found more than has room: no lease's end is proven until it has",
            ),
            (true, false) => log.line("the finder has looked again"),
            _ => {}
        }
    }

    /// Once for each, while it keeps the proof away.
    pub(super) fn tell_of_writers(&mut self) {
        let discovery = &self.hands.discovery;
        let written = self.fencer.storages().iter().filter(|_| self.fencer.owes_proof());
        let writer = written.filter_map(|target| discovery.outside_writer_of(target.device)).next().copied();
        if std::mem::replace(&mut self.writer_said, writer) == writer {
            return;
        }
        if let Some(writer) = writer {
            let (major, minor) = (major(writer.device), minor(writer.device));
            let (name, pid) = (writer.name(), writer.process.pid);
            self.hands.log.line(format_args!(
                "warning: storage {major}:{minor} is open for writing to {name} (pid {pid}), which is no domain's: no proof while it is"
            ));
        }
    }
}
