//! A host's own reset across processes: configuration, fencer, record, status. What is in the place of the kernel's trigger is a
//! plain file.

mod common;

use std::fs;
use std::time::Duration;

use common::{Cluster, Host, block_on, can_make_hosts, wait_for};
use leasefence_core::format::{Header, HostRecord, RecordCopy, RecordFlags};
use leasefence_core::ids::Slot;

const JOINS_WITHIN: Duration = Duration::from_secs(40);

fn configure(host: &Host, reset: &str) {
    let text = fs::read_to_string(&host.config).expect("a configuration");
    let kept: String =
        text.lines().filter(|line| !line.starts_with("fence.")).map(|line| format!("{line}\n")).collect();
    fs::write(&host.config, format!("fence.reset = \"{reset}\"\n{kept}")).expect("writable");
}

/// Whether both copies of a host's record say that it resets itself.
fn says_reset(cluster: &Cluster, host: &Host) -> [bool; 2] {
    let slot = Slot(host.status().expect("it answers").own.slot.expect("it has one"));
    let file = fs::read(cluster.lease()).expect("readable");
    let header = Header::decode(0, &file[..4096]).expect("whole");
    RecordCopy::BOTH.map(|copy| {
        let place = header.layout.host_record(slot, copy);
        let record = HostRecord::decode(&place, place.within(0, &file)).expect("whole");
        record.flags.contains(RecordFlags::RESET_ON)
    })
}

#[test]
fn the_record_says_reset_on_only_where_the_fencer_has_a_trigger_and_until_nothing_is_armed() {
    if !can_make_hosts() {
        return;
    }
    let cluster = Cluster::new();
    let mut host = cluster.host("host-1");
    let trigger = host.dir.join("sysrq");
    fs::write(&trigger, "").expect("writable");
    host.fencer_args = format!("--sysrq-trigger {}", trigger.display());
    configure(&host, "on");
    host.start();
    let held = host.wait_state("held", JOINS_WITHIN);
    let reset = &held.own.fencer.reset;
    assert_eq!((reset.wanted, reset.on, reset.note.as_deref()), (true, true, None));
    assert!(!held.warnings.iter().any(|warning| warning.contains("NOTHING RESETS")), "{:?}", held.warnings);
    // The very first record of this life says so.
    assert_eq!(says_reset(&cluster, &host), [true; 2]);

    // Turned off while it is armed it stays on, and the record with it.
    configure(&host, "off");
    let pid = held.agent.pid;
    host.signal("agent", "KILL");
    let deferred = wait_for(Duration::from_secs(10), || match host.status() {
        Ok(status) if status.agent.pid != pid && status.own.state == "held" => Ok(status),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(deferred.own.generation, held.own.generation, "it goes on with its lease");
    let reset = &deferred.own.fencer.reset;
    assert!(!reset.wanted && reset.on && reset.note.is_some(), "{reset:?}");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(says_reset(&cluster, &host), [true; 2]);

    // Disarmed it is let go; the record that follows does not say it any more.
    let client = host.client();
    let answer = block_on(async { client.disarm().await }).expect("it answers");
    assert!(answer.ok, "{}", answer.text);
    wait_for(Duration::from_secs(10), || match host.status() {
        Ok(status) if !status.own.fencer.reset.on => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // The agent has begun again with that.
    wait_for(JOINS_WITHIN, || match block_on(async { client.arm().await }) {
        Ok(answer) if answer.ok => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let armed = host.wait_state("held", JOINS_WITHIN);
    assert!(armed.warnings.iter().any(|warning| warning.contains("NOTHING RESETS")), "{:?}", armed.warnings);
    wait_for(Duration::from_secs(5), || match says_reset(&cluster, &host) {
        [false, false] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(fs::read_to_string(&trigger).expect("readable"), "", "nobody has pulled it");
}

#[test]
fn a_host_that_cannot_reset_itself_says_so_and_its_record_does_not_promise_it() {
    if !can_make_hosts() {
        return;
    }
    let cluster = Cluster::new();
    let mut host = cluster.host("host-1");
    configure(&host, "on");
    host.start();
    let held = host.wait_state("held", JOINS_WITHIN);
    let said = |words: &str| held.warnings.iter().any(|warning| warning.contains(words));
    assert!(said("this host cannot reset itself") && said("--allow-reset"), "{:?}", held.warnings);
    assert!(said("NOTHING RESETS THIS HOST"), "{:?}", held.warnings);
    assert_eq!(says_reset(&cluster, &host), [false; 2]);
}
