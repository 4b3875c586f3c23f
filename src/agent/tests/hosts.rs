//! Real agents and real fencers on one real lease file, without domains: what crosses their processes.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{Cluster, Host, can_make_hosts, wait_for};
use leasefence_api::{HostState, VerdictClass};

/// A claim waits 3 s, libvirt's absence is waited for 10 s, and then the lease is armed.
const JOINS_WITHIN: Duration = Duration::from_secs(40);

/// Two hosts that hold their leases, of which the first has seen the second alive.
fn two_that_see_each_other(cluster: &Cluster) -> (Host, Host) {
    let (mut first, mut second) = (cluster.host("host-1"), cluster.host("host-2"));
    first.start();
    second.start();
    first.wait_state("held", JOINS_WITHIN);
    second.wait_state("held", JOINS_WITHIN);
    wait_for(Duration::from_secs(5), || match first.verdict("host-2") {
        Ok(said) if said.state == HostState::Alive => Ok(()),
        other => Err(format!("{other:?}")),
    });
    (first, second)
}

#[test]
fn a_dead_host_is_expired_within_its_terms_and_comes_back_as_another_incarnation() {
    if !can_make_hosts() {
        return;
    }
    let cluster = Cluster::new();
    let (first, mut second) = two_that_see_each_other(&cluster);

    second.power_off();
    let dead = Instant::now();
    let gone = wait_for(Duration::from_secs(20), || match first.verdict("host-2") {
        Ok(said) if said.class == VerdictClass::MayStart => Ok(said),
        other => Err(format!("{other:?}")),
    });
    let took = dead.elapsed();
    assert_eq!(gone.evidence.as_deref(), Some("expired"));
    let terms = first.status().expect("it answers").own.terms;
    // The last renewal may lie an interval before the power cut, which every bound here must allow for.
    let earliest = Duration::from_millis(terms.verdict_after_ms - 2 * terms.renewal_interval_ms);
    assert!(took >= earliest, "expired after {took:?}: too early");
    eprintln!("power cut to verdict: {took:?}");

    second.start();
    let back = second.wait_state("held", JOINS_WITHIN);
    assert_eq!(back.own.generation, Some(gone.generation + 1), "a boot is another life of the same slot");
    assert_eq!(back.own.slot, Some(gone.slot));
    wait_for(Duration::from_secs(5), || match first.verdict("host-2") {
        Ok(said) if said.state == HostState::Alive && said.generation == gone.generation + 1 => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn an_agent_that_is_killed_and_restarted_within_its_ttl_keeps_its_incarnation() {
    if !can_make_hosts() {
        return;
    }
    let cluster = Cluster::new();
    let mut host = cluster.host("host-1");
    host.start();
    let before = host.wait_state("held", JOINS_WITHIN);
    for signal in ["KILL", "TERM"] {
        let pid = host.status().expect("it answers").agent.pid;
        host.signal("agent", signal);
        let after = wait_for(Duration::from_secs(8), || match host.status() {
            Ok(status) if status.agent.pid != pid && status.own.state == "held" => Ok(status),
            other => Err(format!("{other:?}")),
        });
        assert_eq!(
            (after.own.slot, after.own.generation),
            (before.own.slot, before.own.generation),
            "{signal}"
        );
    }
}

#[test]
fn an_agent_that_was_stopped_past_its_lease_finds_its_incarnation_over_and_rejoins() {
    if !can_make_hosts() {
        return;
    }
    let cluster = Cluster::new();
    let (mut first, mut second) = (cluster.host("host-1"), cluster.host("host-2"));
    first.start();
    second.start();
    first.wait_state("held", JOINS_WITHIN);
    let before = second.wait_state("held", JOINS_WITHIN);
    second.signal("agent", "STOP");
    let gone = wait_for(Duration::from_secs(20), || match first.verdict("host-2") {
        Ok(said) if said.class == VerdictClass::MayStart => Ok(said),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(gone.evidence.as_deref(), Some("expired"));
    assert_eq!(Some(gone.generation), before.own.generation);
    second.signal("agent", "CONT");
    let after = second.wait_state("held", Duration::from_secs(30));
    assert_eq!(after.own.generation, Some(gone.generation + 1));
}

#[test]
fn a_fence_request_is_obeyed_and_its_receipt_is_the_proof() {
    if !can_make_hosts() {
        return;
    }
    let cluster = Cluster::new();
    let (first, _second) = two_that_see_each_other(&cluster);
    let asked = Instant::now();
    let (answer, verdict) = common::block_on(async {
        let client = first.client();
        let before = client.verdict("host-2").await.expect("it is known");
        let answer = client.fence("host-2").await;
        let wait = Duration::from_secs(10);
        (answer, client.wait_verdict("host-2", Some(&before.incarnation), wait).await)
    });
    let took = asked.elapsed();
    answer.expect("the request is written");
    let verdict = verdict.expect("it answers");
    assert_eq!(verdict.class, VerdictClass::MayStart, "{verdict:?}");
    assert!(matches!(verdict.evidence.as_deref(), Some("fenced" | "superseded")), "{verdict:?}");
    eprintln!("request to proof: {took:?} ({})", verdict.evidence.unwrap_or_default());
}

#[test]
fn one_request_on_one_host_disarms_both_and_one_on_the_other_arms_them_again() {
    if !can_make_hosts() {
        return;
    }
    let cluster = Cluster::new();
    let (first, second) = two_that_see_each_other(&cluster);
    let before = [&first, &second]
        .map(|host| host.wait_state("held", JOINS_WITHIN).own.generation.expect("it has one"));
    let asked = Instant::now();
    let client = first.client().with_deadline(Duration::from_secs(60));
    let answer = common::block_on(async { client.disarm_cluster().await }).expect("all follow");
    eprintln!("disarmed in {:?}: {}", asked.elapsed(), answer.text);
    assert!(answer.ok, "{}", answer.text);
    for host in [&first, &second] {
        // In the order of slots, and as each has read them.
        wait_for(Duration::from_secs(5), || match host.status() {
            Ok(status)
                if status.own.state == "disarmed"
                    && ["host-1", "host-2"]
                        .iter()
                        .all(|name| status.maintenance.disarmed_hosts.iter().any(|host| host == name)) =>
            {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        });
    }
    let decisions = second.status().expect("it answers").decisions;
    let told = |decision: &leasefence_api::Decision| {
        decision.event == "cluster-obeyed"
            && decision.text.contains("host-1 asks the whole cluster to disarm")
    };
    assert!(decisions.iter().any(told), "{decisions:?}");

    let asked = Instant::now();
    let client = second.client().with_deadline(Duration::from_secs(60));
    let answer = common::block_on(async { client.arm_cluster().await }).expect("all follow");
    eprintln!("armed in {:?}: {}", asked.elapsed(), answer.text);
    let after = [&first, &second]
        .map(|host| host.wait_state("held", Duration::from_secs(2)).own.generation.expect("it has one"));
    assert_eq!(after, before, "it is the same life");
}

#[test]
fn of_two_agents_with_one_identity_the_second_refuses_and_the_first_goes_on() {
    if !can_make_hosts() {
        return;
    }
    let cluster = Cluster::new();
    let mut host = cluster.host("host-1");
    host.start();
    let before = host.wait_state("held", JOINS_WITHIN);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_leasefence-agent"))
        .arg("--config")
        .arg(&host.config)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another leasefence-agent runs here with this identity"), "{said}");
    let after = host.wait_state("held", Duration::from_secs(2));
    assert_eq!(after.own.generation, before.own.generation);
}

#[test]
fn the_wrong_cluster_is_refused() {
    if !can_make_hosts() {
        return;
    }
    let cluster = Cluster::new();
    let mut host = cluster.host("host-1");
    let text = fs::read_to_string(&host.config).expect("readable");
    fs::write(&host.config, text.replace("cluster = \"lab\"", "cluster = \"prod\"")).expect("writable");
    let before = fs::read(cluster.lease()).expect("readable");
    host.start();
    wait_for(Duration::from_secs(10), || {
        let logs = host.logs();
        logs.contains("belongs to cluster 'lab'").then_some(()).ok_or(logs)
    });
    host.power_off();
    assert!(fs::read(cluster.lease()).expect("readable") == before, "nothing was written");
}

#[test]
fn a_replaced_lease_file_is_a_lost_lease() {
    if !can_make_hosts() {
        return;
    }
    let cluster = Cluster::new();
    let mut host = cluster.host("host-1");
    host.start();
    host.wait_state("held", JOINS_WITHIN);
    let copy = cluster.lease().with_extension("copy");
    fs::copy(cluster.lease(), &copy).expect("a copy");
    fs::rename(&copy, cluster.lease()).expect("in its place");
    for sentence in ["is over: the lease file was replaced", "that no domain is left"] {
        wait_for(Duration::from_secs(5), || {
            let logs = host.logs();
            logs.contains(sentence).then_some(()).ok_or(logs)
        });
    }
}
