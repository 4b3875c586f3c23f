//! The model check: an exhaustive search of small clusters, on the types of the core that ships. Each model is a part of
//! the protocol with an adversary around it: writes that land late or never, slow reads, crashes, restarts.
//!
//! `leasefence-model timing|slot|lease|all [--size small|medium|large]` ends with 1 when anything is violated or was not
//! searched to the end. Built with `planted-bugs`, `--wrong BUG` (or `--wrong all`) ends with 0 only when it is refuted.

mod fingerprint;
mod lease;
mod part;
mod relative;
mod scenario;
mod search;
mod slot;
mod timing;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use scenario::{Checked, Size};

/// Searches small clusters exhaustively for a split brain.
#[derive(Parser, Debug)]
struct Options {
    /// Which model.
    model: Which,
    /// How much of it: each size includes the smaller ones.
    #[arg(long, value_enum, default_value = "small")]
    size: Size,
    /// Only scenarios whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Stop each scenario at so many states, and say so.
    #[arg(long, default_value_t = usize::MAX)]
    most: usize,
    /// Plant this bug (or `all`, one after the other), and fail unless it is found.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, value_name = "BUG")]
    wrong: Option<String>,
}

/// The models.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Which {
    /// Holder, observer, verdict.
    Timing,
    /// Slot claims.
    Slot,
    /// Domain leases.
    Lease,
    /// All of them.
    All,
}

impl Which {
    fn includes(self, other: Self) -> bool {
        self == Self::All || self == other
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    #[cfg(feature = "planted-bugs")]
    if let Some(word) = &options.wrong {
        return refute(options.model, Some(word.as_str()).filter(|word| *word != "all"));
    }
    let mut sound = true;
    sound &= !options.model.includes(Which::Timing) || checked::<timing::Timing>(&options);
    sound &= !options.model.includes(Which::Slot) || checked::<slot::Slots>(&options);
    sound &= !options.model.includes(Which::Lease) || checked::<lease::Leases>(&options);
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn checked<M: Checked>(options: &Options) -> bool {
    scenario::check::<M>(options.size, &options.only, options.most)
}

#[cfg(feature = "planted-bugs")]
fn refute(model: Which, word: Option<&str>) -> ExitCode {
    let mut results = Vec::new();
    if model.includes(Which::Timing) {
        results.push(scenario::refute::<timing::Timing>(word));
    }
    if model.includes(Which::Slot) {
        results.push(scenario::refute::<slot::Slots>(word));
    }
    if model.includes(Which::Lease) {
        results.push(scenario::refute::<lease::Leases>(word));
    }
    let known: usize = results.iter().map(|refuted| refuted.known).sum();
    let survivors: Vec<_> = results.iter().flat_map(|refuted| &refuted.survivors).collect();
    leasefence_say::say!("{known} planted, {} refuted; survivors: {survivors:?}", known - survivors.len());
    if known > 0 && survivors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
