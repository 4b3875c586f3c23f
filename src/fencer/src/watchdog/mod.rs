//! The watchdog: ends this host when the fencer cannot. It is petted by the core's rule and by nothing else
//! (`Fencer::may_pet`); a thread of its own does the calls, so that a slow driver never stands before a kill.
//!
//! A device is opened when a configured agent asks for one, and changed only while nothing is armed: what its class lets
//! peers conclude must hold as long as a record says it (R12). It is let go, by the magic letter, only while the core says
//! that nothing is guarded.

mod class;
mod device;
mod holder;
mod host;
mod opening;
mod told;
mod worker;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::Duration;

use leasefence_core::fencing::Fencer;
use leasefence_core::terms::{PET_INTERVAL, WATCHDOG_GRANULE};
use leasefence_core::time::Instant;
use leasefence_page::{Text, WatchdogReport, WatchdogWish};

pub(crate) use told::Told;
use worker::{Shared, Task};

/// From the core's word to the call: a pet that comes later is let be. The core is asked whether that moment would do. Less
/// than a beat, so that none is made after a latch that it did not know of.
const GRACE: Duration = Duration::from_millis(40);
const DEFERRED: &str =
    "another watchdog is configured: it is taken once this host is disarmed, or has booted";
/// The longest that a stop waits for a device to be let go.
const LETTING_GO: Duration = Duration::from_secs(2);

/// How long a device that was lost is tried to be opened again: whoever had it may not have closed it yet.
const OPENING_AGAIN: Duration = Duration::from_secs(5);
/// Between two of these tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// A device that runs out, and is opened again once it may be petted.
#[derive(Clone, Copy)]
struct Lost {
    known: WatchdogReport,
    /// When that was tried first, and last.
    tried: Option<(Instant, Instant)>,
}

impl Lost {
    fn is_due(&self, now: Instant) -> bool {
        self.tried.is_none_or(|(_, last)| now.since_by_faster(last) >= BETWEEN_TRIES)
    }

    fn is_given_up(&self, now: Instant) -> bool {
        self.tried.is_some_and(|(first, _)| now.since_by_faster(first) >= OPENING_AGAIN)
    }
}

/// The main thread's end.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    thread: Thread,
    /// The worker's last report.
    report: WatchdogReport,
    seen: u64,
    /// The wish that the worker was given last.
    given: Option<WatchdogWish>,
    /// Whether the core was armed when the wish was looked at last.
    was_armed: bool,
    /// A wish that waits until nothing is armed.
    deferred: Option<WatchdogWish>,
    /// A device that a page says is open and that nobody kept.
    lost: Option<Lost>,
    /// A device that was kept and was not petted by this process yet; its last pet before that.
    untouched: Option<Instant>,
    /// What is to be told has changed since it was last asked for.
    changed: bool,
}

impl Watchdog {
    /// Starts the thread. `restored` is the device that the service manager kept, `known` what the page says of it.
    pub(crate) fn start(restored: Option<OwnedFd>, known: Option<&WatchdogReport>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let was_kept = restored.is_some();
        let known = known.copied().unwrap_or_default();
        let mut this = Self {
            thread: worker::start(Arc::clone(&shared), restored)?,
            shared,
            report: WatchdogReport::default(),
            seen: 0,
            given: None,
            was_armed: false,
            deferred: None,
            lost: None,
            untouched: was_kept.then_some(known.last_pet),
            changed: true,
        };
        if was_kept {
            this.report = known;
            this.given = (known.open && !known.deferred).then_some(known.wish);
            this.ask(&Task::GoOn { known, until: Instant::default() });
        } else {
            this.go_on(&known);
        }
        Ok(this)
    }

    /// Goes on from what a page says, where nobody kept a device: this process's first page, or an agent's copy that was taken
    /// over. What runs out counts from now on.
    pub(crate) fn go_on(&mut self, known: &WatchdogReport) {
        self.changed = true;
        if self.report.open || self.shared.is_busy() {
            return;
        }
        self.report = *known;
        if known.open {
            self.given = (!known.deferred).then_some(known.wish);
            self.lost = Some(Lost { known: *known, tried: None });
        }
    }

    /// Takes what the agent wants. While something is armed, what is open stays as it is, and so does what is not.
    pub(crate) fn take_wish(&mut self, fencer: &Fencer, wish: Option<WatchdogWish>) {
        // A device that could not be opened may be free by now, and may be opened again.
        let was_armed = std::mem::replace(&mut self.was_armed, fencer.half().armed);
        if was_armed && !self.was_armed && !self.report.open {
            self.given = None;
        }
        let Some(wish) = wish else { return };
        if self.given == Some(wish) {
            // What is open answers it: another that was wanted meanwhile is wanted no more.
            self.changed |= self.deferred.take().is_some();
            return;
        }
        if self.shared.is_busy() || self.shared.is_petting() {
            return;
        }
        if !fencer.half().armed {
            self.given = Some(wish);
            (self.deferred, self.lost) = (None, None);
            self.ask(&Task::Take(wish));
        } else if self.deferred != Some(wish) && self.report.wish != wish {
            self.deferred = Some(wish);
            self.changed = true;
        }
    }

    fn ask(&self, task: &Task) {
        self.shared.leave(task);
        self.thread.unpark();
    }

    /// Once a beat, after it: hears the worker, tells the core how long the device holds, and has it petted where the core
    /// permits it.
    pub(crate) fn tend(&mut self, now: Instant, fencer: &mut Fencer) {
        // In this order: a pet that has ended by now is in the report that is read after it.
        let is_petting = self.shared.is_petting();
        if let Some(news) = self.shared.news(&mut self.seen)
            && (news.open || self.lost.is_none_or(|lost| lost.is_given_up(now)))
        {
            self.lost = None;
            self.report = news;
            self.changed = true;
            self.untouched = self.untouched.filter(|before| *before == news.last_pet);
        }
        let knows_last_pet = !is_petting && !self.shared.has_news(self.seen);
        let holds = if self.report.open { self.report.holds() + WATCHDOG_GRANULE } else { Duration::ZERO };
        fencer.watchdog_holds(holds);
        let due = now.since_by_faster(self.report.last_pet) >= PET_INTERVAL;
        if self.report.open && due && knows_last_pet && self.may_pet(now, fencer) {
            // Opening it is a pet, and has its rule.
            if let Some(lost) = &mut self.lost {
                if lost.is_due(now) && !self.shared.is_busy() {
                    lost.tried = Some((lost.tried.map_or(now, |(first, _)| first), now));
                    let known = lost.known;
                    self.ask(&Task::GoOn { known, until: now.plus(GRACE) });
                }
                return;
            }
            self.shared.ask_pet(now.plus(GRACE));
            self.thread.unpark();
        }
    }

    fn may_pet(&self, now: Instant, fencer: &Fencer) -> bool {
        fencer.may_pet(now.plus(GRACE), self.report.last_pet)
    }

    /// True while the device is being opened, changed or let go, and until what came of it was told: nothing is armed
    /// meanwhile, since the record that comes with it says what there is. Nor before the first pet of a device that was kept.
    pub(crate) fn is_unsettled(&self) -> bool {
        let untouched = self.report.open && self.untouched.is_some();
        self.shared.is_busy()
            || untouched
            || self.lost.is_some()
            || self.changed
            || self.shared.has_news(self.seen)
    }

    /// What is to be told, when it has changed.
    pub(crate) fn news(&mut self) -> Option<WatchdogReport> {
        std::mem::take(&mut self.changed).then(|| match self.deferred {
            Some(wish) => WatchdogReport { wish, deferred: true, note: Text::cut(DEFERRED), ..self.report },
            None => self.report,
        })
    }

    /// Says it again: there is another page.
    pub(crate) fn tell_again(&mut self) {
        self.changed = true;
    }

    /// True when this process may end now, though it guards: the kernel pets once more when the device's last descriptor
    /// closes, and that pet must keep the rule too.
    pub(crate) fn may_end(&self, now: Instant, fencer: &Fencer) -> bool {
        !self.report.open || self.may_pet(now, fencer)
    }

    /// Lets the device go. Only while nothing is guarded; it waits for a moment, which is why.
    pub(crate) fn let_go(&mut self) {
        let begun = std::time::Instant::now();
        let wait = || {
            while self.shared.is_busy() && begun.elapsed() < LETTING_GO {
                thread::sleep(Duration::from_millis(5));
            }
        };
        // It may be opening one just now.
        wait();
        if self.shared.is_busy() {
            return;
        }
        self.ask(&Task::LetGo);
        wait();
        self.report = self.shared.news(&mut self.seen).unwrap_or(self.report);
        self.given = None;
        self.changed = true;
    }
}
