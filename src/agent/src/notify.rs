//! What systemd is told: ready, what the agent is doing, stopping. By a thread of its own, since the notification socket
//! blocks its sender when nobody reads it.

use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use sd_notify::NotifyState;

/// The handle of the thread; without systemd it says nothing to nobody.
#[derive(Clone, Debug)]
pub(crate) struct Notify {
    queue: SyncSender<Word>,
}

#[derive(Debug)]
enum Word {
    Ready,
    Status(String),
    Stopping,
}

impl Notify {
    /// Starts the thread. If there is none to be had, notifications are lost, and nothing else.
    pub(crate) fn start() -> Self {
        let (queue, words) = mpsc::sync_channel(64);
        drop(thread::Builder::new().name("notify".to_owned()).spawn(move || tell(&words)));
        Self { queue }
    }

    /// The API answers, and the agent has begun its work. It says nothing about the lease: a unit that waited for the
    /// storage would hold up the boot.
    pub(crate) fn ready(&self) {
        drop(self.queue.try_send(Word::Ready));
    }

    /// One line for `systemctl status`.
    pub(crate) fn status(&self, line: &str) {
        drop(self.queue.try_send(Word::Status(line.to_owned())));
    }

    /// The process is about to end.
    pub(crate) fn stopping(&self) {
        drop(self.queue.try_send(Word::Stopping));
    }
}

fn tell(words: &Receiver<Word>) {
    while let Ok(word) = words.recv() {
        let state = match &word {
            Word::Ready => NotifyState::Ready,
            Word::Status(line) => NotifyState::Status(line),
            Word::Stopping => NotifyState::Stopping,
        };
        drop(sd_notify::notify(false, &[state]));
    }
}
