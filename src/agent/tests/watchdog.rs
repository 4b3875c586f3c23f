//! The watchdog across processes: configuration, fencer, record, peers. The device is a file whose server notes each call.

mod common;
#[path = "../../fencer/tests/common/fake_watchdog.rs"]
mod fake_watchdog;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::{Cluster, Host, can_make_hosts, wait_for};
use fake_watchdog::{Deed, FakeWatchdog};
use leasefence_api::{HostState, VerdictClass};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const JOINS_WITHIN: Duration = Duration::from_secs(40);

/// Mounts made here are seen here and by the hosts, and nowhere else.
fn in_own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("root may");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("root may");
}

/// A host whose configuration names `device`, with a ttl that leaves it room.
fn watched(cluster: &Cluster, name: &str, preset: &str) -> (Host, FakeWatchdog) {
    let host = cluster.host(name);
    let device = FakeWatchdog::at(&host.dir.join("watchdog"));
    // Set to the 5 s that are asked for, its driver makes 6 s of them.
    device.behaves(|manners| manners.step = 3);
    let text = fs::read_to_string(&host.config).expect("a configuration");
    let text = text.replace("watchdog = \"none\"", &format!("watchdog = {:?}", device.path()));
    fs::write(&host.config, text.replace("preset = \"fast\"", preset)).expect("writable");
    (host, device)
}

fn metrics(host: &Host) -> String {
    let mut socket = UnixStream::connect(host.dir.join("run/agent.sock")).expect("it listens");
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("it answers");
    text
}

#[test]
fn the_record_has_the_class_and_the_time_that_the_driver_returned_and_peers_go_by_it() {
    if !can_make_hosts() {
        return;
    }
    in_own_mounts();
    let cluster = Cluster::new();
    let mut first = cluster.host("host-1");
    let (mut second, device) = watched(&cluster, "host-2", "lease_ttl = \"10s\"");
    first.start();
    second.start();
    first.wait_state("held", JOINS_WITHIN);
    let held = second.wait_state("held", JOINS_WITHIN);
    assert_eq!((held.own.watchdog.as_str(), held.own.terms.watchdog_actual_ms), ("soft", 7_000));
    let said = held.own.fencer.watchdog;
    assert_eq!((said.class.as_str(), said.timeout_ms), ("soft", Some(6_000)), "{said:?}");
    assert_eq!(said.device.as_deref(), device.path().to_str());
    assert!(said.last_pet_age_ms.is_some_and(|age| age < 2_000), "{said:?}");
    let metrics = metrics(&second);
    for line in
        ["leasefence_watchdog_timeout_seconds 6", "class=\"soft\"", "leasefence_watchdog_pet_age_seconds"]
    {
        assert!(metrics.contains(line), "{metrics}");
    }
    let seen = |class: &str| {
        let status = first.status()?;
        let host = status.hosts.iter().find(|host| host.name == "host-2").cloned();
        match host {
            Some(host) if host.watchdog == class && host.state == HostState::Alive => Ok(host),
            other => Err(format!("{other:?}")),
        }
    };
    let peer = wait_for(Duration::from_secs(5), || seen("soft"));
    assert_eq!(peer.terms.map(|terms| terms.watchdog_actual_ms), Some(7_000));

    // An agent that is restarted asks again, and is answered what is so: its record never says another class.
    second.signal("agent", "KILL");
    let pid = held.agent.pid;
    wait_for(Duration::from_secs(8), || {
        seen("soft").map(drop)?;
        match second.status() {
            Ok(status) if status.agent.pid != pid && status.own.state == "held" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!((device.count(Deed::Open), device.count(Deed::Release)), (1, 0), "{:?}", device.deeds());

    second.power_off();
    wait_for(Duration::from_secs(5), || match device.count(Deed::Release) {
        0 => Err("its last descriptor is open".to_owned()),
        _ => Ok(()),
    });
    assert_eq!(device.count(Deed::Write(true)), 0, "a host that died has let nothing go");
    let gone = wait_for(Duration::from_secs(25), || match first.verdict("host-2") {
        Ok(said) if said.class == VerdictClass::MayStart => Ok(said),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(gone.evidence.as_deref(), Some("expired"), "the lease file accepts this class");
}

#[test]
fn a_timing_that_leaves_the_watchdog_no_room_is_refused_with_the_bound() {
    if !can_make_hosts() {
        return;
    }
    in_own_mounts();
    let cluster = Cluster::new();
    let (mut host, _device) = watched(&cluster, "host-1", "preset = \"fast\"");
    host.start();
    wait_for(JOINS_WITHIN, || {
        let log = host.logs();
        let refused =
            log.contains("with this host's watchdog") && log.contains("granule <= fence_budget is broken");
        if refused { Ok(()) } else { Err(log) }
    });
}

#[test]
fn a_host_without_the_watchdog_that_is_configured_says_why_and_is_of_class_none() {
    if !can_make_hosts() {
        return;
    }
    let cluster = Cluster::new();
    let mut host = cluster.host("host-1");
    let text = fs::read_to_string(&host.config).expect("a configuration");
    let text = text.replace("watchdog = \"none\"", "watchdog = \"/nonexistent/watchdog\"");
    fs::write(&host.config, text).expect("writable");
    host.start();
    let status = host.wait_state("held", JOINS_WITHIN);
    assert_eq!((status.own.watchdog.as_str(), status.own.terms.watchdog_actual_ms), ("none", 0));
    let warned = status.warnings.iter().any(|warning| {
        warning.contains("No watchdog would reset this host")
            && warning.contains("is its driver's module loaded?")
    });
    assert!(warned, "{:?}", status.warnings);
}
