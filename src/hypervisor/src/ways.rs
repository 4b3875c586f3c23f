//! Whether a storage can be shown quiet, asked of the kernel in the words that the fencer asks.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use leasefence_core::fencing::{QuiesceTarget, StorageKind};
use leasefence_transport::{IscsiWay, Locks, NfsWay, Obstacle, Sharer};

use crate::no_proof::NoProof;

/// How long an answer counts: as often the fencer looks at a storage anew.
const ANSWER_AGE: Duration = Duration::from_secs(5);

/// What is known of the way to a storage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Way {
    /// Where it leads, where that says more than the kernel's name of the device.
    pub(crate) place: Option<String>,
    /// Why it cannot be shown quiet; none where it can.
    pub(crate) no_proof: Option<NoProof>,
    /// What shares its NFS client.
    pub(crate) sharers: Vec<Sharer>,
}

impl Way {
    fn closed(why: NoProof) -> Self {
        Self { place: None, no_proof: Some(why), sharers: Vec::new() }
    }
}

/// The ways to all storages that were asked for, each asked of the kernel once for all domains.
#[derive(Debug, Default)]
pub(crate) struct Ways(Mutex<HashMap<QuiesceTarget, (Way, Instant)>>);

impl Ways {
    /// The way to an NFS file system or a device of a session. Reads /proc and /sys alone.
    pub(crate) fn to(&self, target: &QuiesceTarget) -> Way {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, at)| at.elapsed() < ANSWER_AGE);
        let (way, _) = known.entry(target.clone()).or_insert_with(|| (look(target), Instant::now()));
        way.clone()
    }
}

fn look(target: &QuiesceTarget) -> Way {
    let device = target.device;
    match target.kind {
        StorageKind::Nfs => of_nfs(NfsWay::to(device), |way| way.sharers(device)),
        StorageKind::Iscsi => of_iscsi(IscsiWay::to(device)),
        StorageKind::OneKernel | StorageKind::Unprovable => {
            Way { place: None, no_proof: None, sharers: Vec::new() }
        }
    }
}

fn of_nfs(
    found: Result<Option<NfsWay>, Obstacle>,
    sharers: impl FnOnce(&NfsWay) -> Result<Vec<Sharer>, Obstacle>,
) -> Way {
    match found {
        Ok(Some(way)) if way.locks == Locks::Nlm => Way::closed(NoProof::LocksOfNfs3),
        Ok(Some(way)) => match sharers(&way) {
            Ok(sharers) => Way { place: None, no_proof: None, sharers },
            Err(obstacle) => Way::closed(obstacle.into()),
        },
        Ok(None) => Way::closed(NoProof::Gone),
        Err(obstacle) => Way::closed(obstacle.into()),
    }
}

fn of_iscsi(found: Result<Option<IscsiWay>, Obstacle>) -> Way {
    match found {
        Ok(Some(way)) => Way { place: Some(place_of(&way)), no_proof: None, sharers: Vec::new() },
        Ok(None) => Way::closed(NoProof::Gone),
        Err(obstacle) => Way::closed(obstacle.into()),
    }
}

/// `TARGET at PORTAL, PORTAL`, each target once, and before it the mapped device over them.
fn place_of(way: &IscsiWay) -> String {
    let mut targets: Vec<String> = Vec::new();
    for path in &way.paths {
        let portals: Vec<String> = path.portals.iter().map(ToString::to_string).collect();
        targets.push(format!("{} at {}", path.target, portals.join(", ")));
    }
    targets.dedup();
    let mapped = way.mapped.first().map(|device| format!("{} on ", device.name)).unwrap_or_default();
    mapped + &targets.join(" and ")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use leasefence_transport::{IscsiPath, MappedDevice, Mapping};

    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_way_is_passed_on_in_words() {
        let nfs = |version, locks| {
            let server = "10.0.0.1:2049".parse().expect("an address");
            Ok(Some(NfsWay { server, version, locks }))
        };
        for (found, no_proof) in [
            (nfs((4, 2), Locks::Server), None),
            (nfs((3, 0), Locks::Nlm), Some(NoProof::LocksOfNfs3)),
            (Ok(None), Some(NoProof::Gone)),
            (Err(Obstacle::ParallelNfs), Some(NoProof::Way(Obstacle::ParallelNfs))),
        ] {
            let sharers = Vec::new();
            assert_eq!(of_nfs(found, |_| Ok(Vec::new())), Way { place: None, no_proof, sharers });
        }
        let lease = || vec![Sharer { device: 51, place: "/lease".to_owned() }];
        assert_eq!(of_nfs(nfs((4, 2), Locks::Server), |_| Ok(lease())).sharers, lease());
        let hidden = of_nfs(nfs((4, 2), Locks::Server), |_| Err(Obstacle::OtherNamespace));
        assert_eq!(hidden.no_proof, Some(NoProof::Way(Obstacle::OtherNamespace)));
        let path = |portal: &str| IscsiPath {
            place: PathBuf::from("/sys/devices/x"),
            target: "iqn.2026-01.t:x".to_owned(),
            portals: vec![portal.parse().expect("an address")],
        };
        let mut way = IscsiWay { mapped: Vec::new(), paths: vec![path("10.0.0.1:3260")], mounted: None };
        let place = Some("iqn.2026-01.t:x at 10.0.0.1:3260".to_owned());
        assert_eq!(of_iscsi(Ok(Some(way.clone()))), Way { place, no_proof: None, sharers: Vec::new() });
        way.paths.push(path("10.0.0.2:3260"));
        way.mapped.push(MappedDevice {
            place: PathBuf::from("/sys/devices/virtual/block/dm-1"),
            name: "vg-disk".to_owned(),
            uuid: "LVM-x".to_owned(),
            mapping: Mapping::Volume,
        });
        let place = "vg-disk on iqn.2026-01.t:x at 10.0.0.1:3260 and iqn.2026-01.t:x at 10.0.0.2:3260";
        assert_eq!(of_iscsi(Ok(Some(way))).place.as_deref(), Some(place));
        let raid = of_iscsi(Err(Obstacle::NotOfSession));
        assert_eq!(raid.no_proof.map(|why| why.to_string()), Some(Obstacle::NotOfSession.to_string()));
    }
}
