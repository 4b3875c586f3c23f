//! `leasefence config check`: the configuration, judged, with every bound that follows from it.

use std::path::Path;

use leasefence_config::Config;
use leasefence_core::terms::{Derived, report};
use leasefence_transport::Transport;

use crate::outcome::{CliError, Exit, Outcome};
use crate::text::{lines, say, table};

/// Checks the file. Prints all bounds also of a timing that is refused, so that one sees what is wrong with it.
pub(crate) fn check(path: &Path, json: bool) -> Outcome {
    let config = Config::load(path).map_err(CliError::from_display)?;
    let judged = config.terms();
    let refused = judged.as_ref().err().map(ToString::to_string);
    let setting = config.setting(None);
    let rows = report(&setting);
    // What is not mounted here yet is not judged.
    let transport = Transport::of(&config.lease).unwrap_or(Transport::Other);
    let advice = transport.advice(setting.terms.lease_ttl);
    if json {
        say(&as_json(&config, &rows, &advice, refused.as_deref())?);
    } else {
        say(&format!("cluster {}, lease {}, {}\n", config.cluster, config.lease.display(), config.timing()));
        say(&as_text(&rows));
        for note in config.not_yet() {
            say(&format!("NOTE  {note}"));
        }
        for warning in &advice {
            say(&format!("WARNING  {warning}"));
        }
    }
    judged.map_err(CliError::from_display)?;
    if !json {
        say(&format!("\n{}: this configuration may be used", path.display()));
    }
    Ok(Exit::Done)
}

fn as_text(rows: &[Derived]) -> String {
    let mut shown = table(&["NAME", "VALUE", "MEANING", "RULE"]);
    for row in rows {
        shown.add_row([row.name, &row.value, row.explanation, &row.rule]);
    }
    lines(&shown)
}

fn as_json(
    config: &Config,
    rows: &[Derived],
    advice: &[String],
    refused: Option<&str>,
) -> Result<String, CliError> {
    let derived: Vec<_> = rows
        .iter()
        .map(|row| {
            serde_json::json!({"name": row.name, "value": row.value, "meaning": row.explanation, "rule": row.rule})
        })
        .collect();
    let whole = serde_json::json!({
        "cluster": config.cluster,
        "lease": config.lease,
        "timing": config.timing().to_string(),
        "accepted": refused.is_none(),
        "refused_because": refused,
        "not_in_this_version": config.not_yet(),
        "warnings": advice,
        "derived": derived,
    });
    serde_json::to_string_pretty(&whole).map_err(CliError::from_display)
}
