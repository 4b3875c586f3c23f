//! `leasefence-fencer`: kills this host's domains at the lease's end, whatever else hangs, and proves that they are gone.
//!
//! It decides nothing itself: `leasefence_core::fencing::Fencer` does. Here are the hands: the page, pidfds, the marker's
//! file, and the loop that never waits for anything but time.

#[cfg(debug_assertions)]
mod allocations;
mod cgroups;
mod daemon;
mod discovery;
mod finder;
mod hardening;
mod ladder;
mod layout_file;
mod log;
mod manager;
mod options;
mod proc_stat;
mod process;
mod quiesce;
mod real_hands;
mod reset;
mod run_files;
mod state_file;
mod watchdog;

use std::process::ExitCode;

use options::Request;

#[cfg(debug_assertions)]
#[global_allocator]
static HEAP: allocations::Counting = allocations::Counting;

fn main() -> ExitCode {
    // Before there is another thread.
    hardening::keep_to_one_heap();
    let options = match options::parse(std::env::args_os().skip(1)) {
        Ok(Request::Run(options)) => options,
        Ok(Request::Find) => return finder::run(),
        Ok(Request::Help) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(Request::Version) => {
            println!("leasefence-fencer {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("leasefence-fencer: {error}");
            return ExitCode::from(2);
        }
    };
    match daemon::run(&options) {
        Ok(daemon::Stopped::Unguarded) => ExitCode::SUCCESS,
        Ok(daemon::Stopped::WhileGuarding) => ExitCode::from(3),
        Err(error) => {
            eprintln!("leasefence-fencer: {}", error.with_causes());
            ExitCode::FAILURE
        }
    }
}
