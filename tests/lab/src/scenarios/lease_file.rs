//! An administrator puts a copy in the lease file's place. Another file is a lost lease: all fence, and begin again on what lies
//! there now. In the same file, a record that went back in time is written again by the host that holds it. Either way nobody
//! may start what another still runs.

use crate::scenario::Scenario;
use crate::storage::Storage;
use leasefence_demo::story::Kind;

const COPY: &str = "/root/lease.copy";

pub(super) const REPLACED: Scenario = Scenario::new(
    "lease-replaced",
    "and all others find another file in the place of their lease file, a copy of a moment ago: all come back, and the guest runs once",
    |stage| {
        let lease = stage.cluster().storage().lease_at_home();
        stage.note(Kind::Fault, "the lease file is replaced by a copy of itself");
        stage.on_storage(&format!("cp {lease} {lease}.copy && mv {lease}.copy {lease}"))?;
        stage.sees_all_return()
    },
)
.only_on(&[Storage::Nfs]);

pub(super) const RESTORED: Scenario = Scenario::new(
    "lease-restored",
    "and all others have their lease overwritten by a copy one ttl old: all come back, and the guest runs once",
    |stage| {
        let lease = stage.cluster().storage().lease_at_home();
        stage.on_storage(&format!("dd if={lease} of={COPY} bs=1M iflag=direct status=none"))?;
        stage.wait_ttl(1.0)?;
        stage.note(Kind::Fault, "the lease is overwritten by a copy one ttl old");
        stage.on_storage(&format!("dd if={COPY} of={lease} bs=1M oflag=direct conv=notrunc status=none"))?;
        // Longer than it takes all of them to see it.
        stage.wait_ttl(2.0)?;
        stage.sees_all_held()?;
        stage.sees_guest_on_one_host()
    },
);
