//! The thread that makes a stalled NFS connection anew.

use std::io::Result;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::mounts::{PROC, all_mounts};
use crate::nfs::old_mount_of;
use crate::owners::owned_sockets;
use crate::path::Path;
use crate::rule::{LOOK, Look, Rule};
use crate::sockets::{Sockets, TcpSocket, destroy, sockets_to};

/// What is under way on the lease's storage. The one who submits and completes tells; the keeper looks.
#[derive(Debug, Default)]
pub struct Activity {
    waiting: Mutex<Option<Instant>>,
}

impl Activity {
    /// `busy`: something is under way. Call it when something was submitted to an idle storage, and each time something has
    /// ended: how long it is waited for counts from there.
    pub fn set(&self, busy: bool) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = busy.then(Instant::now);
    }

    fn waiting(&self) -> Option<Instant> {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the connection to an NFS server anew while calls over it are stuck, for as long as the [`Activity`] lives. Calls
/// that are under way are sent again: only for a mount that applies them once ([`crate::NfsMount::keepable`]). Other mounts
/// of that server may share the connection, and gain too; where one of them is older, all are left alone. So is every
/// connection that a process has for itself.
#[derive(Debug)]
pub struct Keeper {
    server: SocketAddr,
    path: Path,
    activity: Weak<Activity>,
    rule: Rule,
    /// What was said last of why not: said once while it stays the same.
    failed: Option<String>,
}

impl Keeper {
    /// Starts the thread. `patience`: how long nothing may end before it looks; two renewal intervals (ARCHITECTURE 3).
    /// `hurry`: how long a stall deserves hurry; the ttl, after which there is no lease to save.
    /// `say` is called on the thread with what it did, for people.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(
        server: SocketAddr,
        patience: Duration,
        hurry: Duration,
        activity: &Arc<Activity>,
        say: impl Fn(String) + Send + 'static,
    ) -> Result<()> {
        let mut keeper = Self::new(server, Rule::new(patience, hurry), activity);
        thread::Builder::new().name("connection".to_owned()).spawn(move || keeper.run(&say))?;
        Ok(())
    }

    fn new(server: SocketAddr, rule: Rule, activity: &Arc<Activity>) -> Self {
        Self { server, path: Path::to(server), activity: Arc::downgrade(activity), rule, failed: None }
    }

    fn run(&mut self, say: &dyn Fn(String)) {
        while let Some(activity) = self.activity.upgrade() {
            let waiting = activity.waiting();
            drop(activity);
            // While nothing answers, trying waits by itself.
            let mut waited = false;
            if self.rule.wants_look(Instant::now(), waiting) {
                let answer = self.path.try_it();
                waited = matches!(answer, Ok(Some(false) | None));
                match answer {
                    Ok(Some(true)) => self.answered(waiting, say),
                    Ok(Some(false)) => drop(self.rule.judge(Instant::now(), Look::DEAD)),
                    Ok(None) => {}
                    Err(error) => self.fails(&format!("cannot be tried: {error}"), say),
                }
            } else {
                self.path.give_up();
            }
            if !(waited && self.rule.hurries(Instant::now())) {
                thread::sleep(LOOK);
            }
        }
    }

    fn answered(&mut self, waiting: Option<Instant>, say: &dyn Fn(String)) {
        let sockets = match sockets_to(self.server, Sockets::InUse) {
            Ok(sockets) => sockets,
            Err(error) => return self.fails(&format!("cannot be looked at: {error}"), say),
        };
        if !self.rule.would_kick(look_at(&sockets)) {
            return;
        }
        // A QEMU with a disk of its own on that server, or another program's connection: not the mount's.
        let owned = match owned_sockets(PROC.as_ref()) {
            Ok(owned) => owned,
            Err(error) => return self.fails(&format!("may be a process's, too: {error}"), say),
        };
        let sockets: Vec<_> = sockets.into_iter().filter(|socket| !owned.contains(&socket.inode)).collect();
        if sockets.is_empty() || !self.rule.judge(Instant::now(), look_at(&sockets)) {
            return;
        }
        let mounts = match all_mounts(PROC.as_ref()) {
            Ok(mounts) => mounts,
            Err(error) => return self.fails(&format!("may be another mount's, too: {error}"), say),
        };
        if let Some(old) = old_mount_of(&mounts, self.server) {
            let old = old.display();
            return self.fails(
                &format!("is stuck and is left alone: {old} is mounted from it, too, before 4.1"),
                say,
            );
        }
        match destroy_all(&sockets, destroy) {
            Ok(()) => {
                self.failed = None;
                let stalled = waiting.map(|since| since.elapsed()).unwrap_or_default();
                say(format!(
                    "the connection to NFS server {} is made anew: nothing was answered for {} ms, and the server can be \
                     reached again",
                    self.server,
                    stalled.as_millis()
                ));
            }
            Err(error) => self.fails(&format!("cannot be made anew (CAP_NET_ADMIN?): {error}"), say),
        }
    }

    fn fails(&mut self, what: &str, say: &dyn Fn(String)) {
        if self.failed.as_deref() != Some(what) {
            say(format!("the connection to NFS server {} {what}", self.server));
            self.failed = Some(what.to_owned());
        }
    }
}

/// Ends all, also when one cannot be ended (a mount with `nconnect` has several); the first error is the answer.
fn destroy_all<T>(sockets: &[T], destroy: impl Fn(&T) -> Result<()>) -> Result<()> {
    let ends: Vec<_> = sockets.iter().map(destroy).collect();
    ends.into_iter().collect()
}

/// What the sockets to a server that answers say.
fn look_at(sockets: &[TcpSocket]) -> Look {
    Look { answers: true, backs_off: sockets.iter().any(TcpSocket::backs_off) }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::{ErrorKind, IoSlice, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

    use super::*;

    fn keeper_to(server: SocketAddr) -> Keeper {
        let second = Duration::from_secs(1);
        Keeper::new(server, Rule::new(second, second), &Arc::default())
    }

    /// Catches: a QEMU's own connection (libnfs), or any program's, that ends with the mount's. A connection that is on its
    /// way between two processes belongs to no descriptor, as the kernel's own.
    #[test]
    fn the_connection_of_a_process_lives_on_while_one_of_nobody_is_made_anew() -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let server = listener.local_addr()?;
        let mut ours = TcpStream::connect(server)?;
        let (mut accepted, _) = listener.accept()?;
        let said = RefCell::new(Vec::new());
        let look = || {
            let mut keeper = keeper_to(server);
            keeper.rule.judge(Instant::now(), Look::DEAD);
            keeper.answered(None, &|text| said.borrow_mut().push(text));
        };
        look();
        ours.write_all(b"!")?;
        accepted.read_exact(&mut [0])?;
        assert_eq!(*said.borrow(), Vec::<String>::new());

        let (post, _office) = UnixStream::pair()?;
        let nobodys = TcpStream::connect(server)?;
        let letter = [ControlMessage::ScmRights(&[nobodys.as_raw_fd()])];
        sendmsg::<()>(post.as_raw_fd(), &[IoSlice::new(b"!")], &letter, MsgFlags::empty(), None)?;
        drop(nobodys);
        let (mut far_end, _) = listener.accept()?;
        look();
        ours.write_all(b"!")?;
        accepted.read_exact(&mut [0])?;
        assert_eq!(far_end.read(&mut [0]).expect_err("ended").kind(), ErrorKind::ConnectionReset);
        assert_eq!(said.borrow().len(), 1);
        Ok(())
    }

    /// Catches: the first of several connections that resists, and shields the others.
    #[test]
    fn one_connection_that_resists_shields_no_other() {
        let tried = RefCell::new(Vec::new());
        let outcome = destroy_all(&[1, 2, 3, 4], |number| {
            tried.borrow_mut().push(*number);
            if number % 2 == 1 { Err(std::io::Error::other(number.to_string())) } else { Ok(()) }
        });
        assert_eq!(*tried.borrow(), [1, 2, 3, 4]);
        assert_eq!(outcome.expect_err("two resisted").to_string(), "1");
    }

    #[test]
    fn a_failure_is_said_once_and_another_one_too() {
        let said = RefCell::new(Vec::new());
        let say = |text: String| said.borrow_mut().push(text);
        let mut keeper = keeper_to(SocketAddr::from(([10, 0, 0, 1], 2049)));
        for what in ["fails", "fails", "fails otherwise", "fails otherwise", "fails"] {
            keeper.fails(what, &say);
        }
        assert_eq!(said.borrow().len(), 3, "{said:?}");
    }
}
