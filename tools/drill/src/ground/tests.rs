use leasefence_api::{
    API_VERSION, AgentInfo, ClusterInfo, FencerInfo, HookInfo, Host, HypervisorInfo, Maintenance, OwnLease,
    Storage,
};

use super::*;

fn host(name: &str, own: bool, state: HostState) -> Host {
    Host {
        name: name.to_owned(),
        slot: u16::from(!own),
        generation: 3,
        own,
        state,
        evidence: None,
        since_unix_ms: None,
        reason: String::new(),
        lease_left_ms: None,
        verdict_left_ms: None,
        last_renewal_age_ms: None,
        watchdog: "hardware".to_owned(),
        terms: None,
        domains_protected: None,
        domains_ha: None,
    }
}

fn domain(name: &str) -> Domain {
    Domain {
        uuid: format!("uuid-of-{name}"),
        name: name.to_owned(),
        running: true,
        protected: true,
        ha: true,
        priority: 0,
        lease: "own".to_owned(),
        term: Some(1),
        hold: false,
        storages: Vec::new(),
        exemption: None,
    }
}

/// A host on which everything may be rehearsed.
fn ready() -> Status {
    Status {
        api_version: API_VERSION,
        agent: AgentInfo {
            version: String::new(),
            pid: 1,
            host_name: "host-1".to_owned(),
            started_unix_ms: 0,
            summary: String::new(),
            drill_allowed: true,
        },
        cluster: ClusterInfo { name: "prod".to_owned(), ..ClusterInfo::default() },
        own: OwnLease {
            slot: Some(0),
            generation: Some(7),
            state: "held".to_owned(),
            watchdog: "hardware".to_owned(),
            fencer: FencerInfo {
                connected: true,
                armed: true,
                watchdog: WatchdogInfo {
                    device: Some("/dev/watchdog0".to_owned()),
                    ..WatchdogInfo::default()
                },
                ..FencerInfo::default()
            },
            ..OwnLease::default()
        },
        hosts: vec![host("host-1", true, HostState::Alive), host("host-2", false, HostState::Alive)],
        domains: vec![domain("leasefence-drill-host-1")],
        recoveries: Vec::new(),
        maintenance: Maintenance::default(),
        hypervisor: HypervisorInfo { connected: true, ..HypervisorInfo::default() },
        hook: HookInfo::default(),
        warnings: Vec::new(),
        decisions: Vec::new(),
    }
}

fn judged(status: &Status, scenario: Scenario, leave: &Leave) -> Result<Ground, Refusals> {
    judge(status, scenario, leave, "uuid-of-leasefence-drill-host-1")
}

/// The one thing that is missing.
fn refusal(status: &Status, scenario: Scenario) -> String {
    let missing = judged(status, scenario, &Leave::default()).expect_err("something is missing");
    assert_eq!(missing.len(), 1, "{missing:?}");
    missing[0].clone()
}

#[test]
fn where_all_is_well_everything_may_be_rehearsed_but_a_reset() {
    for scenario in Scenario::ALL.into_iter().filter(|scenario| *scenario != Scenario::WatchdogBite) {
        let ground = judged(&ready(), scenario, &Leave::default()).expect("nothing is missing");
        assert_eq!((ground.peers, ground.others.len(), ground.expires), (vec!["host-2".to_owned()], 0, true));
    }
    assert!(refusal(&ready(), Scenario::WatchdogBite).contains("--i-accept-a-reset"));
    let leave = Leave { reset: true, ..Leave::default() };
    judged(&ready(), Scenario::WatchdogBite, &leave).expect("it was accepted");
}

#[test]
fn a_host_without_a_lease_in_maintenance_or_without_its_parts_is_refused_with_what_to_do() {
    let refused = |change: fn(&mut Status)| {
        let mut status = ready();
        change(&mut status);
        refusal(&status, Scenario::PlannedFence)
    };
    assert!(refused(|status| status.own.state = "joining".to_owned()).contains("it is joining"));
    assert!(refused(|status| status.maintenance.disarmed = true).contains("leasefence arm"));
    assert!(refused(|status| status.own.fencer.connected = false).contains("leasefence-fencer"));
    assert!(refused(|status| status.own.fencer.armed = false).contains("not armed"));
    assert!(refused(|status| status.hypervisor.connected = false).contains("libvirt does not answer"));
    assert!(refused(|status| status.hosts[1].state = HostState::Stalled).contains("No other host"));
    assert!(refused(|status| status.agent.drill_allowed = false).contains("drill = \"allowed\""));
    let missing = judged(&Status { hosts: Vec::new(), ..ready() }, Scenario::WatchdogBite, &Leave::default());
    assert_eq!(missing.expect_err("two things").len(), 2, "all that is missing is said at once");
}

/// Catches a drill that lets the operator's guests die unasked.
#[test]
fn a_drill_that_would_end_other_guests_is_refused_until_each_is_named() {
    let mut status = ready();
    status.domains.extend([domain("mail"), domain("web")]);
    status.domains.push(Domain { running: false, ..domain("off") });
    status.domains.push(Domain { protected: false, ..domain("exempt") });
    for scenario in
        [Scenario::PlannedFence, Scenario::StorageStall, Scenario::AgentFrozen, Scenario::AgentKilled]
    {
        let text = refusal(&status, scenario);
        assert!(text.contains("mail, web"), "{text}");
        assert!(text.contains("--i-accept-that-guests-die mail --i-accept-that-guests-die web"), "{text}");
        let one = Leave { guests: vec!["mail".to_owned()], ..Leave::default() };
        let missing = judged(&status, scenario, &one).expect_err("one is not named");
        assert!(missing[0].contains(": web."), "{missing:?}");
        let both = Leave { guests: vec!["mail".to_owned(), "uuid-of-web".to_owned()], ..Leave::default() };
        assert_eq!(judged(&status, scenario, &both).expect("both are").others.len(), 2);
    }
    judged(&status, Scenario::LibvirtdHung, &Leave::default()).expect("no guest needs libvirtd to live");
}

#[test]
fn a_peer_that_asks_needs_no_switch_and_a_stall_always_does() {
    let mut status = ready();
    status.agent.drill_allowed = false;
    let by_peer = Leave { fenced_by_peer: true, ..Leave::default() };
    judged(&status, Scenario::PlannedFence, &by_peer).expect("the agent need not be told");
    judged(&status, Scenario::AgentFrozen, &by_peer).expect("a signal is enough");
    assert!(judged(&status, Scenario::StorageStall, &by_peer).is_err());
}

#[test]
fn peers_may_conclude_by_time_only_where_class_policy_and_host_say_so() {
    let mut status = ready();
    status.own.watchdog = "soft".to_owned();
    let expires = |status: &Status, allowed| {
        let leave = Leave { expire_without_hardware: allowed, ..Leave::default() };
        judged(status, Scenario::AgentFrozen, &leave).expect("nothing is missing").expires
    };
    assert!(!expires(&status, true), "the header does not accept it");
    status.cluster.accepts = vec!["soft".to_owned()];
    status.cluster.test = true;
    assert!(expires(&status, true));
    assert!(!expires(&status, false), "the host does not permit it");
    status.cluster.test = false;
    assert!(!expires(&status, true), "nothing resets it");
    status.own.fencer.reset.on = true;
    assert!(expires(&status, true), "it resets itself");
}

#[test]
fn a_canary_whose_storage_cannot_be_shown_quiet_is_refused_with_the_remedy() {
    let storage = Storage {
        kind: "nfs".to_owned(),
        place: "storage:/srv/lease".to_owned(),
        provable: false,
        reason: Some("the lease lies on it".to_owned()),
        remedy: None,
    };
    let canary = Domain { storages: vec![storage], ..domain("canary") };
    let text = is_provable(&canary).expect_err("no proof");
    assert!(
        text.contains("storage:/srv/lease quiet: the lease lies on it") && text.contains("--storage DIR"),
        "{text}"
    );
    is_provable(&domain("canary")).expect("nothing stands in the way");
}

/// Catches a drill that resets the machine unasked, since a named guest's storage leaves the fence without a proof.
#[test]
fn a_named_guest_without_a_proof_asks_for_leave_to_reset_where_anything_resets_the_host() {
    let storage = Storage {
        kind: "nfs".to_owned(),
        place: "storage:/srv/other".to_owned(),
        provable: false,
        reason: None,
        remedy: None,
    };
    let mut status = ready();
    status.domains.push(Domain { storages: vec![storage], ..domain("mail") });
    let named = Leave { guests: vec!["mail".to_owned()], ..Leave::default() };
    let refused = |status: &Status| judged(status, Scenario::PlannedFence, &named);
    let missing = refused(&status).expect_err("its watchdog would bite");
    assert!(missing[0].contains("mail") && missing[0].contains("--i-accept-a-reset"), "{missing:?}");
    status.own.fencer.watchdog.device = None;
    refused(&status).expect("nothing resets it");
    status.own.fencer.reset.on = true;
    refused(&status).expect_err("it resets itself");
    let leave = Leave { reset: true, ..named.clone() };
    judged(&status, Scenario::PlannedFence, &leave).expect("it was accepted");
}
