//! The commands and their options: what `--help` is made of.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use leasefence_lab::image::Suite;
use leasefence_lab::lab::Directions;
use leasefence_lab::machine::{MACHINES, Network};

/// What is said below the list of commands.
const AFTER: &str = "\
A lab to look around in (the storage machine is `storage`, the hypervisors are host-1, host-2 and host-3):
  leasefence-lab up --storage nfs        four machines, Leasefence on three of them, a guest on host-1; a minute or two
  leasefence-lab status
  leasefence-lab exec host-1 leasefence status
  leasefence-lab cut host-1              silence on host-1's storage network; heal undoes it
  leasefence-lab poweroff host-1
  leasefence-lab shell host-2
  leasefence-lab down

Scenarios, with a report:
  leasefence-lab list
  leasefence-lab run power-off --storage both

It needs root (to make the image), no kvm and no network but apt's. tests/lab/README.md says the rest.";

/// Virtual hypervisors with NFS, iSCSI and Leasefence's package: to try what happens, and to run scenarios.
#[derive(Parser, Debug)]
#[command(name = "leasefence-lab", version, after_help = AFTER, max_term_width = 100)]
pub(crate) struct Cli {
    /// Where images and the running lab lie; below the build directory when not given.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// The Debian release of the machines: bookworm has Linux 6.1, trixie has 6.12.
    #[arg(long, global = true, default_value = "bookworm")]
    pub(crate) suite: Suite,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Start the machines, and Leasefence and a guest on them.
    Up(UpArgs),
    /// End everything. Works always.
    Down,
    /// Show what runs, and what is cut.
    Status,
    /// Open a shell on a machine.
    Shell {
        /// The machine.
        #[arg(value_parser = machine)]
        machine: &'static str,
    },
    /// Run a command on a machine.
    Exec {
        /// The machine.
        #[arg(value_parser = machine)]
        machine: &'static str,
        /// The command.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Silence a machine on a network, without its noticing a lost carrier.
    Cut(CutArgs),
    /// Undo cuts and delays: of one machine, or of all.
    Heal {
        /// The machine.
        #[arg(value_parser = machine)]
        machine: Option<&'static str>,
    },
    /// Pull a machine's plug.
    Poweroff {
        /// The machine.
        #[arg(value_parser = machine)]
        machine: &'static str,
    },
    /// Switch a machine on again.
    Poweron {
        /// The machine.
        #[arg(value_parser = machine)]
        machine: &'static str,
    },
    /// Press a machine's reset button.
    Reset {
        /// The machine.
        #[arg(value_parser = machine)]
        machine: &'static str,
    },
    /// Stop all of a machine, while its clocks run on.
    Freeze {
        /// The machine.
        #[arg(value_parser = machine)]
        machine: &'static str,
    },
    /// Let a frozen machine go on.
    Thaw {
        /// The machine.
        #[arg(value_parser = machine)]
        machine: &'static str,
    },
    /// List the scenarios.
    List,
    /// Run scenarios in turn, and report.
    Run(RunArgs),
    /// Be the lab's switch.
    #[command(hide = true)]
    Switch {
        /// The run directory.
        run: PathBuf,
    },
    /// What runs inside the machines.
    #[command(hide = true, subcommand)]
    Inside(leasefence_lab::inside::Inside),
}

/// `leasefence-lab up`.
#[derive(Args, Debug)]
pub(crate) struct UpArgs {
    /// Set up Leasefence and a guest on this storage; the machines alone when not given.
    #[arg(long)]
    pub(crate) storage: Option<leasefence_lab::storage::Storage>,
    /// The package under test, if not the one that `make deb` built.
    #[arg(long, value_name = "FILE")]
    pub(crate) deb: Option<PathBuf>,
}

/// `leasefence-lab cut`.
#[derive(Args, Debug)]
pub(crate) struct CutArgs {
    /// The machine.
    #[arg(value_parser = machine)]
    pub(crate) machine: &'static str,
    /// Which of its networks.
    #[arg(default_value = "storage")]
    pub(crate) network: Network,
    /// Which of its frames.
    #[arg(long, default_value = "both")]
    pub(crate) direction: Directions,
    /// Let frames arrive this much later instead.
    #[arg(long, value_name = "MS")]
    pub(crate) delay: Option<u32>,
}

/// `leasefence-lab run`.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// The scenarios by name, in this order; all when none is given.
    pub(crate) names: Vec<String>,
    /// On which storage.
    #[arg(long, default_value = "both")]
    pub(crate) storage: Storages,
    /// Only the short ones that CI runs.
    #[arg(long, conflicts_with = "names")]
    pub(crate) ci: bool,
    /// All from this one of the list on.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["names", "ci"])]
    pub(crate) from: Option<String>,
    /// The package under test, if not the one that `make deb` built.
    #[arg(long, value_name = "FILE")]
    pub(crate) deb: Option<PathBuf>,
    /// Begin on the lab that `up --storage` or `--keep` has left, instead of a fresh one.
    #[arg(long)]
    pub(crate) reuse: bool,
    /// Leave the lab up after the last scenario.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// `--storage` of `run`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Storages {
    /// NFS 4.2.
    Nfs,
    /// iSCSI.
    Iscsi,
    /// First one, then the other.
    Both,
}

fn machine(name: &str) -> Result<&'static str, String> {
    let names = MACHINES.iter().map(|machine| machine.name).collect::<Vec<_>>();
    names
        .iter()
        .find(|known| **known == name)
        .copied()
        .ok_or_else(|| format!("there is no such machine; there are {}", names.join(", ")))
}
