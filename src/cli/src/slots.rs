//! `leasefence slot list`: who has which place in the lease file, read from the file itself.

use std::collections::BTreeMap;
use std::path::Path;

use leasefence_core::format::dump::{Content, Item, Role};
use leasefence_core::format::{Claim, HostRecord};
use leasefence_core::ids::Slot;
use leasefence_say::say;
use serde::Serialize;

use crate::dump;
use crate::outcome::{CliError, Exit, Outcome};
use crate::text::{clock_time, lines, table};

/// What a slot's sectors show.
#[derive(Default)]
struct Found {
    claim: Option<Claim>,
    record: Option<HostRecord>,
    faults: Vec<String>,
}

/// A slot that is taken, for people and for programs.
#[derive(Serialize)]
struct Row {
    slot: u16,
    /// The machine's name in the claim: what `slot free` asks for.
    claimed_by: Option<String>,
    host: Option<String>,
    generation: Option<u32>,
    state: Option<&'static str>,
    written_unix_ms: Option<u64>,
    faults: Vec<String>,
}

/// Lists every slot that has a claim, a record, or damage.
pub(crate) fn list(path: &Path, json: bool) -> Outcome {
    let medium = dump::open(path)?;
    let mut slots: BTreeMap<Slot, Found> = BTreeMap::new();
    let summary = dump::decode(&medium, None, &mut |item| take(&mut slots, item));
    let Some(layout) = summary.layout else {
        return Err(CliError::Other(format!(
            "{} has no readable header; `leasefence dump {}` says what is there",
            path.display(),
            path.display()
        )));
    };
    let rows: Vec<Row> = slots.into_iter().map(|(slot, found)| row(slot, found)).collect();
    if json {
        say!("{}", serde_json::to_string(&rows).map_err(CliError::from_display)?);
    } else {
        say!("{}", as_text(&rows));
        say!("{} of {} slots are taken", rows.len(), layout.slots().count());
    }
    Ok(if rows.iter().all(|row| row.faults.is_empty()) { Exit::Done } else { Exit::Failed })
}

fn take(slots: &mut BTreeMap<Slot, Found>, item: Item) {
    let (Role::Claim(slot) | Role::HostRecord(slot, _)) = item.role else { return };
    let found = slots.entry(slot).or_default();
    let remarks = item.remarks;
    match item.content {
        Content::Claim(claim) => found.claim = Some(claim),
        Content::HostRecord(record) => {
            let newest = found.record.take().into_iter().chain([*record]);
            found.record = newest.max_by_key(|record| (record.incarnation.generation, record.sequence));
        }
        Content::Damaged(error) => found.faults.push(format!("offset {}: {error}", item.offset)),
        Content::Unreadable(error) => found.faults.push(format!("offset {}: {error}", item.offset)),
        Content::Header(_)
        | Content::Observer(_)
        | Content::Journal(_)
        | Content::LeasePage(_)
        | Content::Empty
        | Content::Stray => {}
    }
    found.faults.extend(remarks);
}

fn row(slot: Slot, found: Found) -> Row {
    let record = found.record.as_ref();
    Row {
        slot: slot.0,
        claimed_by: found.claim.map(|claim| claim.name.as_str().to_owned()),
        host: record.map(|record| record.host_name.as_str().to_owned()),
        generation: record.map(|record| record.incarnation.generation.0),
        state: record.map(|record| record.state.as_str()),
        written_unix_ms: record.map(|record| record.wall_ns / 1_000_000),
        faults: found.faults,
    }
}

fn as_text(rows: &[Row]) -> String {
    let mut shown = table(&["SLOT", "CLAIMED BY", "HOST", "GEN", "STATE", "WRITTEN", "FAULTS"]);
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for row in rows {
        shown.add_row([
            row.slot.to_string(),
            dash(row.claimed_by.clone()),
            dash(row.host.clone()),
            dash(row.generation.map(|generation| generation.to_string())),
            dash(row.state.map(str::to_owned)),
            dash(row.written_unix_ms.map(clock_time)),
            row.faults.join("; "),
        ]);
    }
    lines(&shown)
}
