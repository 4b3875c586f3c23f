//! The commands and their options: what `--help`, the man pages and the completions are made of.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// What is said below the list of commands.
const AFTER: &str = "\
Exit codes: 0 done (verdict: its domains may be started), 1 error, 2 wrong usage; verdict and fence --wait also \
3 = the host is alive, 4 = not provable yet, or time-out; drill: see `leasefence drill run --help`.

A new cluster:
  leasefence init /mnt/lease/prod.lease --cluster prod    once, on the shared storage
  leasefence config check                                 on each host, after editing /etc/leasefence/leasefence.toml
  systemctl enable --now leasefence-fencer leasefence-agent
  leasefence status

Before starting a dead host's domains elsewhere by hand or from a script:
  leasefence verdict host-3 --wait --timeout 2min && start-them";

/// The storage-heartbeat split-brain guard for KVM hosts: asks this host's agent, or reads a lease file itself.
#[derive(Parser, Debug)]
#[command(name = "leasefence", version, after_help = AFTER, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// The configuration file of this host's agent.
    #[arg(long, global = true, value_name = "PATH", default_value = "/etc/leasefence/leasefence.toml")]
    pub(crate) config: PathBuf,
    /// Where the agent's socket is, if not where the configuration says.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) run_dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Show the hosts of the cluster, this host's lease and its domains.
    ///
    /// A warning names each storage of a running domain that a fence of this host cannot show quiet, why, and what would make it so.
    /// With --json each domain lists its storages.
    Status(StatusArgs),
    /// Say whether a host is provably gone, so that its domains may be started.
    ///
    /// The answer is about the incarnation that is in the host's record when the question is asked, and about no
    /// later one. Exit code 0: gone, its domains may be started. 3: alive (or in maintenance). 4: not provable yet, or
    /// time-out. 1: error. Anything but 0 means: do not start them.
    Verdict(VerdictArgs),
    /// Ask a host to fence itself: it destroys its domains and proves it.
    ///
    /// The host must be alive and must see this host alive. A host that is already dead cannot obey: wait for its
    /// verdict, or confirm it.
    Fence(FenceArgs),
    /// Give your word that a host is off, as evidence for every host.
    ///
    /// Use it only after you have seen that the machine is powered off or cut from its storage for good: if it still runs,
    /// its domains will run twice. Refused while its record still changes.
    Confirm {
        /// The host's name, as in `leasefence status`.
        host: String,
        /// Why you are sure; it goes into the journal with your name.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Enter maintenance: this host's domains are neither destroyed nor restarted elsewhere.
    ///
    /// Of this host alone, or with --cluster of every host, as before work on the storage that all of them use: with all hosts disarmed it may
    /// stand still for as long as it takes. Nothing is restarted meanwhile, whatever dies. `leasefence status` shows who is in maintenance;
    /// `leasefence arm` ends it. An arming that still waits for a lease is taken back.
    Disarm(MaintenanceArgs),
    /// Leave maintenance.
    ///
    /// Of this host alone, or with --cluster of every host that is disarmed. Domains that were started meanwhile get their leases first: one that
    /// cannot have it keeps its host in maintenance, and `leasefence status` there names it. With --cluster it also arms a host that was disarmed by
    /// itself, for a reason of its own: the answer names all that are armed, and such a host is to be disarmed again. A disarm that is still on its
    /// way is taken back, and whoever asked for it is told.
    Arm(MaintenanceArgs),
    /// Give this host's lease back; refused while protected domains run.
    Release,
    /// The places for hosts in the lease file.
    #[command(subcommand)]
    Slot(SlotCommand),
    /// The leases of domains.
    #[command(subcommand)]
    Lease(LeaseCommand),
    /// Which domains are restarted elsewhere when their host is gone.
    #[command(subcommand)]
    Ha(HaCommand),
    /// The configuration of this host's agent.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make a lease file, or write one on a block device. Done once for a cluster.
    Init(crate::init::InitArgs),
    /// Decode a whole lease file, damaged or not, and say what is wrong with it.
    Dump(crate::dump::DumpArgs),
    /// Rehearse fencing on this host, with a canary in the place of your guests.
    ///
    /// It measures lease end, kill, quiescence, proof and restart beside what the terms promise. Exit code 0: every promise was kept. 1: a
    /// promise was broken. 2: wrong usage. 3: something could not be run, and nothing is said of it.
    #[command(subcommand)]
    Drill(leasefence_drill::DrillCommand),
    /// Print the completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the man pages of this command into a directory.
    #[command(hide = true)]
    ManPages {
        /// An existing directory.
        directory: PathBuf,
    },
}

/// Asks the lease file itself, from a machine without an agent.
#[derive(Args, Debug, Clone)]
pub(crate) struct LeaseArg {
    /// Read this lease file or device instead of asking this host's agent.
    ///
    /// For a machine that can reach the storage but runs no agent. It takes as long as the proof needs, since only what was watched
    /// can be said, and it writes into one of the file's observer sectors to show that it is no dead copy.
    #[arg(long, value_name = "PATH")]
    pub(crate) lease: Option<PathBuf>,
}

/// `leasefence status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// As JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
    /// Show it again every SECONDS (1 when not given), until interrupted.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) watch: Option<u64>,
    #[command(flatten)]
    pub(crate) lease: LeaseArg,
}

/// `leasefence verdict`.
#[derive(Args, Debug)]
pub(crate) struct VerdictArgs {
    /// The host's name, as in `leasefence status`.
    pub(crate) host: String,
    /// Wait until there is a verdict, or until the time-out.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait, like `90s` or `5min`; without it as long as it takes.
    #[arg(long, value_name = "T", value_parser = humantime::parse_duration, requires = "wait")]
    pub(crate) timeout: Option<Duration>,
    /// As JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) lease: LeaseArg,
}

/// `leasefence disarm` and `leasefence arm`.
#[derive(Args, Debug)]
pub(crate) struct MaintenanceArgs {
    /// Of every host of the cluster, by one command on any of them.
    ///
    /// This host goes first, and asks the others through the lease file. It answers once all have followed, or after 30 seconds with exit code 1, and
    /// names each that has not (hung, cut off, joining, an older release), with its state: run the command there. What a host must refuse on its own
    /// (while it joins, or fences) it refuses here too, tries again for these 30 seconds, and its log says why. A host that is gone holds up nobody, and one that
    /// joins or is started later has not heard of it: `leasefence status` shows whether all are.
    #[arg(long)]
    pub(crate) cluster: bool,
}

/// `leasefence fence`.
#[derive(Args, Debug)]
pub(crate) struct FenceArgs {
    /// The host's name, as in `leasefence status`.
    pub(crate) host: String,
    /// Wait for the proof; exit codes as of `verdict`.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait, like `90s`.
    #[arg(long, value_name = "T", value_parser = humantime::parse_duration, default_value = "2min", requires = "wait")]
    pub(crate) timeout: Duration,
}

/// `leasefence slot`.
#[derive(Subcommand, Debug)]
pub(crate) enum SlotCommand {
    /// List the slots that are taken.
    List {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
        /// The lease file or device, if not the configured one.
        #[arg(long, value_name = "PATH")]
        lease: Option<PathBuf>,
    },
    /// Free the slot of a machine that will not come back.
    ///
    /// A slot is claimed once in a machine's life, and nothing frees it by itself. This host's agent checks that the slot's
    /// last incarnation is provably over; for a claim that never became a host your word is all there is.
    Free {
        /// The slot, as in `leasefence slot list`.
        slot: u16,
        /// Your word that this machine is off: the name in the slot's claim.
        #[arg(long, value_name = "NAME")]
        machine_is_off: String,
    },
}

/// `leasefence lease`.
#[derive(Subcommand, Debug)]
pub(crate) enum LeaseCommand {
    /// List the leases of all domains.
    List {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Show all entries of one domain.
    Show {
        /// Its name or uuid.
        domain: String,
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
}

/// `leasefence ha`.
#[derive(Subcommand, Debug)]
pub(crate) enum HaCommand {
    /// Restart this domain elsewhere when its host is gone.
    Enable {
        /// Its name or uuid.
        domain: String,
        /// Higher goes first.
        #[arg(long, value_name = "N")]
        priority: Option<u8>,
    },
    /// Do not restart it elsewhere any more. It stays protected.
    Disable {
        /// Its name or uuid.
        domain: String,
    },
    /// Try again to restart a domain that was put on hold after repeated failures.
    Resume {
        /// Its name or uuid.
        domain: String,
    },
}

/// `leasefence config`.
#[derive(Subcommand, Debug)]
pub(crate) enum ConfigCommand {
    /// Check the configuration, and print every bound that follows from it.
    ///
    /// Where this host's agent runs it is asked, too, which storages of running domains a fence cannot show quiet. That changes no
    /// exit code.
    Check {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
}
