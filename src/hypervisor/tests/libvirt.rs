//! The trait on a real libvirtd and real QEMU, in namespaces of their own.
//!
//! `private_libvirtd` makes the namespaces and runs all other tests inside; they are ignored outside.

mod private;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use leasefence_core::member::{Protection, StartFailure, StopReason};
use leasefence_hypervisor::{
    Activity, Definitions, Hypervisor, HypervisorError, HypervisorEvent, Libvirt, LibvirtConfig, Loaded,
    StartError, StopDetail,
};
use private::{
    DISKS, Daemon, clean, connect, connected, define, guest_xml, id, kill, only, qemu_pid, raw_disk, virsh,
    wait_for,
};

const INSIDE: &str = "LEASEFENCE_PRIVATE_LIBVIRTD";

#[test]
fn private_libvirtd() {
    let missing = missing();
    if !missing.is_empty() {
        println!("skipped: no test against a real libvirt here, since it needs {}", missing.join(", "));
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/private-libvirtd.sh");
    let this = std::env::current_exe().expect("this test's program");
    let status = Command::new(script)
        .arg(this)
        .args(["--ignored", "--test-threads=1", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("the script runs");
    assert!(status.success(), "a test inside failed: {status}");
}

fn missing() -> Vec<&'static str> {
    let mut missing = Vec::new();
    let uid = Command::new("id").arg("-u").output().map(|output| output.stdout).unwrap_or_default();
    if uid.trim_ascii() != b"0" {
        missing.push("root");
    }
    for program in ["/usr/sbin/libvirtd", "/usr/bin/virsh", "/usr/bin/qemu-system-x86_64"] {
        if !Path::new(program).exists() {
            missing.push(program);
        }
    }
    missing
}

fn inside() {
    assert!(
        std::env::var_os(INSIDE).is_some(),
        "run by the test private_libvirtd only: it would touch this machine's domains"
    );
    clean();
}

#[test]
#[ignore = "inside private_libvirtd"]
fn a_domain_is_listed_with_its_chain_and_its_protection() {
    inside();
    let _daemon = Daemon::start();
    let (libvirt, events) = connected();
    let disk = raw_disk("a.raw");
    define(&guest_xml(id(1), "one", &disk, "raw"));
    wait_for(&events, "defined", |event| *event == HypervisorEvent::Defined(id(1)));

    let off = only(&libvirt);
    assert_eq!((off.id, off.name.as_str(), off.activity.is_running()), (id(1), "one", false));
    assert_eq!((off.vcpus, off.memory_mib, off.protection), (1, 16, Protection::default()));

    let guarded = Protection { ha: true, priority: 7, exempt: false };
    libvirt.set_protection(id(1), guarded).expect("written");
    wait_for(&events, "metadata", |event| *event == HypervisorEvent::MetadataChanged(id(1)));
    assert_eq!(only(&libvirt).protection, guarded);

    virsh(&["start", "one"]);
    wait_for(&events, "started", |event| *event == HypervisorEvent::Started(id(1)));
    let running = libvirt.domain(id(1)).expect("there");
    assert_eq!(running.activity, Activity::Running { paused: false });
    assert_eq!(running.protection, guarded, "of the run, too");
    assert_eq!(running.chain_hash(), off.chain_hash(), "one raw image");
    assert_eq!(running.disks[0].chain[0].source, leasefence_hypervisor::DiskSource::File(disk));

    let weaker = Protection { ha: false, priority: 0, exempt: true };
    libvirt.set_protection(id(1), weaker).expect("written");
    assert_eq!(only(&libvirt).protection, weaker);
    virsh(&["destroy", "one"]);
    assert_eq!(only(&libvirt).protection, weaker, "of the configuration, too");

    assert!(libvirt.free_memory_mib().expect("memory") > 64);
    assert_eq!(libvirt.domain(id(9)), Err(HypervisorError::NoSuchDomain(id(9))));
    virsh(&["undefine", "one"]);
    wait_for(&events, "undefined", |event| *event == HypervisorEvent::Undefined(id(1)));
}

type End<'a> = (&'a dyn Fn(&str), StopDetail, StopReason);

#[test]
#[ignore = "inside private_libvirtd"]
fn each_end_of_a_domain_has_its_reason() {
    inside();
    let _daemon = Daemon::start();
    let (libvirt, events) = connected();
    let disk = raw_disk("a.raw");
    define(&guest_xml(id(1), "one", &disk, "raw"));
    let crash = |name: &str| kill("KILL", qemu_pid(name));
    // The firmware of this guest cannot shut itself down; QEMU that is asked to end says the same to libvirt.
    let shut_down = |name: &str| kill("TERM", qemu_pid(name));
    let destroy = |name: &str| drop(virsh(&["destroy", name]));
    let save = |name: &str| drop(virsh(&["save", name, "/run/image"]));
    let ends: [End<'_>; 4] = [
        (&destroy, StopDetail::Destroyed, StopReason::Destroyed),
        (&shut_down, StopDetail::Shutdown, StopReason::Shutdown),
        (&crash, StopDetail::Failed, StopReason::Crashed),
        (&save, StopDetail::Saved, StopReason::Saved),
    ];
    for (end, detail, reason) in ends {
        virsh(&["start", "one"]);
        end("one");
        wait_for(&events, detail.as_str(), |event| {
            *event == HypervisorEvent::Stopped { domain: id(1), detail }
        });
        assert_eq!(detail.reason(), reason);
        // The state's word is asked for when events were lost: it must lead to the same decision.
        let last = only(&libvirt).activity.last_stop().expect("off");
        assert_eq!(last.reason(), reason, "{last:?}");
    }
    virsh(&["start", "one"]);
    libvirt.destroy(id(1)).expect("ended");
    libvirt.destroy(id(1)).expect("already off is no error");
    assert_eq!(libvirt.activity(id(1)), Ok(Activity::OffNoJob { last: StopDetail::Destroyed }));
}

#[test]
#[ignore = "inside private_libvirtd"]
fn a_hung_libvirtd_is_away_within_four_seconds_and_comes_back() {
    inside();
    let daemon = Daemon::start();
    let (libvirt, events) = connected();
    assert!(libvirt.domains().expect("a listing").is_empty());

    daemon.signal("STOP");
    let begun = Instant::now();
    let answer = libvirt.domains();
    let answered = begun.elapsed();
    assert!(matches!(answer, Err(HypervisorError::Away(_))), "{answer:?}");
    wait_for(&events, "away", |event| matches!(event, HypervisorEvent::Away(_)));
    let away = begun.elapsed();
    println!("SIGSTOP: the call under way answered after {answered:?}, away after {away:?}: {answer:?}");
    assert!(answered <= Duration::from_secs(4), "{answered:?}");
    assert!(away <= Duration::from_secs(4), "{away:?}");

    let begun = Instant::now();
    let answer = libvirt.domains();
    assert!(matches!(answer, Err(HypervisorError::Away(_))), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_millis(100), "while away, calls answer at once");

    std::thread::sleep(Duration::from_secs(2));
    daemon.signal("CONT");
    let back = wait_for(&events, "back", |event| *event == HypervisorEvent::Back);
    println!("SIGCONT: back after {back:?}");
    assert!(libvirt.domains().expect("a listing").is_empty());
}

#[test]
#[ignore = "inside private_libvirtd"]
fn an_idle_connection_to_a_hung_libvirtd_is_given_up_without_a_call() {
    inside();
    let daemon = Daemon::start();
    let (_libvirt, events) = connected();
    daemon.signal("STOP");
    let away = wait_for(&events, "away", |event| matches!(event, HypervisorEvent::Away(_)));
    println!("SIGSTOP, idle: away after {away:?}");
    assert!(away <= Duration::from_secs(5), "{away:?}");
    daemon.signal("CONT");
    wait_for(&events, "back", |event| *event == HypervisorEvent::Back);
}

#[test]
#[ignore = "inside private_libvirtd"]
fn libvirtd_absent_at_start_killed_and_restarted_is_away_and_back_each_time() {
    inside();
    let (libvirt, events) = connect();
    let first = events.recv_timeout(Duration::from_secs(5));
    assert!(matches!(first, Ok(HypervisorEvent::Away(_))), "{first:?}");
    assert!(matches!(libvirt.domains(), Err(HypervisorError::Away(_))));

    let daemon = Daemon::start();
    wait_for(&events, "back", |event| *event == HypervisorEvent::Back);
    let disk = raw_disk("a.raw");
    define(&guest_xml(id(1), "one", &disk, "raw"));
    virsh(&["start", "one"]);
    wait_for(&events, "started", |event| *event == HypervisorEvent::Started(id(1)));

    daemon.kill();
    let away = wait_for(&events, "away", |event| matches!(event, HypervisorEvent::Away(_)));
    println!("libvirtd killed: away after {away:?}");
    // What ends now has no event.
    kill("KILL", qemu_pid("one"));
    let daemon = Daemon::start();
    let back = wait_for(&events, "back", |event| *event == HypervisorEvent::Back);
    println!("libvirtd restarted: back {back:?} after it answered");
    let last = only(&libvirt).activity.last_stop().expect("off");
    assert_eq!(last.reason(), StopReason::Crashed, "{last:?}");

    daemon.signal("TERM");
    wait_for(&events, "away", |event| matches!(event, HypervisorEvent::Away(_)));
}

#[test]
#[ignore = "inside private_libvirtd"]
fn a_start_refused_by_an_image_lock_is_told_apart_from_other_failures() {
    inside();
    let _daemon = Daemon::start();
    let (libvirt, _events) = connected();
    let disk = raw_disk("shared.raw");
    libvirt.start(id(1), &guest_xml(id(1), "one", &disk, "raw")).expect("the first runs");
    let second = libvirt.start(id(2), &guest_xml(id(2), "two", &disk, "raw"));
    assert_eq!(second, Err(StartError::Failed(StartFailure::ImageLocked)));

    let third = libvirt.start(id(3), &guest_xml(id(3), "three", "/var/lib/libvirt/images/none", "raw"));
    assert!(
        matches!(&third, Err(StartError::Failed(StartFailure::Failed(why))) if why.contains("none")),
        "{third:?}"
    );
    assert_eq!(libvirt.activity(id(3)), Ok(Activity::OffNoJob { last: StopDetail::Failed }));

    let again = libvirt.start(id(1), &guest_xml(id(1), "one", &disk, "raw"));
    assert!(matches!(again, Err(StartError::Unknown(_))), "it runs already: no failure of this start");
    let other = libvirt.start(id(4), &guest_xml(id(5), "five", &disk, "raw"));
    assert!(matches!(other, Err(StartError::Failed(StartFailure::Definition(_)))), "{other:?}");
}

#[test]
#[ignore = "inside private_libvirtd"]
fn a_domain_starts_from_its_stored_definition_with_the_chain_that_was_live() {
    inside();
    let _daemon = Daemon::start();
    let (libvirt, events) = connected();
    let disk = raw_disk("base.raw");
    libvirt.start(id(1), &guest_xml(id(1), "one", &disk, "raw")).expect("runs");
    let guarded = Protection { ha: true, priority: 9, exempt: false };
    libvirt.set_protection(id(1), guarded).expect("written");
    let before = only(&libvirt).chain_hash();

    let overlay = format!("{DISKS}/overlay.qcow2");
    let spec = format!("vda,file={overlay}");
    while events.try_recv().is_ok() {}
    virsh(&["snapshot-create-as", "one", "--disk-only", "--no-metadata", "--diskspec", &spec]);
    std::thread::sleep(Duration::from_millis(300));
    println!("events of an external snapshot: {:?}", events.try_iter().collect::<Vec<_>>());
    let domain = only(&libvirt);
    assert_ne!(domain.chain_hash(), before, "the chain has grown");
    assert_eq!(domain.disks[0].chain.len(), 2);

    let store =
        Definitions::open(Path::new("/var/lib/libvirt/images/definitions"), "host-1").expect("a store");
    let definition = libvirt.definition(id(1)).expect("a definition");
    assert_eq!(definition.chain_hash, domain.chain_hash());
    assert_eq!(store.store(id(1), &definition).expect("stored"), 1);

    virsh(&["destroy", "one"]);
    virsh(&["undefine", "one"]);
    let Loaded::Found(stored) = store.load(id(1), domain.chain_hash()).expect("read") else {
        panic!("found")
    };
    libvirt.start(id(1), &stored.definition.xml).expect("runs from the stored definition");
    let again = only(&libvirt);
    assert_eq!((again.chain_hash(), again.protection), (domain.chain_hash(), guarded));
    assert_eq!(again.activity, Activity::Running { paused: false });
    assert!(again.persistent, "virsh shows it as any other");

    while events.try_recv().is_ok() {}
    virsh(&["blockcommit", "one", "vda", "--active", "--pivot", "--wait"]);
    wait_for(&events, "block job", |event| *event == HypervisorEvent::DefinitionChanged(id(1)));
    assert_eq!(only(&libvirt).chain_hash(), before, "committed back into the base");
}

#[test]
#[ignore = "inside private_libvirtd"]
fn a_start_never_brings_back_an_older_managed_save() {
    inside();
    let _daemon = Daemon::start();
    let (libvirt, _events) = connected();
    let xml = guest_xml(id(1), "one", &raw_disk("a.raw"), "raw");
    libvirt.start(id(1), &xml).expect("runs");
    virsh(&["managedsave", "one"]);
    assert!(virsh(&["dominfo", "one"]).contains("Managed save:   yes"));
    libvirt.start(id(1), &xml).expect("runs");
    let command = std::fs::read(format!("/proc/{}/cmdline", qemu_pid("one"))).expect("its command line");
    assert!(!String::from_utf8_lossy(&command).contains("-incoming"), "it booted");
    assert!(virsh(&["dominfo", "one"]).contains("Managed save:   no"), "and the image is gone");
}

fn slow_hook(seconds: u32) {
    let hook = "/etc/libvirt/hooks/qemu";
    std::fs::write(hook, format!("#!/bin/sh\n[ \"$2\" = prepare ] && sleep {seconds}\nexit 0\n"))
        .expect("a hook");
    assert!(Command::new("chmod").args(["755", hook]).status().expect("chmod").success());
}

#[test]
#[ignore = "inside private_libvirtd"]
fn a_call_that_overruns_costs_its_caller_the_deadline_and_the_connection_no_more() {
    inside();
    slow_hook(4);
    let _daemon = Daemon::start();
    let config =
        LibvirtConfig { question_deadline: Duration::from_millis(500), most_calls: 2, ..Default::default() };
    let (libvirt, events) = Libvirt::connect(config).expect("libvirt's library works");
    wait_for(&events, "back", |event| *event == HypervisorEvent::Back);
    define(&guest_xml(id(1), "one", &raw_disk("a.raw"), "raw"));
    // Libvirt keeps a domain locked while its hook runs; pings are answered all the while.
    let starting = std::thread::spawn(|| virsh(&["start", "one"]));
    std::thread::sleep(Duration::from_millis(300));
    for _stuck_call in 0..2 {
        let begun = Instant::now();
        let answer = libvirt.domains();
        let took = begun.elapsed();
        assert!(
            matches!(&answer, Err(HypervisorError::Away(why)) if why.contains("took longer")),
            "{answer:?}"
        );
        assert!(took < Duration::from_secs(1), "{took:?}");
        wait_for(&events, "away", |event| matches!(event, HypervisorEvent::Away(_)));
        wait_for(&events, "back", |event| *event == HypervisorEvent::Back);
    }
    let begun = Instant::now();
    let answer = libvirt.domains();
    assert!(matches!(&answer, Err(HypervisorError::Away(why)) if why.contains("stuck")), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_millis(100), "answered without a try");
    starting.join().expect("started");
    std::thread::sleep(Duration::from_millis(200));
    assert!(libvirt.domains().expect("the stuck calls have ended")[0].activity.is_running());
}

#[test]
#[ignore = "inside private_libvirtd"]
fn a_start_under_way_is_not_off_without_a_job() {
    inside();
    // A hook that takes long holds the start where the domain still looks shut off.
    slow_hook(3);
    let _daemon = Daemon::start();
    let (libvirt, _events) = connected();
    let disk = raw_disk("a.raw");
    define(&guest_xml(id(1), "one", &disk, "raw"));
    assert_eq!(libvirt.activity(id(1)), Ok(Activity::OffNoJob { last: StopDetail::Unknown }));
    let starting = std::thread::spawn(|| virsh(&["start", "one"]));
    std::thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    let listed = libvirt.domains();
    println!("listing during a slow hook: {:?}, {:?}", begun.elapsed(), listed.map(|all| all[0].activity));
    let begun = Instant::now();
    let activity = libvirt.activity(id(1));
    println!("asked during a start: {activity:?} after {:?}", begun.elapsed());
    assert_eq!(activity.map(Activity::is_running), Ok(true));
    starting.join().expect("started");
}

/// Catches: a backup that is taken for a migration, whose source is then left to run beside its destination.
#[test]
#[ignore = "inside private_libvirtd"]
fn a_backup_is_a_job_and_no_migration() {
    inside();
    let _daemon = Daemon::start();
    let (libvirt, _events) = connected();
    libvirt.start(id(1), &guest_xml(id(1), "one", &raw_disk("a.raw"), "raw")).expect("runs");
    assert_eq!(libvirt.migrates_away(id(1)), Ok(false), "there is no job");
    // It waits for somebody to fetch the disk.
    let backup = "/run/backup.xml";
    let server = "<server transport='unix' socket='/run/backup.socket'/>";
    std::fs::write(backup, format!("<domainbackup mode='pull'>{server}</domainbackup>")).expect("written");
    virsh(&["backup-begin", "one", backup]);
    let job = virsh(&["domjobinfo", "one"]);
    assert!(job.contains("Backup"), "{job}");
    assert_eq!(libvirt.migrates_away(id(1)), Ok(false));
    virsh(&["domjobabort", "one"]);
    assert_eq!(libvirt.migrates_away(id(9)), Err(HypervisorError::NoSuchDomain(id(9))));
}
