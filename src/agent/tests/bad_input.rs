//! What the agent refuses, each with a sentence that says what to do, and without writing anything.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::Cluster;

fn agent(config: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leasefence-agent"))
        .arg("--config")
        .arg(config)
        .output()
        .expect("it runs")
}

fn refused(config: &Path, words: &[&str]) {
    let output = agent(config);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
}

#[test]
fn without_a_configuration_it_says_how_to_get_one() {
    refused(Path::new("/nonexistent/leasefence.toml"), &["reading the configuration", "leasefence.toml(5)"]);
}

#[test]
fn an_unknown_key_is_refused_and_named() {
    let cluster = Cluster::new();
    let host = cluster.host("host-1");
    let text = fs::read_to_string(&host.config).expect("readable");
    fs::write(&host.config, format!("lease_tll = \"8s\"\n{text}")).expect("writable");
    refused(&host.config, &["line 1, `lease_tll`", "expected one of"]);
    assert!(!host.dir.join("state").exists(), "no identity is made for a configuration that is refused");
}

#[test]
fn unsafe_timing_is_refused() {
    let cluster = Cluster::new();
    let host = cluster.host("host-1");
    let text = fs::read_to_string(&host.config).expect("readable");
    fs::write(&host.config, format!("{text}[terms]\nrenewal_interval = \"5s\"\n")).expect("writable");
    refused(&host.config, &["this timing is unsafe", "lease_ttl >= 4 x renewal_interval"]);
}

#[test]
fn a_missing_lease_file_is_no_reason_to_make_one() {
    let cluster = Cluster::new();
    let host = cluster.host("host-1");
    fs::remove_file(cluster.lease()).expect("it is there");
    refused(&host.config, &["no lease file at", "is the storage mounted?", "leasefence init"]);
    assert!(!cluster.lease().exists());
}

#[test]
fn a_directory_is_no_lease_file() {
    let cluster = Cluster::new();
    let host = cluster.host("host-1");
    fs::remove_file(cluster.lease()).expect("it is there");
    fs::create_dir(cluster.lease()).expect("a directory");
    refused(&host.config, &["is a directory"]);
}

#[test]
fn a_copy_of_another_machines_image_is_refused() {
    let cluster = Cluster::new();
    let host = cluster.host("host-1");
    fs::create_dir_all(host.dir.join("state")).expect("a directory");
    let stored = format!(
        "host_key = \"{}\"\nmachine_id = \"{}\"\ndmi_uuid = \"none\"\n",
        "17".repeat(16),
        "ab".repeat(16)
    );
    fs::write(host.dir.join("state/identity"), stored).expect("writable");
    refused(&host.config, &["cloned image", "slot free"]);
}
