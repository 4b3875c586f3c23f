//! The thread that keeps the connection: opens it, hears when it is lost, opens the next.
//!
//! It never calls libvirt itself. One attempt to connect is under way at a time, on a thread of its own; an attempt
//! that hangs (a stopped daemon's socket still takes connections) is not abandoned but waited for: it ends when the
//! daemon goes on or dies, and what it brings is as good as new.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::LibvirtConfig;
use super::callbacks::Listener;
use super::session::Session;
use super::shared::{Current, Shared};
use crate::HypervisorEvent;

/// Pauses between attempts to connect: doubled each time, from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(4);
/// An attempt that takes longer is reported, and waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the keeper is told.
#[derive(Debug)]
pub(super) enum Word {
    /// The attempt to connect ended.
    Opened(Result<Session, String>),
    /// The session is of no more use, and why.
    Lost {
        /// Which.
        session: u64,
        /// Why.
        why: String,
    },
    /// Nobody needs the connection any more.
    Stop,
}

/// The keeper's own state.
pub(super) struct Keeper {
    config: LibvirtConfig,
    shared: Arc<Shared>,
    events: Sender<HypervisorEvent>,
    inbox: Receiver<Word>,
    /// For those who tell.
    outbox: Sender<Word>,
    sessions: u64,
    pause: Duration,
    /// True after `Away` was sent, until `Back` is.
    told_away: bool,
}

/// The keeper is to end.
struct Stopped;

impl Keeper {
    /// Starts the thread.
    pub(super) fn spawn(
        config: LibvirtConfig,
        events: Sender<HypervisorEvent>,
    ) -> Result<Arc<Shared>, std::io::Error> {
        let (outbox, inbox) = mpsc::channel();
        let shared = Arc::new(Shared::new(config.most_calls, outbox.clone()));
        let keeper = Self {
            config,
            shared: Arc::clone(&shared),
            events,
            inbox,
            outbox,
            sessions: 0,
            pause: FIRST_PAUSE,
            told_away: false,
        };
        std::thread::Builder::new().name("libvirt-keeper".to_owned()).spawn(move || keeper.run())?;
        Ok(shared)
    }

    fn run(mut self) {
        while self.round().is_ok() {}
        self.away("this process needs it no more".to_owned());
    }

    /// From one attempt to connect to the next.
    fn round(&mut self) -> Result<(), Stopped> {
        match self.open()? {
            Ok(session) => {
                self.back(session);
                let why = self.wait_for_loss()?;
                self.away(why);
                Ok(())
            }
            Err(why) => {
                self.away(why);
                self.rest()
            }
        }
    }

    fn open(&mut self) -> Result<Result<Session, String>, Stopped> {
        self.sessions = self.sessions.wrapping_add(1);
        let listener = Listener::new(self.sessions, self.events.clone(), self.outbox.clone());
        let (uri, ping, outbox) =
            (self.config.uri.clone(), self.config.keepalive_interval, self.outbox.clone());
        let attempt = move || {
            let opened = Session::open(&uri, ping, Arc::new(listener));
            let opened = opened.map_err(|error| format!("connecting to {uri}: {}", error.message()));
            // The keeper may have ended: then the session comes back in the error, and is closed here.
            drop(outbox.send(Word::Opened(opened)));
        };
        if let Err(error) = std::thread::Builder::new().name("libvirt-open".to_owned()).spawn(attempt) {
            return Ok(Err(format!("no thread to connect to libvirt: {error}")));
        }
        self.wait_for_attempt()
    }

    fn wait_for_attempt(&mut self) -> Result<Result<Session, String>, Stopped> {
        loop {
            match self.inbox.recv_timeout(PATIENCE) {
                // Its "lost" may have come before it, and told nothing then.
                Ok(Word::Opened(Ok(session))) if !session.is_open() => {
                    close_elsewhere(Arc::new(session));
                    return Ok(Err("the connection closed as soon as it was made".to_owned()));
                }
                Ok(Word::Opened(result)) => return Ok(result),
                Ok(Word::Lost { .. }) => {}
                Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => return Err(Stopped),
                Err(RecvTimeoutError::Timeout) => {
                    self.away(format!("connecting to {} takes longer than {PATIENCE:?}", self.config.uri));
                }
            }
        }
    }

    fn back(&mut self, session: Session) {
        self.pause = FIRST_PAUSE;
        self.told_away = false;
        let listener = Arc::clone(session.listener());
        self.shared.set(Current::Session(Arc::new(session)));
        self.tell(HypervisorEvent::Back);
        listener.open();
    }

    fn wait_for_loss(&mut self) -> Result<String, Stopped> {
        loop {
            match self.inbox.recv() {
                Ok(Word::Lost { session, why }) if session == self.sessions => return Ok(why),
                // The last word of an older session.
                Ok(Word::Lost { .. } | Word::Opened(_)) => {}
                Ok(Word::Stop) | Err(_) => return Err(Stopped),
            }
        }
    }

    fn away(&mut self, why: String) {
        let before = self.shared.set(Current::Away(why.clone()));
        if let Current::Session(session) = before {
            session.listener().shut();
            close_elsewhere(session);
        }
        if !self.told_away {
            self.told_away = true;
            self.tell(HypervisorEvent::Away(why));
        }
    }

    /// Waits before the next attempt, ever longer.
    fn rest(&mut self) -> Result<(), Stopped> {
        let pause = self.pause;
        self.pause = pause.saturating_mul(2).min(LAST_PAUSE);
        match self.inbox.recv_timeout(pause) {
            Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => Err(Stopped),
            Ok(Word::Lost { .. } | Word::Opened(_)) | Err(RecvTimeoutError::Timeout) => Ok(()),
        }
    }

    fn tell(&self, event: HypervisorEvent) {
        let _nobody_listens = self.events.send(event);
    }
}

/// Closing asks the daemon, which may hang. Calls that still run on the session hold it, and close it when they end.
fn close_elsewhere(session: Arc<Session>) {
    let (sender, receiver) = mpsc::channel::<Arc<Session>>();
    let closing = std::thread::Builder::new().name("libvirt-close".to_owned());
    // Without a thread the session comes back in the error. Better a connection too many than a keeper that hangs.
    let spawned = closing.spawn(move || drop(receiver.recv()));
    if let Err(unsent) = sender.send(session) {
        std::mem::forget(unsent);
    }
    if let Err(error) = spawned {
        tracing::warn!("no thread to close a connection to libvirt: {error}");
    }
}
