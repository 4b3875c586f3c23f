//! `check-disk`: the judge for people, on a disk, a device, or a copied image; on the storage machine, for instance.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::checker;
use crate::verdict::{Outcome, Verdict};

/// What is to be judged.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit code: 0 one writer at a time; 1 split brain; 2 cannot be read; 3 torn or lost writes"
)]
pub struct Options {
    /// The guest's disk: an image, or a block device.
    path: PathBuf,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Judges, prints the verdict, and says it by the exit code, too.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    let verdict = match checker::check_disk(&options.path) {
        Ok(verdict) => verdict,
        Err(error) => {
            eprintln!("leasefence-demo: cannot read {}: {error}", options.path.display());
            return ExitCode::from(2);
        }
    };
    leasefence_say::text(&if options.json { json(&verdict) } else { text(&verdict) });
    match verdict.outcome() {
        Outcome::Clean => ExitCode::SUCCESS,
        Outcome::SplitBrain => ExitCode::from(1),
        Outcome::Damaged => ExitCode::from(3),
    }
}

fn json(verdict: &Verdict) -> String {
    let value =
        serde_json::json!({ "outcome": verdict.outcome(), "writes": verdict.writes(), "verdict": verdict });
    format!("{value:#}\n")
}

/// The lives, then what is wrong, then the sum.
fn text(verdict: &Verdict) -> String {
    let mut lines =
        vec![format!("{:>10}  {:<8}  {:<16} {:>8}  from … to", "generation", "boot", "host", "writes")];
    for life in &verdict.lives {
        let claim = &life.claim;
        lines.push(format!(
            "{:>10}  {:<8}  {:<16} {:>8}  {} … {}",
            claim.generation,
            claim.boot,
            claim.host,
            life.writes(),
            claim.at,
            life.last.as_ref().map_or(claim.at, |last| last.at)
        ));
    }
    lines.extend(verdict.notes.iter().map(|note| format!("note: {note}")));
    lines.extend(verdict.damage.iter().map(|damage| format!("damage: {damage}")));
    lines.extend(verdict.split_brains.iter().map(|split_brain| format!("split brain: {split_brain}")));
    lines.push(match verdict.outcome() {
        Outcome::Clean => "clean: one writer at a time".into(),
        Outcome::Damaged => "DAMAGED: one writer at a time, but writes are torn or lost".into(),
        Outcome::SplitBrain => "SPLIT BRAIN".into(),
    });
    lines.join("\n") + "\n"
}
