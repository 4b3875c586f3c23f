//! An observer without a slot, over the cluster's file, over a file that nobody writes, and over a writable copy.

use leasefence_core::evidence::Verdict;
use leasefence_core::ids::BootId;
use leasefence_core::storage::IoDone;
use leasefence_core::time::{Instant, Now};
use leasefence_core::watch::{HostReport, Observer, ObserverConfig};

use crate::disk::Disk;
use crate::world::World;

/// An observer, driven each 10 ms of the world's time.
struct Watcher {
    observer: Observer,
    evidence: Vec<&'static str>,
}

fn now(at: u64) -> Now {
    Now { instant: Instant { boot_ns: at, raw_ns: at }, suspended_ns: 0, wall_ns: at }
}

impl Watcher {
    fn new(size: u64) -> Self {
        let config = ObserverConfig {
            size,
            cluster_name: None,
            name: "laptop".to_owned(),
            boot_id: BootId([200; 16]),
            seed: 99,
        };
        Self { observer: Observer::new(config), evidence: Vec::new() }
    }

    fn drive(&mut self, at: u64, disk: &mut Disk) {
        while let Some(request) = self.observer.poll_request(&now(at)) {
            let result = disk.perform(&request.op);
            let done = IoDone { id: request.id, issued: now(at), ended: now(at), result };
            let latched = self.observer.handle_io(&done);
            self.evidence.extend(latched.iter().map(|latched| latched.evidence.as_str()));
        }
    }

    fn report(&self, at: u64, name: &str) -> Option<HostReport> {
        let reports = self.observer.reports(now(at).instant);
        reports.into_iter().find(|report| report.view.name == name)
    }
}

#[test]
fn an_observer_without_a_slot_proves_a_death_over_a_live_file() {
    let mut world = World::held(2);
    let mut watcher = Watcher::new(world.disk.0.len() as u64);
    for step in 0..2_000 {
        world.run(10);
        watcher.drive(world.at, &mut world.disk);
        if step == 300 {
            let alive = watcher.report(world.at, "host-0").map(|report| report.view.verdict);
            assert_eq!(alive, Some(Verdict::Alive));
            world.hosts[0].power_off();
        }
    }
    assert_eq!(watcher.evidence, ["expired"], "{:?}", watcher.report(world.at, "host-0"));
}

#[test]
fn an_observer_never_says_expired_of_a_dead_picture() {
    let mut world = World::held(2);
    // A copy of the file, which it may write: all that it sees move there is its own nonce.
    let mut picture = world.disk.clone();
    let mut watcher = Watcher::new(world.disk.0.len() as u64);
    for _ in 0..6_000 {
        world.run(10);
        watcher.drive(world.at, &mut picture);
    }
    assert!(watcher.evidence.is_empty(), "{:?}", watcher.evidence);
    let report = watcher.report(world.at, "host-0").expect("it is in the picture");
    assert!(report.reason.contains("no sign that this path is live"), "{report:?}");
}
