//! All that follows from a setting, as rows for `leasefence config check`. It computes nothing of its own.

use std::time::Duration;

use crate::terms::{PET_INTERVAL, RESET_LATENCY, Setting};

/// One derived number.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Derived {
    /// Its name.
    pub name: &'static str,
    /// With its unit.
    pub value: String,
    /// What it means, in words.
    pub explanation: &'static str,
    /// The formula, or the inequality that it keeps, with numbers.
    pub rule: String,
}

/// All rows of a setting, configured values first.
#[must_use]
pub fn report(setting: &Setting) -> Vec<Derived> {
    [terms(setting), bounds(setting), merit(setting)].concat()
}

fn terms(setting: &Setting) -> Vec<Derived> {
    let terms = &setting.terms;
    vec![
        row(
            "lease_ttl",
            seconds(terms.lease_ttl),
            "from before the last good renewal to the lease's end",
            ">= 4 renewals",
        ),
        row(
            "fence_budget",
            seconds(terms.fence_budget),
            "from the lease's end until killed and quiesced, or reset",
            "",
        ),
        row("write_drain", seconds(terms.write_drain), "longest that storage holds a received write", ""),
        row("renewal_interval", seconds(terms.renewal_interval), "between renewals of the own record", ""),
        row("scan_interval", seconds(terms.scan_interval), "between scans of the peers' records", ""),
        row("clock_drift_ppm", terms.drift_ppm.to_string(), "bound on each oscillator", ""),
        row("watchdog_actual", seconds(terms.watchdog_actual), "what the driver returned, plus its step", ""),
        row(
            "unknown_hold",
            seconds(setting.unknown_hold),
            "how long a write without an answer may still land",
            &hold(setting),
        ),
    ]
}

fn bounds(setting: &Setting) -> Vec<Derived> {
    let terms = &setting.terms;
    let fence = format!("<= fence_budget {}", seconds(terms.fence_budget));
    let renewal = format!("<= lease_ttl + fence_budget {}", seconds(terms.lease_ttl + terms.fence_budget));
    let gap = format!("<= lease_ttl / 4 = {}", seconds(terms.longest_gap()));
    vec![
        row(
            "fence_needs",
            seconds(setting.fence_needs()),
            "kill + quiesce + pet_interval + reset_latency + watchdog step (not for class none, unless it resets itself)",
            &fence,
        ),
        row(
            "renewal_needs",
            seconds(setting.renewal_needs()),
            "watchdog_actual + reset_latency + renewal_interval + p99.9(io) + pet_interval",
            &renewal,
        ),
        row("scan_needs", seconds(terms.scan_interval + setting.io_p999), "scan_interval + p99.9(io)", &gap),
        row("pet_interval", seconds(PET_INTERVAL), "between pets and beats of the fencer", &gap),
        row(
            "reset_latency",
            seconds(RESET_LATENCY),
            "from a missed pet, or sysrq b, to the machine's reset",
            "",
        ),
        row(
            "reset_at",
            reset_at(setting),
            "after the lease's end, at the latest, a host that cannot show itself fenced resets itself",
            "fence_budget - reset_latency",
        ),
    ]
}

fn merit(setting: &Setting) -> Vec<Derived> {
    let terms = &setting.terms;
    let verdict = terms.verdict_after_with_survival(setting.survival);
    vec![
        row(
            "verdict_after",
            seconds(verdict),
            "unchanged for this long, over a live path, the host is provably gone",
            "(lease_ttl + fence_budget + write_drain) x (1 + drift) / (1 - drift)",
        ),
        row(
            "cap_after_fencing",
            seconds(terms.cap_after_fencing()),
            "after `fencing` was read, the host is gone by then even without its receipt",
            "(max(fence_budget, watchdog_actual + reset_latency) + write_drain) x (1 + drift) / (1 - drift)",
        ),
        row(
            "takeover",
            seconds(terms.takeover()),
            "last renewal to verdict, worst",
            "verdict_after + scan_interval",
        ),
        row(
            "stall_survived",
            seconds(terms.stall_survived()),
            "longest stall of the storage",
            "lease_ttl - renewal_interval",
        ),
        row(
            "ratio",
            format!("{:.2}", terms.ratio()),
            "takeover / stall survived",
            "sanlock at its defaults: 2.4",
        ),
        row("dead_time", seconds(terms.dead_time()), "takeover - stall survived", ""),
    ]
}

fn reset_at(setting: &Setting) -> String {
    if setting.reset_on {
        seconds(setting.terms.fence_budget.saturating_sub(RESET_LATENCY))
    } else {
        "never".to_owned()
    }
}

fn hold(setting: &Setting) -> String {
    setting.mount_gives_up.map_or_else(
        || ">= timeo x (retrans + 1) of the mount (not known here)".to_owned(),
        |mount| format!(">= timeo x (retrans + 1) = {}", seconds(mount)),
    )
}

fn row(name: &'static str, value: String, explanation: &'static str, rule: &str) -> Derived {
    Derived { name, value, explanation, rule: rule.to_owned() }
}

/// Seconds with as many decimals as there are, at least one: `3.5 s`, `16.517 s`, `2.0 s`.
fn seconds(duration: Duration) -> String {
    let text = format!("{:.3}", duration.as_secs_f64());
    let text = text.trim_end_matches('0');
    if text.ends_with('.') { format!("{text}0 s") } else { format!("{text} s") }
}
