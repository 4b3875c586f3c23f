//! Waiting that ends when it should: with what was waited for, at its deadline, or because somebody pressed Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

/// Why a wait ended without what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The deadline passed.
    #[error("waited {0:?} in vain for {1}")]
    TooLong(Duration, String),
    /// Somebody wants the program to end.
    #[error("interrupted")]
    Interrupted,
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on SIGINT, SIGTERM and SIGHUP no longer end the program but every [`until`] and [`pause`], so that what was
/// started is taken down in order. To be called before any other thread exists: threads inherit the signal mask.
///
/// # Errors
/// When the kernel refuses the signal mask.
pub fn catch_interrupts() -> std::io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGHUP);
    signals.thread_block()?;
    thread::spawn(move || {
        while signals.wait().is_ok() {
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// Fails once somebody has asked the program to end.
///
/// # Errors
/// [`WaitError::Interrupted`].
pub fn check_interrupt() -> Result<(), WaitError> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err(WaitError::Interrupted) } else { Ok(()) }
}

/// Asks `probe` every 20 ms until it gives something.
///
/// # Errors
/// When `limit` passes first, or on an interrupt.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Result<T, WaitError> {
    let start = Instant::now();
    loop {
        check_interrupt()?;
        if let Some(found) = probe() {
            return Ok(found);
        }
        if start.elapsed() > limit {
            return Err(WaitError::TooLong(limit, what.to_owned()));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Lets time pass.
///
/// # Errors
/// On an interrupt.
pub fn pause(time: Duration) -> Result<(), WaitError> {
    match until("time to pass", time, || None::<()>) {
        Err(WaitError::TooLong(..)) | Ok(()) => Ok(()),
        Err(interrupted) => Err(interrupted),
    }
}
