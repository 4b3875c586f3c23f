//! What keeps a fence from ending well for running domains: storages that cannot be shown quiet, and exemptions that do not count.
//! A sentence each, with the reason and what to do.

use std::path::Path;

use leasefence_api::{Client, Domain, Storage};

use crate::block_on;
use crate::outcome::CliError;

/// All lines of these domains.
pub(crate) fn warnings(domains: &[Domain]) -> Vec<String> {
    exemptions(domains).chain(unproven(domains)).collect()
}

/// A line for each running domain that was declared exempt, where that does not count or nobody can tell.
fn exemptions(domains: &[Domain]) -> impl Iterator<Item = String> {
    let running = domains.iter().filter(|domain| domain.running);
    running.filter_map(|domain| Some(format!("domain {}: {}", domain.name, domain.exemption.as_ref()?)))
}

/// A line for each storage, in the order of the domains, which it names all; none when every storage can be shown quiet.
fn unproven(domains: &[Domain]) -> Vec<String> {
    let mut found: Vec<(&Storage, Vec<&str>)> = Vec::new();
    for domain in domains {
        for storage in domain.unproven_storages() {
            match found.iter_mut().find(|(known, _)| *known == storage) {
                Some((_, names)) => names.push(&domain.name),
                None => found.push((storage, vec![&domain.name])),
            }
        }
    }
    found.into_iter().map(|(storage, names)| line(storage, &names)).collect()
}

fn line(storage: &Storage, names: &[&str]) -> String {
    let reason = storage.reason.as_deref().unwrap_or("the agent does not say why");
    let remedy = storage.remedy.as_ref().map(|remedy| format!(" {remedy}")).unwrap_or_default();
    let (place, names) = (&storage.place, names.join(", "));
    format!("a fence cannot show the storage of {names} quiet ({place}): {reason}.{remedy}")
}

/// The same of this host, by the agent that runs here.
///
/// # Errors
/// When there is none, or it does not answer.
pub(crate) fn of_agent(run_dir: &Path) -> Result<Vec<String>, CliError> {
    let status = block_on(async { Client::new(run_dir).status().await })??;
    Ok(warnings(&status.domains))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(place: &str, reason: Option<&str>) -> Storage {
        Storage {
            kind: "nfs".to_owned(),
            place: place.to_owned(),
            provable: reason.is_none(),
            reason: reason.map(str::to_owned),
            remedy: reason.map(|_| "Mount it with proto=tcp.".to_owned()),
        }
    }

    fn domain(name: &str, storages: Vec<Storage>) -> Domain {
        Domain {
            uuid: String::new(),
            name: name.to_owned(),
            running: true,
            protected: true,
            ha: true,
            priority: 100,
            lease: "own".to_owned(),
            term: None,
            hold: false,
            storages,
            exemption: None,
        }
    }

    /// Catches: a domain that is not named, and a reason or remedy that is lost.
    #[test]
    fn each_storage_without_a_proof_is_a_line_with_its_domains_reason_and_remedy() {
        let udp = storage("s:/old", Some("its mount names no TCP server address"));
        let domains = [
            domain("web", vec![storage("s:/disks", None)]),
            domain("db", vec![storage("s:/disks", None), udp.clone()]),
            domain("mail", vec![udp.clone(), storage("pool/x", Some("QEMU reaches it by itself"))]),
        ];
        assert_eq!(
            unproven(&domains),
            [
                "a fence cannot show the storage of db, mail quiet (s:/old): its mount names no TCP server address. \
                 Mount it with proto=tcp.",
                "a fence cannot show the storage of mail quiet (pool/x): QEMU reaches it by itself. Mount it with proto=tcp.",
            ]
        );
    }

    /// Catches: a guest that is not fenced though others can write its disks, and that nobody was told of.
    #[test]
    fn an_exemption_that_does_not_count_is_said_of_a_domain_that_runs() {
        let said = || Some("it is declared exempt, but writes a.img.".to_owned());
        let domains = [
            Domain { exemption: said(), ..domain("web", Vec::new()) },
            Domain { exemption: said(), running: false, ..domain("off", Vec::new()) },
            domain("mail", Vec::new()),
        ];
        assert_eq!(warnings(&domains), ["domain web: it is declared exempt, but writes a.img."]);
    }

    #[test]
    fn nothing_is_said_when_all_can_be_shown_quiet_or_nothing_that_is_guarded_runs() {
        let bad = || vec![storage("s:/old", Some("why"))];
        let domains = [
            domain("web", vec![storage("s:/disks", None)]),
            domain("without-disks", Vec::new()),
            Domain { running: false, ..domain("off", bad()) },
            Domain { protected: false, ..domain("exempt", bad()) },
        ];
        assert_eq!(warnings(&domains), Vec::<String>::new());
    }
}
