//! The report for a terminal.

use std::fmt::Write;

use super::{Ending, Entry, Report, signed};
use crate::judge::{Check, Outcome};
use crate::plan::seconds;

/// All rehearsals, and what follows.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    for entry in &report.scenarios {
        put_entry(&mut out, entry);
    }
    out.push_str(match report.exit_code {
        crate::exit::KEPT => "Every promise was kept.\n",
        crate::exit::BROKEN => "A PROMISE WAS BROKEN.\n",
        _ => "Not everything could be run.\n",
    });
    out
}

fn put_entry(out: &mut String, entry: &Entry) {
    let result = match entry.result {
        Ending::Kept => "kept",
        Ending::Broken => "BROKEN",
        Ending::NotRun => "NOT RUN",
        Ending::Planned => "planned",
    };
    put(out, format_args!("{}: {result}\n", entry.scenario.name()));
    if let Some(judgement) = &entry.judgement {
        for mark in &judgement.marks {
            put(out, format_args!("  {:>10}  {:<12} {}\n", signed(mark.at_ms), mark.host, mark.text));
        }
        put(out, format_args!("\n  {:<32} {:>10} {:>10}\n", "", "measured", "promised"));
        judgement.checks.iter().for_each(|check| put_check(out, check));
    }
    entry.notes.iter().for_each(|note| put(out, format_args!("  ! {note}\n")));
    out.push('\n');
}

fn put_check(out: &mut String, check: &Check) {
    let time = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), seconds);
    let outcome = match check.outcome {
        Outcome::Kept => "kept",
        Outcome::Broken => "BROKEN",
        Outcome::Told => "told",
    };
    put(
        out,
        format_args!(
            "  {:<32} {:>10} {:>10}  {outcome:<7} {}\n",
            check.what,
            time(check.measured_ms),
            time(check.promised_ms),
            check.how
        ),
    );
}

fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    out.write_fmt(line).ok();
}
