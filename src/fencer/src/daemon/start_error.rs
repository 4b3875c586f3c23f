//! Why the fencer cannot run.

use std::error::Error;
use std::path::{Path, PathBuf};

use leasefence_page::PageError;
use leasefence_page::link::LinkError;

/// Why the fencer cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(
        "this is the machine's initial pid namespace, where other people's domains may run: it kills every domain of this \
         machine at the lease's end; if that is meant, give --allow-initial-pid-namespace"
    )]
    InitialPidNamespace,
    #[error("/proc shows another pid namespace: mount a proc of this one")]
    ForeignProc,
    #[error("{doing} {}", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("another leasefence-fencer runs here: it holds {}", path.display())]
    Another { path: PathBuf },
    #[error("{} does not hold a boot id", path.display())]
    BootId { path: PathBuf },
    #[error("starting the thread that pets the watchdog")]
    WatchdogThread(#[source] std::io::Error),
    #[error("starting the thread that keeps the finder")]
    FinderThread(#[source] std::io::Error),
    #[error("starting the thread that kills cgroups")]
    CgroupsThread(#[source] std::io::Error),
    #[error("starting the thread that resets this host at a deadline")]
    ResetThread(#[source] std::io::Error),
    #[error("starting the thread that writes the log")]
    LogThread(#[source] std::io::Error),
    #[error("blocking the signals that stop the fencer")]
    Signals(#[source] nix::errno::Errno),
    #[error(transparent)]
    Page(#[from] PageError),
    #[error(transparent)]
    Link(#[from] LinkError),
}

impl StartError {
    /// The message and those of its causes.
    pub(crate) fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// For what failed at this path.
pub(super) fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::File { doing, path, source }
}
