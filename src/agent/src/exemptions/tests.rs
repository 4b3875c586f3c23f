use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};

use leasefence_core::member::Protection;
use leasefence_hypervisor::{Activity, ChainLink, Disk, DiskSource, FakeHypervisor, StopDetail};

use super::*;

const DOMAIN: DomainId = DomainId([7; 16]);

fn shared() -> Reach {
    Reach::Shared("nfs4, s:/disks".to_owned())
}

fn unknown() -> Reach {
    Reach::Unknown("the kernel does not answer".to_owned())
}

/// What an exemption comes to that counted before or not, of a domain that writes these.
fn judged(before: Option<bool>, reaches: &[Reach]) -> (bool, bool, bool) {
    let written = reaches.iter().map(|reach| ("a.img".to_owned(), reach.clone())).collect();
    let standing = Standing::judge(before, written);
    (standing.exempt, standing.doubtful, standing.said.is_some())
}

/// Catches: a domain left alone at the lease's end whose disk others can write, and one that is killed, or taken back into
/// danger, because nobody could tell.
#[test]
fn what_others_reach_voids_an_exemption_and_what_cannot_be_told_changes_none() {
    for before in [None, Some(true), Some(false)] {
        assert_eq!(judged(before, &[]), (true, false, false), "without a disk");
        assert_eq!(judged(before, &[Reach::Here, Reach::Here]), (true, false, false), "it is proven anew");
        for order in [[Reach::Here, shared(), unknown()], [unknown(), shared(), Reach::Here]] {
            assert_eq!(judged(before, &order), (false, false, true));
        }
        let as_before = (before.unwrap_or(true), true, true);
        assert_eq!(judged(before, &[unknown(), Reach::Here]), as_before);
        assert_eq!(judged(before, &[Reach::Here, unknown()]), as_before);
    }
}

/// A process that has this file open as a disk.
fn holds(path: &Path) -> Child {
    let mut command = Command::new("sleep");
    let file = File::options().read(true).write(true).open(path).expect("it opens");
    command.arg("60").stdin(file).spawn().expect("sleep runs")
}

fn running(image: DiskSource, readonly: bool) -> Domain {
    let link = ChainLink { source: image, format: None };
    let xml = FakeHypervisor::sample_xml(DOMAIN, "web", "/nowhere/disk");
    Domain {
        activity: Activity::Running { paused: false },
        protection: Protection { exempt: true, ..Protection::default() },
        disks: vec![Disk { target: "vda".to_owned(), readonly, shareable: false, chain: vec![link] }],
        ..Domain::from_definition(&xml).expect("a domain")
    }
}

fn network(readonly: bool) -> Domain {
    let servers = vec!["10.0.0.1:6789".to_owned()];
    running(DiskSource::Network { protocol: "rbd".to_owned(), name: "a".to_owned(), servers }, readonly)
}

/// A real process, whose open files the kernel tells.
#[test]
fn an_exemption_is_looked_at_by_what_the_process_of_a_domain_has_open() {
    // In memory, so that it is nobody else's wherever this runs.
    let image = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file");
    let mut process = holds(image.path());
    let start = start_time(process.id()).expect("it runs");
    let (exemptions, storages) = (Exemptions::default(), Storages::new());
    let path = image.path().display().to_string();
    let domain = running(DiskSource::File(path.clone()), false);
    let (standing, news) = exemptions.look(&domain, &storages);
    assert!(
        standing.exempt && standing.doubtful && news.is_none(),
        "no process of it is known: {standing:?}"
    );
    exemptions.shows(&[(DOMAIN, process.id(), start)].into());
    let written = disks_of((process.id(), start));
    assert!(written.contains(&(path, Reach::Here)), "{written:?}");
    let (standing, news) = exemptions.look(&domain, &storages);
    assert_eq!((standing, news), (Standing { exempt: true, ..Standing::default() }, None));
    // A pid that is another's by now says nothing of this one.
    let another = disks_of((process.id(), start + 1));
    assert!(matches!(another.as_slice(), [(_, Reach::Unknown(_))]), "{another:?}");
    process.kill().expect("it ends");
    process.wait().expect("it ends");
    let (standing, _) = exemptions.look(&domain, &storages);
    assert!(standing.exempt && standing.doubtful, "{standing:?}");
    let (_, news) = exemptions.look(&domain, &storages);
    assert!(news.is_some_and(|said| said.contains("cannot be told")), "a doubt that lasts is logged");
}

#[test]
fn what_does_not_count_is_said_once_and_again_only_when_it_has_changed() {
    let (exemptions, storages) = (Exemptions::default(), Storages::new());
    let (standing, news) = exemptions.look(&network(false), &storages);
    assert!(!standing.exempt && !standing.doubtful);
    let news = news.expect("it is said at once");
    assert!(news.contains("'web'") && news.contains("network rbd a"), "{news}");
    assert_eq!(exemptions.look(&network(false), &storages).1, None, "once");
    assert_eq!(exemptions.said(DOMAIN), standing.said);
    assert_eq!(exemptions.at_start(&network(false), &storages), standing);
    // What was void stays so while nobody can tell: here, since no process is shown.
    let (doubt, _) = exemptions.look(&network(true), &storages);
    assert!(!doubt.exempt && doubt.doubtful);
    let off = Domain { activity: Activity::Off { last: StopDetail::Shutdown }, ..network(true) };
    assert_eq!(exemptions.look(&off, &storages).0, Standing { exempt: true, ..Standing::default() });
    let undeclared = Domain { protection: Protection::default(), ..network(false) };
    assert_eq!(exemptions.look(&undeclared, &storages), (Standing::default(), None));
    assert_eq!(exemptions.said(DOMAIN), None);
}
