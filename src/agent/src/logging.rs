//! Where the agent's words go: stderr, by a thread of its own. An unread pipe or a stuck journal stops that thread and
//! nothing else; lines that find no room are counted, and the count is written when there is room again.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// Lines that may wait for a slow reader.
const QUEUE_LINES: usize = 4096;

static QUEUE: OnceLock<Queue> = OnceLock::new();

#[derive(Clone, Debug)]
struct Queue {
    lines: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Flush(mpsc::Sender<()>),
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The filter cannot be read.
    #[error(
        "log.level = {level:?}: {detail}; allowed are error, warn, info, debug, trace, or a filter like `info,leasefence_agent=debug`"
    )]
    Filter { level: String, detail: String },
    /// The writing thread could not be made.
    #[error("starting the logging thread: {0}")]
    Thread(io::Error),
    /// There is a subscriber already.
    #[error("setting up logging twice")]
    Twice,
}

/// Starts logging at this level or by this filter.
pub(crate) fn start(level: &str) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(level)
        .map_err(|error| LogError::Filter { level: level.to_owned(), detail: error.to_string() })?;
    let (lines, queue) = mpsc::sync_channel(QUEUE_LINES);
    let lost = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&lost);
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_lines(&queue, &counter))
        .map_err(LogError::Thread)?;
    QUEUE.set(Queue { lines, lost }).map_err(|_| LogError::Twice)?;
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines)
        .with_ansi(!journal && io::stderr().is_terminal())
        .event_format(Format { journal })
        .finish();
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)
}

/// True once there is somewhere to log to.
pub(crate) fn is_started() -> bool {
    QUEUE.get().is_some()
}

/// Waits until what was logged before is written, at most 200 ms: called before the process ends.
pub(crate) fn flush() {
    let (done, written) = mpsc::channel();
    let queued = QUEUE.get().is_some_and(|queue| queue.lines.try_send(Message::Flush(done)).is_ok());
    if queued {
        written.recv_timeout(Duration::from_millis(200)).ok();
    }
}

fn write_lines(queue: &Receiver<Message>, lost: &AtomicU64) {
    let mut stderr = io::stderr();
    while let Ok(message) = queue.recv() {
        match message {
            Message::Line(line) => drop(stderr.write_all(&line)),
            Message::Flush(done) => drop(done.send(())),
        }
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            drop(writeln!(stderr, "{missing} lines were lost: nobody read this log fast enough"));
        }
    }
}

struct Lines;

/// One event's line, handed over when it is complete.
struct Line(Vec<u8>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::new())
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Some(queue) = QUEUE.get() else { return };
        if let Err(TrySendError::Full(_)) = queue.lines.try_send(Message::Line(std::mem::take(&mut self.0))) {
            queue.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One line an event. The journal gets its priority as a prefix (sd-daemon(3)) and keeps time and level itself.
struct Format {
    journal: bool,
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        if self.journal {
            write!(writer, "<{}>", priority(level))?;
        } else {
            SystemTime.format_time(&mut writer)?;
            write!(writer, " {level:>5} ")?;
        }
        ctx.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// The priorities of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}
