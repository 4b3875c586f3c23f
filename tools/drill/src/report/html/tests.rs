use std::fs;
use std::path::Path;

use super::page;
use crate::judge::{Check, Judgement, Kind, Mark, Outcome, Window};
use crate::report::{Ending, Entry, Report, text};
use crate::scenario::Scenario;

fn mark(at_ms: i64, host: &str, kind: Kind, text: &str) -> Mark {
    Mark { at_ms, host: host.to_owned(), kind, text: text.to_owned() }
}

fn sample() -> Report {
    let marks = vec![
        mark(-410, "host-1", Kind::LastRenewal, "last renewal"),
        mark(0, "host-1", Kind::Act, "the agent issues no I/O to the lease file for 15.60 s"),
        mark(7_590, "host-1", Kind::LeaseEnd, "the lease ends"),
        mark(7_640, "host-1", Kind::Killed, "the canary's process is gone"),
        mark(7_700, "host-1", Kind::Clean, "CLEAN: no process left, its storage quiet"),
        mark(11_300, "host-2", Kind::Proof, "says that host-1 has expired"),
        mark(11_900, "host-2", Kind::Lease, "owns the canary's lease"),
        mark(13_000, "host-2", Kind::Restart, "the canary counts on"),
        mark(15_600, "host-1", Kind::Undone, "the agent reaches its storage again"),
        mark(31_000, "host-1", Kind::Back, "holds a lease again"),
    ];
    let windows = vec![
        Window {
            from_ms: 7_590,
            to_ms: 9_590,
            host: Some("host-1".to_owned()),
            text: "by its end".to_owned(),
        },
        Window { from_ms: 10_600, to_ms: 11_100, host: None, text: "a verdict".to_owned() },
    ];
    let check = |what, promised_ms, measured_ms, outcome| Check {
        what,
        promised_ms,
        measured_ms,
        how: "from <there> & \"here\"".to_owned(),
        outcome,
    };
    let checks = vec![
        check("lease end", Some(8_000), Some(8_000), Outcome::Told),
        check("canary killed", Some(2_000), Some(50), Outcome::Kept),
        check("restart on a peer", Some(120_000), None, Outcome::Broken),
    ];
    let entry = |scenario, result, notes, judgement| Entry {
        scenario,
        result,
        started_unix_ms: 1_795_000_000_000,
        notes,
        plan: None,
        judgement,
    };
    let scenarios = vec![
        entry(Scenario::StorageStall, Ending::Broken, Vec::new(), Some(Judgement { marks, windows, checks })),
        entry(Scenario::WatchdogBite, Ending::NotRun, vec!["This host has no watchdog.".to_owned()], None),
    ];
    let report = Report::of("host-1".to_owned(), 1_795_000_000_000, scenarios);
    Report { version: "0.0.0".to_owned(), ..report }
}

/// `UPDATE_GOLDEN=1 cargo test -p leasefence-drill` writes it anew.
fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).expect("it is written");
    }
    let golden = fs::read_to_string(&path).expect("it is in the repository");
    assert_eq!(text, golden, "{} is another; if it should be, run this with UPDATE_GOLDEN=1", path.display());
}

#[test]
fn the_page_is_well_formed_and_needs_nothing_from_elsewhere() {
    let page = page(&sample());
    assert_golden("report.html", &page);
    let body = page.strip_prefix("<!DOCTYPE html>\n").expect("it is HTML");
    roxmltree::Document::parse(body).expect("well-formed");
    for outside in ["http", "src=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("prefers-color-scheme:dark") && page.contains("A promise was broken"));
}

#[test]
fn the_text_has_each_mark_each_promise_and_what_follows() {
    assert_golden("report.txt", &text(&sample()));
}
