//! `make demo`: three hosts, one guest, and three ways to lose a host.

mod demo;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use leasefence_demo::{check_disk, init, wait};

/// Starts three virtualisation hosts on this machine, each with its own libvirtd, fencer and agent, and a real QEMU guest
/// that writes to a disk they share. Then it takes the guest's host away in three ways, and shows what happens.
#[derive(Parser, Debug)]
#[command(name = "leasefence-demo", version, max_term_width = 100)]
struct Args {
    #[command(flatten)]
    demo: demo::Options,
    #[command(subcommand)]
    command: Option<Task>,
}

/// What else it does. The hidden ones are what the demo runs itself as, to become a host.
#[derive(Subcommand, Debug)]
enum Task {
    /// Judge the disk of such a guest: whether two copies ever wrote to it at once.
    CheckDisk(check_disk::Options),
    /// Enter the host's control groups and namespaces.
    #[command(hide = true)]
    HostEnter {
        /// The host's description.
        spec: PathBuf,
    },
    /// Be the host's PID 1.
    #[command(hide = true)]
    HostInit {
        /// The host's description.
        spec: PathBuf,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match &args.command {
        Some(Task::CheckDisk(options)) => return check_disk::run(options),
        Some(Task::HostEnter { spec }) => init::enter(spec).map_err(Into::into),
        Some(Task::HostInit { spec }) => init::run(spec).map_err(Into::into),
        None => wait::catch_interrupts().map_err(Into::into).and_then(|()| demo::run(&args.demo)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => demo::report(&*error),
    }
}
