//! A dump for people: a line for each sector that holds something, and for each that is damaged.

use leasefence_core::format::dump::{Content, Item, Role, Summary};
use leasefence_core::format::{Header, HostRecord, LeaseEntry, LeasePage};

use super::Output;
use super::json::copy;
use crate::medium::Medium;
use crate::text::{clock_time, duration_ms};

/// Prints items as they come; many alike in a row become one line.
pub(super) struct Printer {
    output: Output,
    last: Option<(String, u64)>,
}

impl Printer {
    pub(super) fn new(output: Output) -> Self {
        Self { output, last: None }
    }

    /// One item.
    pub(super) fn item(&mut self, item: &Item) {
        let text = content(item);
        let remarks: Vec<String> =
            item.remarks.iter().map(|remark| format!("\n{:12}WRONG: {remark}", "")).collect();
        let alike = format!("{}{text}", area(item.role));
        if item.is_bad() && self.last.as_ref().is_some_and(|(last, _)| *last == alike) {
            self.last = self.last.take().map(|(last, count)| (last, count + 1));
            return;
        }
        self.say_how_many();
        let line = format!("{:>10}  {:28}  {text}{}", item.offset, role(item.role), remarks.concat());
        self.output.line(&line);
        self.last = Some((alike, 0));
    }

    /// The rest of what was not printed yet.
    pub(super) fn end(mut self) -> Output {
        self.say_how_many();
        self.output
    }

    fn say_how_many(&mut self) {
        if let Some((_, count)) = self.last.take()
            && count > 0
        {
            self.output.line(&format!("{:12}and {count} more like it", ""));
        }
    }
}

/// The last lines.
pub(super) fn summary(medium: &Medium, summary: &Summary) -> String {
    let counts = &summary.counts;
    let mut lines = vec![format!(
        "{}: {} sectors whole, {} never written, {} wrong",
        medium.path().display(),
        counts.whole,
        counts.empty,
        counts.bad
    )];
    match &summary.layout {
        Some(layout) if summary.size < layout.total_size() => lines.push(format!(
            "TRUNCATED: it has {} bytes where its header says {}",
            summary.size,
            layout.total_size()
        )),
        Some(_) => {}
        None => lines.push(
            "NO HEADER: neither the first nor the last is whole, so its layout is not known; --max-hosts, --pages and \
             --sector-size can say it"
                .to_owned(),
        ),
    }
    lines.push(if summary.is_well() { "all is well".into() } else { "something is WRONG".into() });
    lines.join("\n")
}

fn area(role: Role) -> &'static str {
    match role {
        Role::FirstHeader | Role::LastHeader => "header",
        Role::Claim(_) => "claim",
        Role::HostRecord(..) => "host record",
        Role::Observer(_) => "observer sector",
        Role::Journal(..) => "journal",
        Role::LeasePage(..) => "lease page",
        Role::Unused => "unused",
        Role::Unknown => "?",
    }
}

fn role(role: Role) -> String {
    let area = area(role);
    match role {
        Role::FirstHeader => "header, first".into(),
        Role::LastHeader => "header, last".into(),
        Role::Claim(slot) => format!("{area}, slot {slot}"),
        Role::HostRecord(slot, at) => format!("{area}, slot {slot} {}", copy(at)),
        Role::Observer(index) => format!("{area} {index}"),
        Role::Journal(slot, index) => format!("{area}, slot {slot} note {index}"),
        Role::LeasePage(page, slot, at) => format!("{area} {page}, slot {slot} {}", copy(at)),
        Role::Unused | Role::Unknown => area.into(),
    }
}

fn content(item: &Item) -> String {
    match &item.content {
        Content::Header(it) => header(it),
        Content::Claim(it) => format!("'{}', key {}, boot {}", it.name, it.host_key, it.boot_id),
        Content::HostRecord(it) => host_record(it),
        Content::Observer(it) => {
            format!(
                "'{}', sequence {}, nonce {:016x}, {}",
                it.name,
                it.sequence,
                it.nonce.0,
                wall(it.wall_ns)
            )
        }
        Content::Journal(it) => {
            format!("{}  {} {}: {}", wall(it.wall_ns), it.event.as_str(), it.subject, it.text)
        }
        Content::LeasePage(it) => lease_page(it),
        Content::Empty => "WRONG: never written: all bytes are zero".into(),
        Content::Damaged(error) => format!("WRONG: {error}"),
        Content::Stray => format!("WRONG: {} bytes that are not all zero, where nothing belongs", item.len),
        Content::Unreadable(error) => format!("WRONG: unreadable: {error}"),
    }
}

fn header(header: &Header) -> String {
    let layout = &header.layout;
    let policy = header.policy.words();
    format!(
        "cluster '{}' {}, file {}, {} hosts, {} pages, units of {}, policy {}, write_drain at least {}, verdict_after at most {}",
        header.cluster_name,
        header.cluster_id,
        layout.file_id(),
        layout.max_hosts(),
        layout.pages(),
        layout.unit().len_bytes(),
        if policy.is_empty() { "hardware watchdogs only".to_owned() } else { policy.join(" ") },
        duration(header.min_write_drain),
        duration(header.longest_verdict_after),
    )
}

fn host_record(record: &HostRecord) -> String {
    let terms = record.effective_terms();
    let requests = record.fence_requests.iter().flatten().map(|it| format!(", asks {} to fence", it.target));
    let convictions = record
        .convictions
        .iter()
        .flatten()
        .map(|it| format!(", holds {} for gone ({})", it.target, it.kind.as_str()));
    format!(
        "'{}' {} {}, sequence {}, {}, watchdog {}, ttl {}, verdict after {}{}",
        record.host_name,
        record.incarnation,
        record.state.as_str(),
        record.sequence,
        wall(record.wall_ns),
        record.watchdog_class.as_str(),
        duration(terms.lease_ttl),
        duration(terms.verdict_after_with_survival(record.survival_max)),
        requests.chain(convictions).collect::<String>(),
    )
}

fn lease_page(page: &LeasePage) -> String {
    let entries: Vec<String> =
        page.entries().map(|entry| format!("\n{:12}{}", "", lease_entry(entry))).collect();
    format!("{} sequence {}, {} domains{}", page.incarnation, page.sequence, page.len(), entries.concat())
}

fn lease_entry(entry: &LeaseEntry) -> String {
    let want =
        if entry.want_term.0 == 0 { String::new() } else { format!(", wants term {}", entry.want_term) };
    let pred = entry.pred.map_or_else(String::new, |pred| format!(", taken from {pred}"));
    format!("{} {} term {}{want}{pred}", entry.domain, entry.state.as_str(), entry.term)
}

fn wall(ns: u64) -> String {
    clock_time(ns / 1_000_000)
}

fn duration(duration: std::time::Duration) -> String {
    duration_ms(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
