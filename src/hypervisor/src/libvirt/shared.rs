//! What callers and the keeper share: the current session, and how many calls are under way.
//!
//! A call runs on a thread of its own. When it overruns its deadline, its caller leaves with "away", its session is
//! given up, and the thread stays behind until libvirt lets it go; how many may stay behind is bounded.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use virt::connect::Connect;

use super::keeper::Word;
use super::lost_starts::LostStarts;
use super::session::Session;
use crate::HypervisorError;

/// The state of the connection.
#[derive(Clone, Debug)]
pub(super) enum Current {
    /// None, and why.
    Away(String),
    /// This one.
    Session(Arc<Session>),
}

#[derive(Debug)]
pub(super) struct Shared {
    current: Mutex<Current>,
    calls: Arc<AtomicUsize>,
    most_calls: usize,
    keeper: Sender<Word>,
    pub(super) lost_starts: LostStarts,
}

/// Counts a call until its thread ends.
struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Leave for one call, over one session. To be used at once: while it is held, the session is.
pub(super) struct Ticket {
    session: Arc<Session>,
    permit: Permit,
}

impl Ticket {
    /// The session's number and age.
    pub(super) fn session(&self) -> (u64, Duration) {
        (self.session.number(), self.session.age())
    }
}

impl Shared {
    pub(super) fn new(most_calls: usize, keeper: Sender<Word>) -> Self {
        let current = Mutex::new(Current::Away("not connected yet".to_owned()));
        Self { current, calls: Arc::default(), most_calls, keeper, lost_starts: LostStarts::default() }
    }

    pub(super) fn set(&self, current: Current) -> Current {
        std::mem::replace(&mut *self.lock(), current)
    }

    /// Ends the keeper, and with it the connection.
    pub(super) fn stop(&self) {
        let _ended_already = self.keeper.send(Word::Stop);
    }

    /// Runs one call of libvirt under a deadline.
    pub(super) fn call<T: Send + 'static>(
        &self,
        doing: &'static str,
        deadline: Duration,
        work: impl FnOnce(&Connect) -> Result<T, HypervisorError> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        self.call_with(self.ticket()?, doing, deadline, work)
    }

    /// Leave for one call over the connection as it is now.
    pub(super) fn ticket(&self) -> Result<Ticket, HypervisorError> {
        let permit = self.permit()?;
        match self.lock().clone() {
            Current::Away(why) => Err(HypervisorError::Away(why)),
            Current::Session(session) => Ok(Ticket { session, permit }),
        }
    }

    /// Runs the call.
    pub(super) fn call_with<T: Send + 'static>(
        &self,
        ticket: Ticket,
        doing: &'static str,
        deadline: Duration,
        work: impl FnOnce(&Connect) -> Result<T, HypervisorError> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        let Ticket { session, permit } = ticket;
        let number = session.number();
        let (hand, take) = mpsc::channel::<Arc<Session>>();
        let (sender, receiver) = mpsc::sync_channel(1);
        let run = move || {
            let Ok(session) = take.recv() else { return };
            let result = work(session.connect());
            // Of a connection that broke under the call, the call's own error only says that it did.
            let result = match result {
                Err(error) if !session.is_open() => Err(HypervisorError::Away(error.to_string())),
                other => other,
            };
            let _caller_left = sender.send(result);
            // May be the last one to hold the session, and so close it, which may hang: the permit is kept until then.
            drop(session);
            drop(permit);
        };
        // The caller itself never drops the session, for the same reason. Without a thread to hand it to, the
        // connection stays open: better one too many than a caller that hangs.
        if let Err(error) = std::thread::Builder::new().name("libvirt-call".to_owned()).spawn(run) {
            std::mem::forget(session);
            return Err(HypervisorError::Away(format!("{doing}: no thread for the call: {error}")));
        }
        if let Err(unsent) = hand.send(session) {
            std::mem::forget(unsent);
        }
        match receiver.recv_timeout(deadline) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                let why = format!("{doing} took longer than {deadline:?}");
                let _keeper_ended = self.keeper.send(Word::Lost { session: number, why: why.clone() });
                Err(HypervisorError::Away(why))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(HypervisorError::Away(format!("{doing}: the call was lost")))
            }
        }
    }

    fn permit(&self) -> Result<Permit, HypervisorError> {
        let before = self.calls.fetch_add(1, Ordering::AcqRel);
        let permit = Permit(Arc::clone(&self.calls));
        if before < self.most_calls {
            return Ok(permit);
        }
        Err(HypervisorError::Away(format!("{before} calls of libvirt are under way or stuck already")))
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
