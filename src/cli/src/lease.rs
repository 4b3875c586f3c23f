//! `leasefence lease`: the domain leases as the agent last read them.

use leasefence_api::{Client, LeaseEntry, LeaseList};
use leasefence_say::say;

use crate::args::LeaseCommand;
use crate::outcome::{CliError, Exit, Outcome};
use crate::text::{clock_time, duration_ms, lines, table};

/// Lists all leases, or shows those of one domain.
pub(crate) async fn run(client: &Client, command: &LeaseCommand) -> Outcome {
    let (domain, json) = match command {
        LeaseCommand::List { json } => (None, *json),
        LeaseCommand::Show { domain, json } => (Some(domain.as_str()), *json),
    };
    let list = client.leases(domain).await?;
    if json {
        say!("{}", serde_json::to_string(&list).map_err(CliError::from_display)?);
        return Ok(Exit::Done);
    }
    say!("{}", entries(&list));
    for unreadable in &list.unreadable {
        eprintln!("leasefence: {unreadable}");
    }
    if let (Some(domain), true) = (domain, list.entries.is_empty()) {
        return Err(CliError::Other(format!("no host has an entry for {domain}")));
    }
    Ok(if list.unreadable.is_empty() { Exit::Done } else { Exit::Failed })
}

fn entries(list: &LeaseList) -> String {
    let mut rows = table(&["DOMAIN", "HOST", "INCARNATION", "STATE", "TERM", "FLAGS", "PRIORITY", "CHANGED"]);
    for entry in &list.entries {
        rows.add_row([
            entry.name.clone().unwrap_or_else(|| entry.uuid.clone()),
            entry.host.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{}.{}", entry.slot, entry.generation),
            entry.state.clone(),
            term(entry),
            flags(entry),
            if entry.ha { entry.priority.to_string() } else { "-".to_owned() },
            clock_time(entry.changed_unix_ms),
        ]);
    }
    let age = list.age_ms.map_or_else(
        || "the lease pages were not read yet".to_owned(),
        |age| {
            format!(
                "as read {} ago; the entry with the highest term of a domain counts (marked ^)",
                duration_ms(age)
            )
        },
    );
    format!("{}\n{age}", lines(&rows))
}

fn term(entry: &LeaseEntry) -> String {
    let want = if entry.want_term == 0 { String::new() } else { format!(" (wants {})", entry.want_term) };
    format!("{}{}{want}", entry.term, if entry.top { "^" } else { "" })
}

fn flags(entry: &LeaseEntry) -> String {
    let mut words = Vec::new();
    if entry.state == "incoming" {
        words.push("migrating here: blocks all others".to_owned());
    }
    if entry.ha {
        words.push("ha".to_owned());
    }
    if entry.hold {
        words.push("on hold".to_owned());
    }
    if entry.failures > 0 {
        words.push(format!("failures {}", entry.failures));
    }
    if entry.deaths > 0 {
        words.push(format!("deaths {}", entry.deaths));
    }
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}
