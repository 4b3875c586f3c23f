//! What a drill has shown: as JSON, as text, and as a page.

mod html;
mod svg;
mod text;

use serde::Serialize;

use crate::judge::Judgement;
use crate::plan::Plan;
use crate::scenario::Scenario;

pub use html::page;
pub use text::text;

/// The version of the JSON; fields are only ever added to it.
pub const REPORT_VERSION: u32 = 1;

/// How a rehearsal ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Every promise was kept.
    Kept,
    /// A promise was broken.
    Broken,
    /// It could not be run, and nothing is said of any promise.
    NotRun,
    /// It may be run (`--dry-run`).
    Planned,
}

/// One rehearsal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Entry {
    /// Which.
    pub scenario: Scenario,
    /// How it ended.
    pub result: Ending,
    /// When it began: wall time, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Why it was not run, or what is left to do, each a whole sentence.
    pub notes: Vec<String>,
    /// What was to be done.
    pub plan: Option<Plan>,
    /// What came of it.
    pub judgement: Option<Judgement>,
}

/// All of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub report_version: u32,
    /// The program's version.
    pub version: String,
    /// The host.
    pub host: String,
    /// When the drill began: wall time, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Each, in order.
    pub scenarios: Vec<Entry>,
    /// The exit code that follows.
    pub exit_code: u8,
}

impl Report {
    /// Of these rehearsals.
    #[must_use]
    pub fn of(host: String, started_unix_ms: u64, scenarios: Vec<Entry>) -> Self {
        let exit_code = exit_code(scenarios.iter().map(|entry| entry.result));
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { report_version: REPORT_VERSION, version, host, started_unix_ms, scenarios, exit_code }
    }
}

/// A broken promise outweighs what could not be run, and that outweighs what was kept.
fn exit_code(results: impl Iterator<Item = Ending>) -> u8 {
    let codes = results.map(|result| match result {
        Ending::Broken => (2, crate::exit::BROKEN),
        Ending::NotRun => (1, crate::exit::NOT_RUN),
        Ending::Kept | Ending::Planned => (0, crate::exit::KEPT),
    });
    codes.max().map_or(crate::exit::KEPT, |(_, code)| code)
}

/// Milliseconds with their sign, as seconds.
#[must_use]
pub fn signed(ms: i64) -> String {
    let sign = if ms < 0 { '-' } else { '+' };
    format!("{sign}{}", crate::plan::seconds(ms.unsigned_abs()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_outweighs_what_was_not_run_and_that_what_was_kept() {
        let code = |results: &[Ending]| exit_code(results.iter().copied());
        assert_eq!(code(&[Ending::Kept, Ending::Kept]), 0);
        assert_eq!(code(&[Ending::Kept, Ending::NotRun]), 3);
        assert_eq!(code(&[Ending::NotRun, Ending::Broken, Ending::Kept]), 1);
        assert_eq!(code(&[Ending::Planned]), 0);
    }

    #[test]
    fn times_are_signed_and_in_seconds() {
        assert_eq!([signed(0), signed(1_234), signed(-1_234)], ["+0.00 s", "+1.23 s", "-1.23 s"]);
    }
}
