//! The storage machine itself: slow, paused, its service restarted, and reset altogether.

use crate::lab::Directions;
use crate::machine::{Machine, Network, STORAGE};
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::storage::{DISKS_PORTAL, LEASE_PORTAL, Storage};
use crate::switch::Effect;
use leasefence_demo::story::Kind;

pub(super) const SLOW: Scenario = Scenario::new(
    "server-slow",
    "and all others get each answer of the storage 400 ms late, for two ttls: nobody is fenced",
    |stage| {
        let text = "the storage answers 400 ms late";
        stage.impair(STORAGE, Network::Storage, Directions::Out, Effect::Delay(400), text)?;
        stage.wait_ttl(2.0)?;
        stage.heal()?;
        stage.sees_nobody_fenced()?;
        stage.sees_connections_left_alone()
    },
);

pub(super) const PAUSED: Scenario = Scenario::new(
    "server-paused",
    "and all others see their storage stand still for 0.6 of the ttl: nobody is fenced",
    |stage| {
        stage.note(Kind::Fault, "the storage machine stands still");
        stage.lab().freeze(STORAGE)?;
        stage.wait_ttl(0.6)?;
        stage.note(Kind::Mended, "it goes on");
        stage.lab().thaw(STORAGE)?;
        stage.sees_nobody_fenced()
    },
);

pub(super) const RESTARTED: Scenario = Scenario::new(
    "nfsd-restarted",
    "and all others see their NFS server restarted, with a grace period of 15 s: nobody is fenced",
    |stage| {
        stage.note(Kind::Fault, "systemctl restart nfs-server");
        stage.on_storage("systemctl restart nfs-server")?;
        stage.note(Kind::Mended, "it is up again");
        stage.wait_ttl(1.0)?;
        stage.sees_nobody_fenced()
    },
)
.only_on(&[Storage::Nfs]);

/// A cluster of servers moves address and service to another machine; open files are claimed again within its grace period.
pub(super) const FAILED_OVER: Scenario = Scenario::new(
    "failover",
    "and all others lose their server, to a fail-over of 0.2 of the ttl and what starting takes: nobody is fenced",
    |stage| {
        fail_over(stage, 0.2)?;
        stage.wait_ttl(1.0)?;
        stage.sees_nobody_fenced()
    },
);

pub(super) const FAILED_OVER_LATE: Scenario = Scenario::new(
    "failover-late",
    "and all others lose their server to a fail-over of two ttls: all come back, and the guest runs once",
    |stage| {
        fail_over(stage, 2.0)?;
        stage.sees_all_return()
    },
);

fn fail_over(stage: &mut Stage<'_>, ttls: f64) -> Result<(), Failure> {
    let storage = stage.cluster().storage();
    stage.note(Kind::Fault, "the server's addresses and its service go");
    stage.on_storage(&format!("ip addr flush dev storage; {}", storage.stop()))?;
    stage.wait_ttl(ttls)?;
    stage.on_storage(&format!(
        "{}; ip addr add {LEASE_PORTAL}/24 dev storage; ip addr add {DISKS_PORTAL}/24 dev storage",
        storage.start()
    ))?;
    stage.note(Kind::Mended, "they are back");
    Ok(())
}

/// Longer than the tolerance: all fence, and come back. The guest's own host restarts it, or another, once. On a fast machine
/// the storage boots within the ttl, and nobody would be fenced: so it stays off for longer.
pub(super) const RESET: Scenario = Scenario::new(
    "server-reset",
    "and all others lose their storage, which is without power for longer than the ttl: all come back, and the guest runs once",
    |stage| {
        stage.note(Kind::Fault, "the storage machine loses its power");
        stage.lab().power_off(STORAGE)?;
        stage.wait_ttl(1.5)?;
        let storage = Machine::named(STORAGE).ok_or_else(|| Failure::Unmet("no such machine".into()))?;
        stage.lab().power_on(storage)?;
        stage.note(Kind::Mended, "it is up again");
        stage.sees_all_return()
    },
);
