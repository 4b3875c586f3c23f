//! Bad input to the agent: each is refused with an error that says what to do, an exit code that is not 0, and nothing
//! written that should not be. The hosts here have no libvirt, and no agent minds that.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use leasefence_demo::{Cluster, FENCER, Host, configure, default_config, wait};
use leasefence_tests::{agent_run, bare_cluster, can_run_hosts, run, start_agent};

fn lease_file(cluster: &Cluster) -> PathBuf {
    cluster.shared().join("demo.lease")
}

fn config_with(from: &str, to: &str) -> String {
    let config = default_config();
    assert!(config.contains(from), "the configuration has changed: no {from:?}");
    config.replace(from, to)
}

fn identity(host: &Host) -> PathBuf {
    host.on_disk("/var/lib/leasefence/identity")
}

macro_rules! needs_hosts {
    ($test:literal) => {
        if !can_run_hosts($test) {
            return;
        }
    };
}

#[test]
fn without_a_lease_file_it_names_init_and_makes_none() {
    needs_hosts!("no lease file");
    let mut cluster = bare_cluster(1);
    fs::remove_file(lease_file(&cluster)).unwrap();
    let refusal = agent_run(&mut cluster.hosts[0], &default_config());
    refusal.assert_says(&["no lease file at /mnt/shared/demo.lease", "leasefence init"]);
    assert!(!lease_file(&cluster).exists());
}

#[test]
fn a_lease_path_on_an_unmounted_directory_asks_for_the_mount_and_writes_nothing_there() {
    needs_hosts!("unmounted directory");
    let mut cluster = bare_cluster(1);
    cluster.hosts[0].exec(&["mkdir", "/mnt/unmounted"]).unwrap();
    let config = config_with("/mnt/shared/demo.lease", "/mnt/unmounted/demo.lease");
    let refusal = agent_run(&mut cluster.hosts[0], &config);
    refusal.assert_says(&["/mnt/unmounted/demo.lease", "mounted"]);
    assert_eq!(cluster.hosts[0].exec(&["ls", "-A", "/mnt/unmounted"]).unwrap(), "");
}

#[test]
fn another_clusters_lease_file_is_refused_and_left_alone() {
    needs_hosts!("wrong cluster");
    let mut cluster = bare_cluster(1);
    let before = fs::read(lease_file(&cluster)).unwrap();
    let config = config_with("cluster = \"demo\"", "cluster = \"production\"");
    let refusal = agent_run(&mut cluster.hosts[0], &config);
    refusal.assert_says(&["demo", "production"]);
    assert!(before == fs::read(lease_file(&cluster)).unwrap(), "it wrote into another cluster's file");
}

/// Overwrites the header at the beginning, or that at the end.
fn damage_header(cluster: &Cluster, last: bool) {
    let mut bytes = fs::read(lease_file(cluster)).unwrap();
    let at = if last { last_header_at(&bytes) } else { 0 };
    bytes[at..at + 4096].fill(0xaa);
    fs::write(lease_file(cluster), bytes).unwrap();
}

fn last_header_at(bytes: &[u8]) -> usize {
    let magic = &bytes[..4];
    (1..bytes.len() / 4096).map(|unit| unit * 4096).rfind(|at| &bytes[*at..*at + 4] == magic).unwrap()
}

#[test]
fn a_lease_file_without_a_whole_header_is_refused() {
    needs_hosts!("both headers damaged");
    let mut cluster = bare_cluster(1);
    damage_header(&cluster, true);
    damage_header(&cluster, false);
    let before = fs::read(lease_file(&cluster)).unwrap();
    let refusal = agent_run(&mut cluster.hosts[0], &default_config());
    refusal.assert_says(&["header"]);
    assert!(before == fs::read(lease_file(&cluster)).unwrap(), "it wrote into a file that it cannot know");
}

#[test]
fn one_damaged_header_is_replaced_by_the_other_and_told() {
    needs_hosts!("one header damaged");
    let mut cluster = bare_cluster(1);
    damage_header(&cluster, false);
    start_agent(&mut cluster.hosts[0], &default_config());
    let status = cluster.wait_until_held(0).unwrap();
    assert!(status.warnings.iter().any(|line| line.contains("header")), "no warning: {:?}", status.warnings);
}

#[test]
fn a_full_lease_file_names_slot_free() {
    needs_hosts!("full slots");
    let mut cluster = bare_cluster(2);
    fs::remove_file(lease_file(&cluster)).unwrap();
    let words = "leasefence init /mnt/shared/demo.lease --cluster demo --max-hosts 1 --accept none --test";
    cluster.hosts[0].exec(&words.split(' ').collect::<Vec<_>>()).unwrap();
    start_agent(&mut cluster.hosts[0], &default_config());
    cluster.wait_until_held(0).unwrap();
    agent_run(&mut cluster.hosts[1], &default_config()).assert_says(&["full", "leasefence slot free"]);
}

#[test]
fn of_two_agents_with_one_identity_the_second_refuses_and_the_first_goes_on() {
    needs_hosts!("two agents");
    let mut cluster = bare_cluster(1);
    start_agent(&mut cluster.hosts[0], &default_config());
    let before = cluster.wait_until_held(0).unwrap().own;
    let host = &cluster.hosts[0];
    host.exec(&["sh", "-c", "mkdir /run/second && sed '1i run_dir = \"/run/second\"' /etc/leasefence/leasefence.toml > /run/second.toml"])
        .unwrap();
    let words = ["leasefence-agent", "--config", "/run/second.toml"];
    let second = run(&mut host.command(&words, Duration::from_secs(20)).unwrap());
    second.assert_says(&["another leasefence-agent", "identity"]);
    wait::pause(Duration::from_secs(9)).unwrap();
    let after = cluster.status(0).unwrap().own;
    assert_eq!((after.state.as_str(), after.generation), ("held", before.generation));
}

#[test]
fn a_cloned_image_is_refused() {
    needs_hosts!("cloned image");
    let mut cluster = bare_cluster(2);
    start_agent(&mut cluster.hosts[0], &default_config());
    cluster.wait_until_held(0).unwrap();
    fs::copy(identity(&cluster.hosts[0]), identity(&cluster.hosts[1])).unwrap();
    agent_run(&mut cluster.hosts[1], &default_config()).assert_says(&["cloned image", "machine-id"]);
    assert_eq!(cluster.status(0).unwrap().own.state, "held");
}

#[test]
fn a_clone_that_looks_like_its_original_is_refused_while_that_lives() {
    needs_hosts!("live clone");
    let mut cluster = bare_cluster(2);
    start_agent(&mut cluster.hosts[0], &default_config());
    let before = cluster.wait_until_held(0).unwrap().own;
    // The clone has the key of its original, and a machine-id that fits: only the moving record can tell.
    let machine_id = cluster.hosts[1].exec(&["cat", "/etc/machine-id"]).unwrap();
    let original = fs::read_to_string(identity(&cluster.hosts[0])).unwrap();
    let replace = |line: &str| match line.split_once(" = ") {
        Some(("machine_id", _)) => format!("machine_id = \"{machine_id}\"\n"),
        _ => format!("{line}\n"),
    };
    fs::write(identity(&cluster.hosts[1]), original.lines().map(replace).collect::<String>()).unwrap();
    agent_run(&mut cluster.hosts[1], &default_config()).assert_says(&["clone"]);
    let after = cluster.status(0).unwrap().own;
    assert_eq!((after.state.as_str(), after.generation), ("held", before.generation));
}

#[test]
fn a_lease_file_that_is_replaced_under_a_holder_ends_its_lease() {
    needs_hosts!("replaced lease file");
    let mut cluster = bare_cluster(1);
    start_agent(&mut cluster.hosts[0], &default_config());
    cluster.wait_until_held(0).unwrap();
    let script = "cd /mnt/shared && cp demo.lease copy && mv copy demo.lease";
    cluster.hosts[0].exec(&["sh", "-c", script]).unwrap();
    let log = cluster.hosts[0].log("leasefence-agent");
    wait::until("the agent to notice", Duration::from_secs(10), || {
        fs::read_to_string(&log).ok()?.contains("replaced").then_some(())
    })
    .unwrap();
}

#[test]
fn an_unknown_configuration_key_is_refused_with_its_line() {
    needs_hosts!("unknown key");
    let mut cluster = bare_cluster(1);
    let config = format!("lease_tll = \"8s\"\n{}", default_config());
    agent_run(&mut cluster.hosts[0], &config).assert_says(&["line 1", "lease_tll"]);
    assert!(!identity(&cluster.hosts[0]).exists());
}

#[test]
fn unsafe_timing_is_refused_with_the_bound_that_does_not_hold() {
    needs_hosts!("unsafe timing");
    let mut cluster = bare_cluster(1);
    let config = format!("{}\n[terms]\nrenewal_interval = \"3s\"\n", default_config());
    agent_run(&mut cluster.hosts[0], &config).assert_says(&["unsafe", "renewal"]);
    assert!(!identity(&cluster.hosts[0]).exists());
}

#[test]
fn without_libvirt_it_holds_its_lease_and_says_that_libvirt_is_missing() {
    needs_hosts!("libvirt missing");
    let mut cluster = bare_cluster(1);
    start_agent(&mut cluster.hosts[0], &default_config());
    let status = cluster.wait_until_held(0).unwrap();
    assert!(!status.hypervisor.connected && status.hypervisor.error.is_some(), "{:?}", status.hypervisor);
}

#[test]
fn without_a_fencer_it_writes_nothing_and_says_what_it_waits_for() {
    needs_hosts!("no fencer");
    let cluster = bare_cluster(1);
    let before = fs::read(lease_file(&cluster)).unwrap();
    configure(&cluster.hosts[0], &default_config()).unwrap();
    let agent = run(&mut cluster.hosts[0].command(&["leasefence-agent"], Duration::from_secs(4)).unwrap());
    assert!(agent.code == 124, "it ended by itself: {agent:?}");
    assert!(agent.said.contains("fencer"), "{agent:?}");
    assert!(before == fs::read(lease_file(&cluster)).unwrap(), "it wrote without a fencer");
}

#[test]
fn the_fencer_refuses_to_run_where_it_could_see_other_peoples_guests() {
    needs_hosts!("fencer in the initial namespace");
    let cluster = bare_cluster(1);
    let outside = run(&mut Command::new(cluster.hosts[0].program(FENCER)));
    assert!(outside.code != 0 && outside.said.contains("namespace"), "{outside:?}");
}
