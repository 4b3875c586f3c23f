//! `leasefence config check`: the configuration, judged, with every bound that follows from it.

use std::path::Path;

use leasefence_config::{Config, Fence, HasWatchdog, Reset, Watchdog};
use leasefence_core::format::WatchdogClass;
use leasefence_core::terms::{Derived, Terms, report};
use leasefence_say::say;
use leasefence_transport::Transport;

use crate::outcome::{CliError, Exit, Outcome};
use crate::storages;
use crate::text::{lines, table};

/// Checks the file. Prints all bounds also of a timing that is refused, so that one sees what is wrong with it. What runs on
/// this host is the agent's to say, where there is one.
pub(crate) fn check(path: &Path, run_dir: Option<&Path>, json: bool) -> Outcome {
    let config = Config::load(path).map_err(CliError::from_display)?;
    let assumed = assumed_watchdog(&config);
    let without = config.terms(None);
    // Whether "auto" finds one is not known here: it may be another host's file.
    let with = if assumed.is_some() { config.terms(assumed) } else { Ok(Terms::default()) };
    let (judged, watchdog_advice) = match (without, with, &config.watchdog) {
        (Ok(_), Err(error), Watchdog::Auto) => (Ok(()), Some(format!("where a watchdog is found, {error}"))),
        (Err(error), ..) | (Ok(_), Err(error), _) => (Err(error), None),
        (Ok(_), Ok(_), _) => (Ok(()), None),
    };
    let refused = judged.as_ref().err().map(ToString::to_string);
    let setting = config.setting(None, assumed);
    let rows = report(&setting);
    // What is not mounted here yet is not judged.
    let transport = Transport::of(&config.lease).unwrap_or(Transport::Other);
    let advice: Vec<String> =
        transport.advice(setting.terms.lease_ttl).into_iter().chain(watchdog_advice).collect();
    let asked = storages::of_agent(run_dir.unwrap_or(&config.run_dir));
    if json {
        say!("{}", as_json(&config, &rows, &advice, refused.as_deref(), &asked)?);
    } else {
        say!("cluster {}, lease {}, {}", config.cluster, config.lease.display(), config.timing());
        say!("{}", watchdog_line(&config));
        say!("{}", reset_line(&config));
        if let Some(line) = tco_line(&config) {
            say!("{line}");
        }
        say!();
        say!("{}", as_text(&rows));
        for warning in advice.iter().chain(asked.iter().flatten()) {
            say!("WARNING  {warning}");
        }
        if let Err(error) = &asked {
            say!("NOTE  not asked whether the domains' storages can be shown quiet at a fence: {error}");
        }
    }
    judged.map_err(CliError::from_display)?;
    if !json {
        say!("\n{}: this configuration may be used", path.display());
    }
    Ok(Exit::Done)
}

/// The watchdog by which the bounds are shown: hardware that takes just what it is asked for.
fn assumed_watchdog(config: &Config) -> Option<HasWatchdog> {
    let timeout = config.watchdog_timeout();
    (config.watchdog != Watchdog::None).then_some(HasWatchdog::exact(WatchdogClass::Hardware, timeout))
}

/// What else holds where the timer may have to run out twice.
fn tco_line(config: &Config) -> Option<String> {
    let exact = assumed_watchdog(config)?;
    let tco = Some(HasWatchdog { latest: exact.earliest * 2, ..exact });
    let seconds = |duration: std::time::Duration| format!("{:.3} s", duration.as_secs_f64());
    let what = match config.terms(tco) {
        Ok(terms) => format!(
            "fence_budget is {} and verdict_after {}",
            seconds(terms.fence_budget),
            seconds(terms.verdict_after())
        ),
        Err(_) => {
            let needs = config.setting(None, tco).fence_needs();
            format!("this is refused: a fence_budget of {} is needed", seconds(needs))
        }
    };
    Some(format!("where it is iTCO_wdt or wdat_wdt, which reset after their time-out or twice that, {what}"))
}

fn watchdog_line(config: &Config) -> String {
    let timeout = config.watchdog_timeout().as_secs();
    match &config.watchdog {
        Watchdog::None => {
            "watchdog none: peers never call this host expired, unless the lease file accepts that class"
                .to_owned()
        }
        Watchdog::Auto => format!(
            "watchdog auto, set to {timeout} s: the bounds below are those with one; which one this host has, `leasefence status` says"
        ),
        Watchdog::Path(path) => format!(
            "watchdog {}, set to {timeout} s: the bounds below hold if its driver takes that; `leasefence status` says what it took",
            path.display()
        ),
    }
}

fn reset_word(fence: &Fence) -> &'static str {
    match fence.reset {
        Reset::On => "on",
        Reset::Off => "off",
    }
}

fn reset_line(config: &Config) -> String {
    match (config.fence.reset, &config.watchdog) {
        (Reset::On, _) => {
            "reset on: where it cannot show itself fenced in time this host resets itself (sysrq b); whether it can, `leasefence status` says"
        }
        (Reset::Off, Watchdog::None) => {
            "reset off, and no watchdog: NOTHING resets this host where a guest cannot be killed or a storage not be shown quiet"
        }
        (Reset::Off, _) => "reset off: where this host cannot show itself fenced only its watchdog resets it",
    }
    .to_owned()
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
    asked: &Result<Vec<String>, CliError>,
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
        "watchdog": config.watchdog.to_string(),
        "accepted": refused.is_none(),
        "refused_because": refused,
        "reset": reset_word(&config.fence),
        "warnings": advice.iter().chain(asked.iter().flatten()).collect::<Vec<_>>(),
        "storages_not_asked_because": asked.as_ref().err().map(ToString::to_string),
        "derived": derived,
    });
    serde_json::to_string_pretty(&whole).map_err(CliError::from_display)
}
