//! `leasefence drill` on real libvirt and QEMU: it ends a host's lease in four ways, keeps its own promises while it measures ours, and
//! leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::thread;
use std::time::Duration;

use leasefence_api::HostState;
use leasefence_demo::guest::Guest;
use leasefence_demo::{AGENT, Cluster, default_config, wait};
use leasefence_tests::{alone, can_run_hosts, cluster, run, start_agent};

const UUID: &str = "6c656173-6566-4e63-a000-000000000005";
/// Four rehearsals, each with a verdict and a rejoin, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(600);

fn hosts_that_hold(config: &str) -> Cluster {
    let mut cluster = cluster(2);
    cluster.power_on().unwrap();
    cluster.init_lease().unwrap();
    cluster.hosts.iter_mut().for_each(|host| start_agent(host, config));
    for host in 0..2 {
        cluster.wait_until_held(host).unwrap();
    }
    wait::until("the first host to see the second alive", Duration::from_secs(60), || {
        let hosts = cluster.status(0).ok()?.hosts;
        hosts.iter().any(|host| !host.own && host.state == HostState::Alive).then_some(())
    })
    .unwrap();
    cluster
}

/// What a drill on the first host said, its exit code, and its report.
fn drill(cluster: &Cluster, words: &[&str]) -> (i32, String, serde_json::Value) {
    let report = cluster.shared().join("drill.json");
    let command = format!("leasefence drill {} >/mnt/shared/drill.json", words.join(" "));
    let said = run(&mut cluster.hosts[0].command(&["sh", "-c", &command], PATIENCE).unwrap());
    let text = fs::read_to_string(&report).unwrap();
    println!("{}\n{text}", said.said);
    (said.code, said.said, serde_json::from_str(&text).unwrap_or_default())
}

fn result<'a>(report: &'a serde_json::Value, scenario: &str) -> &'a str {
    let all = report["scenarios"].as_array().unwrap();
    all.iter().find(|entry| entry["scenario"] == scenario).unwrap()["result"].as_str().unwrap()
}

#[test]
fn a_host_is_fenced_four_times_keeps_every_promise_and_nothing_is_left() {
    if !can_run_hosts("a fence drill") {
        return;
    }
    let _alone = alone();
    let mut cluster = hosts_that_hold(&default_config());
    let names = ["agent-killed", "planned-fence", "storage-stall", "agent-frozen"];
    let words: Vec<&str> =
        ["run"].iter().chain(&names).copied().chain(["--json", "--html", "/mnt/shared/drill.html"]).collect();
    let (code, _, report) = drill(&cluster, &words);
    if code != 0 {
        cluster.run_dir().keep();
    }
    assert_eq!(code, 0, "{report:#}");
    for name in names {
        assert_eq!(result(&report, name), "kept", "{report:#}");
    }
    let page = fs::read_to_string(cluster.shared().join("drill.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), names.len());
    assert!(!page.contains("http"), "it needs nothing from elsewhere");
    let disks = || {
        fs::read_dir(cluster.shared()).unwrap().filter_map(|it| it.unwrap().file_name().into_string().ok())
    };
    assert!(disks().all(|name| !name.contains("leasefence-drill")), "{:?}", disks().collect::<Vec<_>>());
    assert!(cluster.hosts.iter().all(|host| host.running_domains().unwrap().is_empty()));
    cluster.hosts[1].exec(&["leasefence", "drill", "clean"]).unwrap();
    for host in &cluster.hosts {
        assert_eq!(host.virsh(&["list", "--all", "--name"]).unwrap().trim(), "");
    }
}

#[test]
fn a_peer_that_is_told_to_fence_needs_no_leave_of_the_host_that_is_fenced() {
    if !can_run_hosts("a fence drill by a peer") {
        return;
    }
    let _alone = alone();
    let refused = default_config().replace("drill = \"allowed\"", "drill = \"refused\"");
    let mut cluster = hosts_that_hold(&refused);
    let (code, said, _) = drill(&cluster, &["run", "planned-fence", "storage-stall", "--json"]);
    assert_eq!((code, said.matches("set drill = \"allowed\"").count()), (3, 2), "{said}");
    // What would be `ssh host-2 leasefence fence host-1`: hosts share a directory and no network.
    let asked = cluster.shared().join("asked");
    let (code, report) = thread::scope(|scope| {
        scope.spawn(|| {
            let asked = wait::until("the drill to ask", PATIENCE, || asked.exists().then_some(()));
            asked.unwrap();
            cluster.hosts[1].exec(&["leasefence", "fence", "host-1"]).unwrap();
        });
        let ask = "'touch /mnt/shared/asked'";
        let (code, _, report) = drill(&cluster, &["run", "planned-fence", "--fence-with", ask, "--json"]);
        (code, report)
    });
    if code != 0 {
        cluster.run_dir().keep();
    }
    assert_eq!((code, result(&report, "planned-fence")), (0, "kept"), "{report:#}");
}

/// Catches a drill that does anything while something is missing.
#[test]
fn a_drill_refuses_and_touches_nothing_while_a_guest_runs_that_was_not_named_or_the_switch_is_off() {
    if !can_run_hosts("a refused drill") {
        return;
    }
    let _alone = alone();
    let cluster = hosts_that_hold(&default_config());
    let guest = Guest::create(&cluster.shared(), "guest", UUID).unwrap();
    guest.start(&cluster.hosts[0]).unwrap();
    cluster.hosts[0].exec(&["leasefence", "ha", "enable", "guest"]).unwrap();
    cluster.wait_until_protected(0, "guest").unwrap();
    let before = cluster.status(0).unwrap();
    for name in ["planned-fence", "storage-stall", "agent-frozen", "agent-killed"] {
        let (code, said, report) = drill(&cluster, &["run", name, "--json"]);
        assert_eq!((code, result(&report, name)), (3, "not-run"));
        assert!(said.contains("--i-accept-that-guests-die guest"), "{said}");
    }
    // The agent looks itself, whatever the command line has looked at.
    let ask = "curl -s --unix-socket /run/leasefence/agent.sock -H 'Content-Type: application/json' \
               -d '{\"act\":\"end_lease\",\"domains\":[]}' http://leasefence/v1/drill";
    if let Ok(answer) = cluster.hosts[0].exec(&["sh", "-c", ask]) {
        assert!(answer.contains("would be destroyed: guest"), "{answer}");
    }
    let (code, _, report) = drill(&cluster, &["run", "watchdog-bite", "--i-accept-a-reset", "--json"]);
    assert_eq!((code, result(&report, "watchdog-bite")), (3, "not-run"), "there is no watchdog here");
    let after = cluster.status(0).unwrap();
    assert_eq!((after.own.generation, after.own.state.as_str()), (before.own.generation, "held"));
    assert_eq!(after.agent.pid, before.agent.pid);
    assert_eq!(cluster.hosts[0].running_domains().unwrap(), ["guest"]);
    cluster.hosts[0].process(AGENT).expect("the agent lives");
}
