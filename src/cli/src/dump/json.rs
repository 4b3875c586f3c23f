//! A dump for programs.

use leasefence_core::format::dump::{Content, Item, Role, Summary};
use leasefence_core::format::{
    Claim, Header, HostRecord, JournalNote, LeaseEntry, LeasePage, ObserverSector, RecordCopy,
};
use leasefence_core::ids::Incarnation;
use leasefence_core::terms::Terms;
use serde_json::{Value, json};

/// One sector.
pub(super) fn item(item: &Item) -> Value {
    let (record, damage) = match &item.content {
        Content::Header(it) => (header(it), None),
        Content::Claim(it) => (claim(it), None),
        Content::HostRecord(it) => (host_record(it), None),
        Content::Observer(it) => (observer(it), None),
        Content::Journal(it) => (note(it), None),
        Content::LeasePage(it) => (lease_page(it), None),
        Content::Empty => (Value::Null, Some("never written: all bytes are zero".to_owned())),
        Content::Damaged(error) => (Value::Null, Some(error.to_string())),
        Content::Stray => (Value::Null, Some("bytes that are not zero where nothing belongs".to_owned())),
        Content::Unreadable(error) => (Value::Null, Some(format!("unreadable: {error}"))),
    };
    json!({
        "offset": item.offset, "len": item.len, "place": place(item.role), "well": !item.is_bad(),
        "damage": damage, "remarks": item.remarks, "record": record,
    })
}

/// What was found in all.
pub(super) fn summary(summary: &Summary) -> Value {
    json!({
        "well": summary.is_well(),
        "size": summary.size,
        "size_expected": summary.layout.map(|layout| layout.total_size()),
        "header": summary.headers.header().map(header),
        "headers_whole": [summary.headers.first.is_ok(), matches!(summary.headers.last, Some((_, Ok(_))))],
        "whole": summary.counts.whole, "empty": summary.counts.empty, "bad": summary.counts.bad,
    })
}

fn place(role: Role) -> Value {
    match role {
        Role::FirstHeader => json!({"area": "header", "copy": "first"}),
        Role::LastHeader => json!({"area": "header", "copy": "last"}),
        Role::Claim(slot) => json!({"area": "claims", "slot": slot.0}),
        Role::HostRecord(slot, at) => json!({"area": "host records", "slot": slot.0, "copy": copy(at)}),
        Role::Observer(index) => json!({"area": "observers", "index": index}),
        Role::Journal(slot, index) => json!({"area": "journal", "slot": slot.0, "index": index}),
        Role::LeasePage(page, slot, at) => {
            json!({"area": "lease pages", "page": page, "slot": slot.0, "copy": copy(at)})
        }
        Role::Unused => json!({"area": "unused"}),
        Role::Unknown => json!({"area": "unknown"}),
    }
}

/// The letter of a copy.
pub(super) fn copy(copy: RecordCopy) -> &'static str {
    match copy {
        RecordCopy::A => "A",
        RecordCopy::B => "B",
    }
}

fn header(header: &Header) -> Value {
    let layout = &header.layout;
    json!({
        "kind": "header", "cluster": header.cluster_name.as_str(), "cluster_id": header.cluster_id.to_string(),
        "file_id": layout.file_id().to_string(), "unit": layout.unit().len_bytes(), "max_hosts": layout.max_hosts(),
        "pages": layout.pages(), "policy": header.policy.words(),
        "min_write_drain_ms": ms(header.min_write_drain), "longest_verdict_after_ms": ms(header.longest_verdict_after),
        "incompat": header.features.incompat, "ro_compat": header.features.ro_compat, "compat": header.features.compat,
    })
}

fn claim(claim: &Claim) -> Value {
    json!({
        "kind": "claim", "slot": claim.slot.0, "name": claim.name.as_str(), "host_key": claim.host_key.to_string(),
        "nonce": claim.nonce.0, "boot_id": claim.boot_id.to_string(),
    })
}

fn host_record(record: &HostRecord) -> Value {
    let requests = record.fence_requests.iter().flatten().map(|it| {
        json!({"target": incarnation(it.target), "nonce": it.nonce, "since_sequence": it.since_sequence.0})
    });
    let convictions =
        record.convictions.iter().flatten().map(
            |it| json!({"target": incarnation(it.target), "kind": it.kind.as_str(), "since_s": it.since_s}),
        );
    let mut value = json!({
        "kind": "host record", "name": record.host_name.as_str(), "incarnation": incarnation(record.incarnation),
        "boot_id": record.boot_id.to_string(), "sequence": record.sequence.0, "host_key": record.host_key.to_string(),
        "process_nonce": record.process_nonce.0, "freed_generation": record.freed_generation.0,
        "state": record.state.as_str(), "watchdog_class": record.watchdog_class.as_str(), "flags": record.flags.0,
        "terms": terms(&record.terms), "echo": terms(&record.echo),
        "issued_ns": record.issued_ns, "wall_ns": record.wall_ns, "scan_age_ms": record.scan_age.map(ms),
        "protocol_min": record.protocol_min, "protocol_max": record.protocol_max,
        "api_address": record.api_address.map(|address| address.to_string()),
    });
    value["page_versions"] = json!(record.page_versions);
    value["fence_requests"] = requests.collect();
    value["convictions"] = convictions.collect();
    value["survival_max_ms"] = json!(ms(record.survival_max));
    value
}

fn terms(terms: &Terms) -> Value {
    json!({
        "lease_ttl_ms": ms(terms.lease_ttl), "fence_budget_ms": ms(terms.fence_budget),
        "write_drain_ms": ms(terms.write_drain), "renewal_interval_ms": ms(terms.renewal_interval),
        "scan_interval_ms": ms(terms.scan_interval), "drift_ppm": terms.drift_ppm,
        "watchdog_actual_ms": ms(terms.watchdog_actual),
    })
}

fn observer(sector: &ObserverSector) -> Value {
    json!({
        "kind": "observer", "name": sector.name.as_str(), "nonce": sector.nonce.0, "sequence": sector.sequence.0,
        "wall_ns": sector.wall_ns, "boot_id": sector.boot_id.to_string(),
    })
}

fn note(note: &JournalNote) -> Value {
    json!({
        "kind": "journal note", "writer": incarnation(note.writer), "sequence": note.sequence.0,
        "event": note.event.as_str(), "event_code": note.event.code(), "subject": incarnation(note.subject),
        "wall_ns": note.wall_ns, "text": note.text.as_str(),
    })
}

fn lease_page(page: &LeasePage) -> Value {
    json!({
        "kind": "lease page", "incarnation": incarnation(page.incarnation), "sequence": page.sequence.0,
        "boot_id": page.boot_id.to_string(), "entries": page.entries().map(entry).collect::<Vec<_>>(),
    })
}

fn entry(entry: &LeaseEntry) -> Value {
    json!({
        "domain": entry.domain.to_string(), "state": entry.state.as_str(), "term": entry.term.0,
        "want_term": entry.want_term.0, "flags": entry.flags.0, "priority": entry.priority, "base": entry.base.as_str(),
        "pred": entry.pred.map(incarnation), "vcpus": entry.vcpus, "memory_mib": entry.memory_mib,
        "definition_hash": format!("{:016x}", entry.definition_hash), "definition_version": entry.definition_version,
        "changed_s": entry.changed_s, "failures": entry.failures, "deaths": entry.deaths,
    })
}

fn incarnation(incarnation: Incarnation) -> Value {
    json!({"slot": incarnation.slot.0, "generation": incarnation.generation.0})
}

fn ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
