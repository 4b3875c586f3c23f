//! The main loop: one event at a time to the engine, a look at the fencer's half every 50 ms, a tick when the member wants
//! one. It ends on a signal, or when the member cannot go on.

use std::time::Duration;

use leasefence_core::member::FENCER_INTERVAL;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::ask::Ask;
use crate::engine::Engine;
use crate::event::Event;
use crate::notify::Notify;

/// Between two lines for systemd.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(2);
/// No timer comes sooner: a member that wants to be woken in the past is woken once a millisecond.
const SOONEST: Duration = Duration::from_millis(1);

/// How the process ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// By a signal: the lease is left to run on in the page.
    Stopped(&'static str),
    /// With an error; it has been logged.
    Fatal(String),
}

/// What the loop listens to.
pub(crate) struct Inbox {
    /// From the threads.
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
    /// From the API.
    pub(crate) asks: mpsc::Receiver<Ask>,
    /// Tells those who wait for a verdict that something has changed.
    pub(crate) revision: watch::Sender<u64>,
}

/// Runs until the end.
///
/// # Errors
/// When signals cannot be listened to.
pub(crate) async fn run(engine: &mut Engine, mut inbox: Inbox, notify: &Notify) -> std::io::Result<End> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut look = interval(FENCER_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut summary = Summary::new(notify);
    loop {
        tokio::select! {
            Some(event) = inbox.events.recv() => {
                engine.handle(event);
                inbox.revision.send_modify(|revision| *revision = revision.wrapping_add(1));
            }
            Some(ask) = inbox.asks.recv() => engine.answer(ask),
            _ = look.tick() => engine.look_at_fencer(),
            () = wake(engine.wake_in()) => {
                engine.tick();
                inbox.revision.send_modify(|revision| *revision = revision.wrapping_add(1));
            }
            () = received(&mut terminate) => return Ok(End::Stopped("SIGTERM")),
            () = received(&mut interrupt) => return Ok(End::Stopped("SIGINT")),
        }
        if let Some(why) = engine.fatal() {
            return Ok(End::Fatal(why.to_owned()));
        }
        summary.show(engine);
    }
}

async fn received(signal: &mut Signal) {
    signal.recv().await;
}

async fn wake(in_: Option<Duration>) {
    match in_ {
        Some(duration) => sleep_until(Instant::now() + duration.max(SOONEST)).await,
        None => std::future::pending().await,
    }
}

/// The line for systemd, told when it has changed.
struct Summary<'a> {
    notify: &'a Notify,
    shown: String,
    at: Option<Instant>,
}

impl<'a> Summary<'a> {
    fn new(notify: &'a Notify) -> Self {
        Self { notify, shown: String::new(), at: None }
    }

    fn show(&mut self, engine: &Engine) {
        if self.at.is_some_and(|at| at.elapsed() < SUMMARY_INTERVAL) {
            return;
        }
        self.at = Some(Instant::now());
        let summary = engine.summary();
        if summary != self.shown {
            self.notify.status(&summary);
            self.shown = summary;
        }
    }
}
