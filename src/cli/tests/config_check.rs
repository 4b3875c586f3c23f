//! `leasefence config check`, with and without an agent that can be asked about the domains of this host.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use leasefence_api::{
    API_VERSION, AgentInfo, ClusterInfo, Domain, HookInfo, HypervisorInfo, Maintenance, OwnLease,
    SOCKET_NAME, Status, Storage,
};

/// What it prints for a good configuration whose run directory this is.
fn check(directory: &Path, options: &[&str]) -> String {
    let config = directory.join("leasefence.toml");
    let text = format!("cluster = \"prod\"\nlease = \"/nonexistent/prod.lease\"\nrun_dir = {directory:?}\n");
    fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasefence"));
    let output =
        command.arg("--config").arg(&config).args(["config", "check"]).args(options).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Answers one question as the agent of a host with one domain.
fn agent_with_a_domain_on_rbd(directory: &Path) -> thread::JoinHandle<()> {
    let storage = Storage {
        kind: "unprovable".to_owned(),
        place: "network rbd pool/web mon:6789".to_owned(),
        provable: false,
        reason: Some("QEMU reaches it by itself".to_owned()),
        remedy: Some("Let the host reach it.".to_owned()),
    };
    let domain = Domain {
        uuid: String::new(),
        name: "web".to_owned(),
        running: true,
        protected: true,
        ha: false,
        priority: 0,
        lease: "own".to_owned(),
        term: None,
        hold: false,
        storages: vec![storage],
        exemption: Some("it is declared exempt, but writes it.".to_owned()),
    };
    let status = Status {
        api_version: API_VERSION,
        agent: AgentInfo {
            version: String::new(),
            pid: 0,
            host_name: "host-1".to_owned(),
            started_unix_ms: 0,
            summary: String::new(),
            drill_allowed: false,
        },
        cluster: ClusterInfo::default(),
        own: OwnLease::default(),
        hosts: Vec::new(),
        domains: vec![domain],
        recoveries: Vec::new(),
        maintenance: Maintenance::default(),
        hypervisor: HypervisorInfo::default(),
        hook: HookInfo::default(),
        warnings: Vec::new(),
        decisions: Vec::new(),
    };
    let body = serde_json::to_string(&status).unwrap();
    let listener = UnixListener::bind(directory.join(SOCKET_NAME)).unwrap();
    thread::spawn(move || {
        let (mut asker, _) = listener.accept().unwrap();
        let _asked = asker.read(&mut [0; 4096]).unwrap();
        let length = body.len();
        write!(asker, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    })
}

#[test]
fn without_an_agent_it_says_that_the_storages_were_not_asked_about() {
    let directory = tempfile::tempdir().unwrap();
    let text = check(directory.path(), &[]);
    assert!(text.contains("NOTE  not asked whether the domains' storages"), "{text}");
    assert!(text.contains("no agent is running here"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&check(directory.path(), &["--json"])).unwrap();
    assert!(json["storages_not_asked_because"].is_string(), "{json}");
}

#[test]
fn the_agent_that_runs_here_is_asked_what_a_fence_cannot_show_quiet() {
    let directory = tempfile::tempdir().unwrap();
    let agent = agent_with_a_domain_on_rbd(directory.path());
    let text = check(directory.path(), &[]);
    agent.join().unwrap();
    let warning = "WARNING  a fence cannot show the storage of web quiet (network rbd pool/web mon:6789): \
                   QEMU reaches it by itself. Let the host reach it.";
    assert!(text.contains(warning), "{text}");
    assert!(text.contains("WARNING  domain web: it is declared exempt, but writes it."), "{text}");
    assert!(!text.contains("not asked"), "{text}");
}
