//! CLEAN: when it is said, and when it is not.

use super::*;
use crate::fencing::{Event, Quiet, Refusal, Unproven};

#[test]
fn clean_comes_only_after_every_process_is_seen_to_exit() {
    let mut host = Host::armed();
    host.processes = vec![process(1, 0)];
    host.beat_at(&now(8000));
    host.beat_at(&now(8100));
    assert_eq!(host.killed.len(), 2, "signalled in each beat, and hanging in the kernel");
    assert!(!host.is_clean());
    host.processes.clear();
    host.beat_at(&now(8200));
    let clean = host.published.clean.expect("clean");
    assert_eq!((clean.generation, clean.at, clean.forced), (Generation(5), at(8200), false));
    assert!(!host.published.unproven);
}

#[test]
fn a_token_counts_as_a_running_domain_until_its_process_shows() {
    let mut host = Host::armed();
    host.agent.tokens = vec![token(1, 4000)];
    // An earlier process of the same domain does not answer for it.
    host.processes = vec![process(1, 3000)];
    host.renew(4000);
    host.beat(12_000);
    host.beat(12_100);
    assert!(!host.is_clean());
    host.processes = vec![process(1, 12_150)];
    host.beat_at(&now(12_200));
    assert!(!host.is_clean(), "it shows, and is not gone");
    host.processes.clear();
    host.beat(12_300);
    assert!(host.is_clean());
}

#[test]
fn a_token_counts_as_a_running_domain_until_it_is_closed() {
    let mut host = Host::armed();
    host.agent.tokens = vec![token(1, 4000)];
    host.renew(4000);
    host.beat(12_000);
    assert!(!host.is_clean());
    host.agent.tokens.clear();
    host.beat(12_100);
    assert!(host.is_clean());
}

#[test]
fn a_token_left_at_the_budgets_end_is_unproven() {
    let mut host = Host::armed();
    host.agent.tokens = vec![token(1, 0)];
    host.beat(8000);
    host.beat(9999);
    assert!(!host.published.unproven);
    host.beat(10_000);
    assert_eq!(host.published.unproven_reason, Some(Unproven::TokenOpen));
    assert!(host.published.unproven && !host.is_clean());
}

/// Catches: a host that its watchdog resets, and whose log does not say what kept the proof away.
#[test]
fn what_the_proof_waits_for_is_said_once_until_it_is_unproven() {
    let mut host = Host::armed();
    host.processes = vec![process(1, 0)];
    host.agent.tokens = vec![token(1, 4000)];
    host.renew(4000);
    host.beat(12_000);
    host.processes.clear();
    for ms in [12_100, 12_200, 14_000] {
        host.beat(ms);
    }
    host.processes = vec![process(1, 0)];
    host.beat_at(&now(14_100));
    let waits = host.events.iter().filter_map(|event| match event {
        Event::Waits(_, reason) => Some(*reason),
        _ => None,
    });
    assert_eq!(waits.collect::<Vec<_>>(), [Unproven::ProcessLeft, Unproven::TokenOpen], "{:?}", host.events);
    let last = host.events.last();
    assert!(matches!(last, Some(Event::Unproven(_, Unproven::ProcessLeft))), "{last:?}");
}

#[test]
fn a_token_written_before_the_latch_was_published_counts() {
    let mut host = Host::armed();
    // The agent writes a token, sees no latch, and permits the start; the fencer had read the half just before.
    let without = host.agent.clone();
    host.fencer.handle_page(&now(8000), PageView::Good(&without));
    let nothing = scan(8000);
    host.fencer.handle_scan(&now(8000), &nothing);
    assert_eq!(host.fencer.half().clean, None, "the latch is not published yet");
    host.fencer.published();
    let later = scan(8001);
    host.fencer.handle_scan(&now(8001), &later);
    assert_eq!(host.fencer.half().clean, None, "the half was not read since");
    host.agent.tokens = vec![token(1, 7999)];
    host.beat(8002);
    assert!(!host.is_clean());
    host.agent.tokens.clear();
    host.beat(8003);
    assert!(host.is_clean());
}

#[test]
fn a_scan_that_began_before_the_tokens_were_read_proves_nothing() {
    let mut host = Host::armed();
    host.processes = vec![process(1, 0)];
    host.beat_at(&now(8000));
    host.fencer.handle_page(&now(8100), PageView::Good(&host.agent));
    host.fencer.handle_scan(&now(8101), &scan(8050));
    assert_eq!(host.fencer.half().clean, None);
    host.fencer.handle_scan(&now(8102), &scan(8100));
    assert!(host.fencer.half().clean.is_some());
}

#[test]
fn only_one_kernel_has_process_exits_for_a_proof() {
    for kind in [StorageKind::Nfs, StorageKind::Iscsi, StorageKind::Unprovable] {
        let mut host = Host::armed();
        host.processes = vec![process(1, 0)];
        host.agent.quiesce.push(QuiesceTarget { kind, device: 2 });
        host.renew(1000);
        host.beat(9000);
        assert!(!host.is_clean(), "{kind:?}");
        let hopeless = (kind == StorageKind::Unprovable).then_some(Unproven::StorageUnprovable);
        assert_eq!(host.published.unproven_reason, hopeless, "what is hopeless is said at once");
        // Taking it off the list after the latch does not help.
        host.agent.quiesce.pop();
        host.beat(20_000);
        assert!(!host.is_clean());
        let reason = hopeless.unwrap_or(Unproven::StorageNotQuiet);
        assert_eq!(host.published.unproven_reason, Some(reason), "at the end of the budget all is said");
    }
}

#[test]
fn a_storage_shown_quiet_by_force_makes_a_forced_clean() {
    for (outcome, forced) in [(Quiet::Forced, true), (Quiet::Acknowledged, false)] {
        let mut host = Host::armed();
        host.processes = vec![process(1, 0)];
        let target = QuiesceTarget { kind: StorageKind::Nfs, device: 2 };
        host.agent.quiesce = vec![target.clone()];
        host.renew(1000);
        host.fencer.handle_quiesced(&target, at(8990), outcome);
        host.beat(9000);
        assert!(!host.is_clean(), "what was quiet before the latch counts for nothing");
        host.fencer.handle_quiesced(&target, at(9040), Quiet::Unproven);
        host.beat(9050);
        assert!(!host.is_clean());
        host.fencer.handle_quiesced(&target, at(9090), outcome);
        host.beat(9100);
        assert_eq!(host.published.clean.map(|clean| clean.forced), Some(forced));
    }
}

/// A whole scan that shows nothing.
fn scan(ms: u64) -> Scan<'static> {
    Scan { started: at(ms), complete: true, searched: Some(at(ms)), processes: &[] }
}

/// A host on NFS whose lease, renewed at 4 s, has just ended with these tokens open.
fn ended_on_nfs(tokens: Vec<StartToken>) -> (Host, QuiesceTarget) {
    let mut host = Host::armed();
    let target = QuiesceTarget { kind: StorageKind::Nfs, device: 2 };
    host.agent.quiesce = vec![target.clone()];
    host.agent.tokens = tokens;
    host.renew(4000);
    host.beat(12_000);
    (host, target)
}

#[test]
fn a_process_that_appears_after_the_latch_undoes_what_was_shown_quiet_before() {
    //   a start hangs ... latch ... storage quiet ... its process appears, and is killed ... quiet once more
    let (mut host, target) = ended_on_nfs(vec![token(1, 4000)]);
    host.fencer.handle_quiesced(&target, at(12_090), Quiet::Acknowledged);
    host.beat(12_100);
    assert!(!host.is_clean(), "its token is open");
    host.processes = vec![process(1, 12_150)];
    host.beat_at(&now(12_200));
    host.processes.clear();
    host.beat(12_300);
    assert!(!host.is_clean(), "its last writes may wait in the kernel");
    host.fencer.handle_quiesced(&target, at(12_150), Quiet::Acknowledged);
    host.beat(12_350);
    assert!(!host.is_clean(), "it was begun before the process was gone");
    host.fencer.handle_quiesced(&target, at(12_360), Quiet::Acknowledged);
    host.beat(12_400);
    assert!(host.is_clean());
}

#[test]
fn what_was_shown_quiet_while_a_token_was_open_counts_for_nothing_once_it_is_closed() {
    let (mut host, target) = ended_on_nfs(vec![token(1, 4000)]);
    host.fencer.handle_quiesced(&target, at(12_010), Quiet::Acknowledged);
    host.beat(12_100);
    // Its process came and went between two looks: nobody has seen it.
    host.agent.tokens.clear();
    host.beat(12_200);
    assert!(!host.is_clean());
    host.fencer.handle_quiesced(&target, at(12_210), Quiet::Acknowledged);
    host.beat(12_300);
    assert!(host.is_clean());
}

#[test]
fn that_a_storage_was_forced_is_not_forgotten_when_it_is_shown_quiet_again() {
    let (mut host, target) = ended_on_nfs(Vec::new());
    host.fencer.handle_quiesced(&target, at(12_010), Quiet::Forced);
    host.processes = vec![process(1, 12_050)];
    host.beat_at(&now(12_100));
    host.processes.clear();
    host.fencer.handle_quiesced(&target, at(12_110), Quiet::Acknowledged);
    host.beat(12_200);
    assert!(
        !host.is_clean(),
        "the process was last seen before that was begun, and may have been there after it"
    );
    host.fencer.handle_quiesced(&target, at(12_210), Quiet::Acknowledged);
    host.beat(12_300);
    assert_eq!(
        host.published.clean.map(|clean| clean.forced),
        Some(true),
        "its server may hold what was cut off"
    );
}

#[test]
fn domains_on_storage_that_nobody_named_are_unproven() {
    let mut host = Host::armed();
    host.agent.quiesce.clear();
    host.processes = vec![process(1, 0)];
    host.renew(1000);
    host.beat(9000);
    assert_eq!(host.published.unproven_reason, Some(Unproven::StorageUnknown));
    // A host on which nothing ran needs no storage to be quiet.
    let mut host = Host::armed();
    host.agent.quiesce.clear();
    host.beat(8000);
    assert!(host.is_clean());
}

#[test]
fn a_domain_whose_storages_nobody_named_is_unproven_wherever_the_others_lie() {
    // A user starts it while the agent is away; or no uuid is found for it.
    for stranger in [9, 0] {
        let mut host = Host::armed();
        host.processes = vec![process(1, 0), process(stranger, 4000)];
        host.beat(8000);
        assert!(host.processes.is_empty(), "it is killed like the others");
        assert_eq!(host.published.unproven_reason, Some(Unproven::StorageUnknown), "{stranger}");
        // It is not forgotten, neither by the next scan nor by a fencer that is started again.
        host.beat(8100);
        host.restart(8150);
        host.beat(8200);
        assert!(host.is_latched() && !host.is_clean(), "{stranger}");
    }
    // One that appears after the latch counts; and one that the agent was still about to name when the latch fell does not.
    let mut host = Host::armed();
    host.beat(8000);
    assert!(host.is_clean());
    let (mut host, target) = ended_on_nfs(Vec::new());
    host.fencer.handle_quiesced(&target, at(12_010), Quiet::Acknowledged);
    host.processes = vec![process(9, 12_040)];
    host.beat(12_050);
    host.fencer.handle_quiesced(&target, at(12_060), Quiet::Acknowledged);
    host.beat(12_100);
    assert_eq!(host.published.unproven_reason, Some(Unproven::StorageUnknown));
    host.agent.covered.push(DomainId([9; 16]));
    host.beat(12_150);
    assert!(host.is_clean(), "it lies on what is quiet");
}

#[test]
fn what_was_covered_at_the_latch_stays_so() {
    let mut host = Host::armed();
    host.processes = vec![process(1, 0)];
    host.renew(1000);
    host.beat_at(&now(9000));
    // The agent sees it gone, and takes it off its list.
    host.agent.covered.clear();
    host.processes.clear();
    host.beat(9050);
    assert!(host.is_clean());
}

#[test]
fn a_host_whose_processes_cannot_be_listed_is_unproven() {
    let mut host = Host::armed();
    host.scan_works = false;
    let before = host.published.scans;
    host.beat(8000);
    host.beat(10_000);
    assert_eq!(host.published.unproven_reason, Some(Unproven::ScanFailed));
    assert_eq!(host.published.scans, before, "such a scan does not count");
    host.scan_works = true;
    host.beat(10_100);
    assert!(host.is_clean() && !host.published.unproven);
}

/// Catches: a search that is some seconds old when the lease ends, and a guest that no file shows and that started since.
#[test]
fn what_libvirt_s_files_do_not_show_must_have_been_searched_for_since_the_end() {
    let mut host = Host::armed();
    let target = QuiesceTarget { kind: StorageKind::Nfs, device: 2 };
    host.agent.quiesce = vec![target.clone()];
    host.renew(100);
    for (ms, searched) in [(8100, None), (8200, Some(at(8099)))] {
        host.searches = Some(searched);
        host.beat(ms);
        host.fencer.handle_quiesced(&target, at(ms), Quiet::Acknowledged);
    }
    host.beat(10_100);
    assert_eq!(host.published.unproven_reason, Some(Unproven::ScanFailed));
    host.searches = Some(Some(at(8100)));
    host.beat(10_200);
    assert!(!host.is_clean(), "who was there before that search may have written until now");
    host.fencer.handle_quiesced(&target, at(10_210), Quiet::Acknowledged);
    host.beat(10_300);
    assert!(host.is_clean());
}

#[test]
fn a_scan_without_a_search_is_not_counted() {
    let mut host = Host::armed();
    host.searches = Some(None);
    let before = host.published.scans;
    host.beat(100);
    assert_eq!(host.published.scans, before, "an agent would take it for a look at everything");
}

#[test]
fn a_new_life_begins_only_once_what_no_file_shows_was_searched_for() {
    let mut host = Host::armed();
    host.agent.wish = Wish::Disarm;
    host.renew(100);
    host.agent.incarnation = generation(6);
    host.searches = Some(None);
    host.beat(200);
    host.arm(300);
    assert!(
        !host.published.armed && host.events.contains(&Event::Refused(generation(6), Refusal::DomainsRun))
    );
    host.searches = None;
    host.beat(400);
    host.beat(450);
    assert!(host.published.armed);
}

#[test]
fn while_there_is_no_lease_newcomers_are_killed_and_clean_stands() {
    let mut host = Host::armed();
    host.beat(8000);
    let clean = host.published.clean.expect("clean");
    for ms in [9000, 20_000, 3_600_000] {
        host.processes = vec![process(1, ms)];
        host.beat(ms);
        assert!(host.processes.is_empty());
    }
    assert_eq!(host.killed.len(), 3);
    assert_eq!(host.published.clean, Some(clean));
}
