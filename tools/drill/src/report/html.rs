//! The report as one page that needs nothing else: readable in light and dark, on a screen and on paper.

use std::fmt::Write;

use jiff::{Timestamp, tz::TimeZone};

use super::{Ending, Entry, Report, signed, svg};
use crate::judge::{Check, Judgement, Outcome};
use crate::plan::seconds;

const STYLE: &str = "
:root{color-scheme:light dark;--paper:#fff;--card:#f6f8fa;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--good:#1a7f37;--bad:#cf222e;
--plain:#6e7781;--lease:#54aeff;--ending:#b6e3ff;--none:#e1e4e8;--canary:#4ac26b;--window:#fff1cc}
@media (prefers-color-scheme:dark){:root{--paper:#0d1117;--card:#161b22;--ink:#e6edf3;--soft:#9198a1;--line:#30363d;--good:#3fb950;
--bad:#f85149;--plain:#8b949e;--lease:#1f6feb;--ending:#0c2d6b;--none:#30363d;--canary:#238636;--window:#3d2e00}}
*{box-sizing:border-box} body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif}
main{max-width:1020px;margin:0 auto;padding:32px 24px 64px} h1{font-size:26px;margin:0 0 4px} h2{font-size:19px;margin:0}
p{margin:6px 0} .soft{color:var(--soft)} section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px;margin:24px 0}
.head{display:flex;gap:12px;align-items:baseline;flex-wrap:wrap} .badge{font-size:12px;font-weight:600;border-radius:20px;padding:1px 10px;
border:1px solid currentColor} .good{color:var(--good)} .bad{color:var(--bad)} .plain{color:var(--plain)}
.wide{overflow-x:auto} svg{display:block;width:100%;min-width:640px;height:auto;margin:12px 0} svg text{font:11px system-ui,sans-serif;fill:var(--soft)}
svg .lane{font-size:12px;font-weight:600;fill:var(--ink)} .rail,.grid{stroke:var(--line)} .grid{stroke-dasharray:2 4}
rect.window{fill:var(--window)} rect.lease{fill:var(--lease)} rect.ending{fill:var(--ending)} rect.none{fill:var(--none)} rect.canary{fill:var(--canary)}
g line{stroke:currentColor;stroke-width:1.5} g circle{fill:var(--card);stroke:currentColor} g text{font-size:9px;fill:var(--ink)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums} th,td{text-align:left;padding:6px 10px;border-top:1px solid var(--line);
vertical-align:top} th{font-weight:600;border-top:0} td.time{text-align:right;white-space:nowrap} ol{padding-left:26px;margin:8px 0 16px}
li span{color:var(--soft);font-variant-numeric:tabular-nums} .key i{display:inline-block;width:18px;height:9px;border-radius:2px;margin:0 6px 0 14px}
@media print{section{break-inside:avoid}}
";

/// The whole page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut out = String::new();
    let (class, verdict) = match report.exit_code {
        crate::exit::KEPT => ("good", "Every promise was kept"),
        crate::exit::BROKEN => ("bad", "A promise was broken"),
        _ => ("plain", "Not everything could be run"),
    };
    let host = escape(&report.host);
    put(
        &mut out,
        format_args!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>Fencing drill of {host}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Fencing drill of {host}</h1>\n\
             <p class=\"soft\">{}, leasefence {}</p>\n<p><strong class=\"{class}\">{verdict}.</strong></p>",
            date(report.started_unix_ms),
            escape(&report.version)
        ),
    );
    report.scenarios.iter().for_each(|entry| put_entry(&mut out, &report.host, entry));
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn put_entry(out: &mut String, host: &str, entry: &Entry) {
    let (class, word) = match entry.result {
        Ending::Kept => ("good", "kept"),
        Ending::Broken => ("bad", "broken"),
        Ending::NotRun => ("plain", "not run"),
        Ending::Planned => ("plain", "planned"),
    };
    put(
        out,
        format_args!(
            "<section>\n<div class=\"head\"><h2>{}</h2><span class=\"badge {class}\">{word}</span></div>\n<p class=\"soft\">{}</p>",
            entry.scenario.name(),
            escape(entry.scenario.what())
        ),
    );
    if let Some(judgement) = &entry.judgement {
        put(out, format_args!("<div class=\"wide\">\n{}</div>", svg::timeline(host, judgement)));
        put(
            out,
            format_args!(
                "<p class=\"key soft\"><i style=\"background:var(--lease);margin-left:0\"></i>lease, renewed\
                 <i style=\"background:var(--ending)\"></i>not renewed any more<i style=\"background:var(--none)\"></i>no lease\
                 <i style=\"background:var(--canary)\"></i>the canary runs<i style=\"background:var(--window)\"></i>promised</p>"
            ),
        );
        put_marks(out, judgement);
        put_checks(out, judgement);
    }
    for note in &entry.notes {
        put(out, format_args!("<p>{}</p>", escape(note)));
    }
    out.push_str("</section>\n");
}

fn put_marks(out: &mut String, judgement: &Judgement) {
    out.push_str("<ol>\n");
    for mark in &judgement.marks {
        put(
            out,
            format_args!(
                "<li><span>{}</span> {}: {}</li>",
                signed(mark.at_ms),
                escape(&mark.host),
                escape(&mark.text)
            ),
        );
    }
    out.push_str("</ol>\n");
}

fn put_checks(out: &mut String, judgement: &Judgement) {
    out.push_str(
        "<div class=\"wide\"><table>\n<tr><th>What</th><th>Measured</th><th>Promised</th><th></th><th>How</th></tr>\n",
    );
    judgement.checks.iter().for_each(|check| put_check(out, check));
    out.push_str("</table></div>\n");
}

fn put_check(out: &mut String, check: &Check) {
    let time = |ms: Option<u64>| ms.map_or_else(|| "–".to_owned(), seconds);
    let (class, word) = match check.outcome {
        Outcome::Kept => ("good", "kept"),
        Outcome::Broken => ("bad", "broken"),
        Outcome::Told => ("plain", "told"),
    };
    put(
        out,
        format_args!(
            "<tr><td>{}</td><td class=\"time\">{}</td><td class=\"time\">{}</td><td class=\"{class}\">{word}</td><td class=\"soft\">{}</td></tr>",
            escape(check.what),
            time(check.measured_ms),
            time(check.promised_ms),
            escape(&check.how)
        ),
    );
}

/// In UTC: the page may be read anywhere.
fn date(unix_ms: u64) -> String {
    let stamp = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(
        || "at an impossible time".to_owned(),
        |stamp| stamp.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

/// For text and for attributes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").ok();
}

#[cfg(test)]
mod tests;
