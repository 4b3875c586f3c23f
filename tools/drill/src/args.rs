//! The command's options: what `--help`, the man pages and the completions are made of.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::scenario::Scenario;

/// What is said below the options of `drill`.
pub const AFTER: &str = "\
Exit codes: 0 every promise was kept, 1 a promise was broken, 2 wrong usage, 3 something could not be run (a precondition is \
missing, or the drill itself failed): then nothing is said of it.

A drill starts a canary, a tiny guest of its own, on this host, and fails what shall be rehearsed. The canary's disk is made \
beside the lease file, or in the directory that --storage names: it should be the storage of your guests, mounted on all hosts. \
No other guest is touched; where one would die, the drill refuses until it is named with --i-accept-that-guests-die.

  leasefence drill list
  leasefence drill run --all --dry-run
  leasefence drill run planned-fence storage-stall --storage /mnt/images --html drill.html

storage-stall needs drill = \"allowed\" in this host's configuration, and so does planned-fence without --fence-with.";

/// What to do.
#[derive(Subcommand, Clone, Debug)]
pub enum DrillCommand {
    /// List what can be rehearsed.
    List {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Rehearse failures of this host, and measure what comes of them beside what the terms promise.
    #[command(after_help = AFTER)]
    Run(RunArgs),
    /// Report a watchdog-bite, after the reset.
    AfterReset(ReportArgs),
    /// Remove what a drill that was interrupted, or one of a peer, has left on this host.
    ///
    /// The canary of this host is told to stop, wherever it runs, and its disk is removed; canaries that do not run here are forgotten
    /// by this host's libvirt.
    Clean {
        /// The directory that was given to the drill, if it was.
        #[arg(long, value_name = "DIR")]
        storage: Option<PathBuf>,
    },
    /// Stop a process, and let it on when standard input ends or the time is over.
    #[command(hide = true)]
    Hold {
        /// Which process.
        pid: u32,
        /// For how long at most.
        milliseconds: u64,
        /// What program it runs.
        program: String,
    },
}

/// How a report is given.
#[derive(Args, Clone, Debug, Default)]
pub struct ReportArgs {
    /// Report as JSON, for programs.
    #[arg(long)]
    pub json: bool,
    /// Write the report as a page with a timeline into this file, too.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// `leasefence drill run`.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// What to rehearse, in this order; `leasefence drill list` says what there is.
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    pub names: Vec<Scenario>,
    /// Rehearse everything; watchdog-bite only with --i-accept-a-reset, and last.
    #[arg(long)]
    pub all: bool,
    /// Say what would be done, to whom, and what the terms promise; do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// A directory on shared storage, at the same path on all hosts, for the canary's disk; that of the lease file if not given.
    #[arg(long, value_name = "DIR")]
    pub storage: Option<PathBuf>,
    /// Your word that this domain of this host may die, and be restarted by a peer if it is one that is. Once for each that runs.
    #[arg(long, value_name = "DOMAIN")]
    pub i_accept_that_guests_die: Vec<String>,
    /// Your word that this machine may be reset.
    #[arg(long)]
    pub i_accept_a_reset: bool,
    /// planned-fence: have a peer ask for it, by this shell command, like "ssh host-2 leasefence fence host-1".
    #[arg(long, value_name = "COMMAND")]
    pub fence_with: Option<String>,
    /// How the report is given.
    #[command(flatten)]
    pub report: ReportArgs,
}

impl RunArgs {
    /// What is to be rehearsed, in order. Nothing comes after a reset.
    #[must_use]
    pub fn scenarios(&self) -> Vec<Scenario> {
        let bite = |scenario: &Scenario| *scenario != Scenario::WatchdogBite || self.i_accept_a_reset;
        if self.all {
            return Scenario::ALL.into_iter().filter(bite).collect();
        }
        let (last, first): (Vec<_>, Vec<_>) =
            self.names.iter().copied().partition(|scenario| *scenario == Scenario::WatchdogBite);
        first.into_iter().chain(last.into_iter().take(1)).collect()
    }
}
