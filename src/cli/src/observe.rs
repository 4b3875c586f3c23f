//! `status` and `verdict` with `--lease`: for a machine that reaches the storage but runs no agent.
//!
//! It watches the lease file itself, through the core's observer, for as long as a proof needs. What was said before
//! this process began is worth nothing to it: a stall is counted from its own first read.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use leasefence_api::{Host, VerdictAnswer, VerdictClass, words};
use leasefence_core::evidence::Verdict;
use leasefence_core::format::WatchdogClass;
use leasefence_core::ids::Incarnation;
use leasefence_core::storage::{IoDone, Step};
use leasefence_core::time::Instant;
use leasefence_core::watch::{HostReport, Observer, ObserverConfig};
use leasefence_disk::{Disk, DiskOptions, MachineFacts};
use leasefence_say::{nobody_reads, say};

use crate::args::{StatusArgs, VerdictArgs};
use crate::outcome::{CliError, Exit, Outcome};
use crate::text::duration_ms;

/// How long to watch before "nothing can be said" is an answer and not just impatience.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// How long after the time of a verdict to wait for the pass that proves it.
const OVERDUE: Duration = Duration::from_secs(5);
/// Between two looks at what to say.
const LOOK: Duration = Duration::from_millis(200);
/// Between two lines of progress where nobody looks at a terminal.
const QUIET_PROGRESS: Duration = Duration::from_secs(10);

/// `leasefence status --lease PATH`: watches until something can be said of every host, then says it.
pub(crate) fn status(path: &Path, args: &StatusArgs) -> Outcome {
    let mut watcher = Watcher::open(path)?;
    loop {
        watcher.watch(None, |watcher| {
            let reports = watcher.reports();
            watcher.watched() >= FIRST_LOOK && reports.iter().all(|report| watcher.is_settled(report))
        })?;
        let hosts: Vec<Host> = watcher.reports().iter().map(host).collect();
        if args.json {
            say!("{}", serde_json::to_string(&hosts).map_err(CliError::from_display)?);
        } else {
            if args.watch.is_some() {
                leasefence_say::text("\x1b[H\x1b[2J");
            }
            say!("{}\n{}", watcher.headline(path), crate::status::hosts(&hosts));
        }
        let Some(seconds) = args.watch.filter(|_| !nobody_reads()) else { return Ok(Exit::Done) };
        let again = leasefence_clock::instant().plus(Duration::from_secs(seconds));
        watcher.watch(Some(Duration::from_secs(seconds)), |_| {
            leasefence_clock::instant().boot_ns >= again.boot_ns
        })?;
    }
}

/// `leasefence verdict HOST --lease PATH`: watches until there is a verdict, or until none can come by waiting.
pub(crate) fn verdict(path: &Path, args: &VerdictArgs) -> Outcome {
    let mut watcher = Watcher::open(path)?;
    let mut bound: Option<Incarnation> = None;
    watcher.watch(args.timeout, |watcher| {
        let Some(report) = watcher.find(&args.host) else { return watcher.watched() >= FIRST_LOOK };
        // The question is about the life that stands in the record when it is asked, and about no later one.
        bound.get_or_insert(report.view.incarnation);
        let gone = watcher.class(&report, bound) == VerdictClass::MayStart;
        gone || (!args.wait && watcher.is_settled(&report))
    })?;
    let Some(report) = watcher.find(&args.host) else {
        return Err(CliError::Other(format!(
            "no host named {:?} is in {}; `leasefence status --lease {}` lists them",
            args.host,
            path.display(),
            path.display()
        )));
    };
    let answer = watcher.answer(&report, bound);
    crate::verdict::show(&answer, args.json)?;
    Ok(Exit::Verdict(answer.class))
}

/// The observer, and the storage thread under it.
struct Watcher {
    disk: Disk,
    done: Receiver<IoDone>,
    observer: Observer,
    started: Instant,
    told: Option<Instant>,
}

impl Watcher {
    fn open(path: &Path) -> Result<Self, CliError> {
        let facts = MachineFacts::read().map_err(CliError::from_display)?;
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        let (sender, done) = mpsc::channel();
        let (disk, medium) = Disk::open(path, DiskOptions::default(), move |end| drop(sender.send(end)))
            .map_err(CliError::from_display)?;
        let started = leasefence_clock::instant();
        let seed = started.raw_ns ^ u64::from(std::process::id()).rotate_left(40);
        let config =
            ObserverConfig { size: medium.size, cluster_name: None, name, boot_id: facts.boot_id, seed };
        Ok(Self { disk, done, observer: Observer::new(config), started, told: None })
    }

    /// Drives the observer until `enough` says so or the time is over, with a line of progress now and then.
    fn watch(
        &mut self,
        limit: Option<Duration>,
        mut enough: impl FnMut(&Self) -> bool,
    ) -> Result<(), CliError> {
        let begun = leasefence_clock::instant();
        loop {
            self.turn()?;
            let spent = leasefence_clock::instant().since_by_slower(begun);
            if enough(self) || limit.is_some_and(|limit| spent >= limit) {
                self.end_progress();
                return Ok(());
            }
            self.tell();
        }
    }

    /// One turn: what the observer wants goes to the storage thread, and an answer of it is taken if there is one soon.
    fn turn(&mut self) -> Result<(), CliError> {
        let now = leasefence_clock::now();
        if let Some(request) = self.observer.poll_request(&now) {
            if !self.disk.submit(request) {
                return Err(CliError::Other("the storage thread has ended".to_owned()));
            }
        } else if let Step::Done(error) = self.observer.poll(&now) {
            return Err(CliError::from_display(error));
        }
        let patience = self.patience(&now.instant);
        match self.done.recv_timeout(patience) {
            Ok(done) => {
                self.observer.handle_io(&done);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                Err(CliError::Other("the storage thread has ended".to_owned()))
            }
        }
    }

    /// Until the observer wants to be asked again, and at most until the next look.
    fn patience(&mut self, now: &Instant) -> Duration {
        let wake = match self.observer.poll(&leasefence_clock::now()) {
            Step::Wait(at) => at.since_by_faster(*now),
            Step::Io(_) | Step::Done(_) => LOOK,
        };
        wake.clamp(Duration::from_millis(1), LOOK)
    }

    fn watched(&self) -> Duration {
        leasefence_clock::instant().since_by_slower(self.started)
    }

    fn reports(&self) -> Vec<HostReport> {
        self.observer.reports(leasefence_clock::instant())
    }

    fn find(&self, host: &str) -> Option<HostReport> {
        self.reports().into_iter().find(|report| report.view.name == host)
    }

    /// True when waiting longer would not change what is said of this host, unless the host itself does something.
    fn is_settled(&self, report: &HostReport) -> bool {
        match &report.view.verdict {
            Verdict::Gone { .. } | Verdict::Alive | Verdict::Disarmed => true,
            Verdict::Joining { .. } | Verdict::Unknown(_) => self.watched() >= FIRST_LOOK,
            Verdict::Stalled { .. } | Verdict::Fencing { .. } => {
                let overdue = report.reckoning.map(|reckoning| reckoning.verdict_after() + OVERDUE);
                report.verdict_left.is_none()
                    || overdue.is_some_and(|after| report.last_change_age.is_some_and(|age| age > after))
            }
        }
    }

    /// What is said of the life that the question was about.
    fn said(&self, report: &HostReport, bound: Option<Incarnation>) -> (Incarnation, Verdict) {
        let asked = bound.unwrap_or(report.view.incarnation);
        if asked == report.view.incarnation {
            return (asked, report.view.verdict.clone());
        }
        let evidence = self.observer.watch().and_then(|watch| watch.evidence(asked));
        let verdict = evidence.map_or_else(
            || Verdict::Unknown("its slot shows another life by now".to_owned()),
            |(evidence, since)| Verdict::Gone { evidence, since },
        );
        (asked, verdict)
    }

    fn class(&self, report: &HostReport, bound: Option<Incarnation>) -> VerdictClass {
        words::class(&self.said(report, bound).1)
    }

    fn answer(&self, report: &HostReport, bound: Option<Incarnation>) -> VerdictAnswer {
        let (incarnation, verdict) = self.said(report, bound);
        let (state, evidence, since_unix_ms) = words::state(&verdict);
        VerdictAnswer {
            host: report.view.name.clone(),
            slot: incarnation.slot.0,
            generation: incarnation.generation.0,
            incarnation: incarnation.to_string(),
            state,
            class: words::class(&verdict),
            evidence,
            since_unix_ms,
            reason: report.reason.clone(),
            verdict_left_ms: report.verdict_left.map(words::ms),
        }
    }

    fn headline(&self, path: &Path) -> String {
        let name = self.observer.header().map_or("?", |header| header.cluster_name.as_str());
        let warning = self.observer.warning().map(|text| format!("\nWARNING  {text}")).unwrap_or_default();
        let watched = duration_ms(words::ms(self.watched()));
        format!(
            "cluster {name}, lease file {}, watched without an agent for {watched}{warning}\n",
            path.display()
        )
    }

    fn tell(&mut self) {
        let now = leasefence_clock::instant();
        let terminal = std::io::stderr().is_terminal();
        let pause = if terminal { LOOK } else { QUIET_PROGRESS };
        if self.told.is_some_and(|told| now.since_by_slower(told) < pause) {
            return;
        }
        let waiting: Vec<String> = self
            .reports()
            .iter()
            .filter(|report| !self.is_settled(report))
            .map(|report| {
                let left =
                    report.verdict_left.map(|left| format!(", verdict in {}", duration_ms(words::ms(left))));
                format!("{}: {}{}", report.view.name, report.reason, left.unwrap_or_default())
            })
            .collect();
        if waiting.is_empty() {
            return;
        }
        let watched = duration_ms(words::ms(self.watched()));
        let (start, end) = if terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        eprint!("{start}watching the lease file, {watched}; {}{end}", waiting.join("; "));
        self.told = Some(now);
    }

    fn end_progress(&mut self) {
        if self.told.take().is_some() && std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}

/// A host, in the words of the agent's API.
fn host(report: &HostReport) -> Host {
    let (state, evidence, since_unix_ms) = words::state(&report.view.verdict);
    let class = report.record.as_ref().map_or(WatchdogClass::None, |record| record.watchdog_class);
    Host {
        name: report.view.name.clone(),
        slot: report.view.slot.0,
        generation: report.view.incarnation.generation.0,
        own: false,
        state,
        evidence,
        since_unix_ms,
        reason: report.reason.clone(),
        lease_left_ms: report.lease_left.map(words::ms),
        verdict_left_ms: report.verdict_left.map(words::ms),
        last_renewal_age_ms: report.last_change_age.map(words::ms),
        watchdog: class.as_str().to_owned(),
        terms: report.record.as_ref().map(|record| words::terms(&record.effective_terms())),
        domains_protected: None,
        domains_ha: None,
    }
}
