//! What an administrator does to an export by mistake.

use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::storage::Storage;
use leasefence_demo::story::Kind;

const NFS: &[Storage] = &[Storage::Nfs];

pub(super) const FULL: Scenario = Scenario::new(
    "export-full",
    "and all others find the lease's file system full: the lease file has its blocks, nobody is fenced",
    |stage| {
        stage.note(Kind::Fault, "the file system is filled");
        stage.on_storage(
            "dd if=/dev/zero of=/srv/lease/filler bs=1M status=none || true; df /srv/lease | tail -n 1",
        )?;
        let seen = stage.wait_ttl(1.5).and_then(|()| stage.sees_nobody_fenced());
        stage.note(Kind::Mended, "there is room again");
        stage.on_storage("rm /srv/lease/filler")?;
        seen
    },
)
.only_on(NFS);

pub(super) const READ_ONLY: Scenario = Scenario::new(
    "export-read-only",
    "and all others find the lease's export read-only for two ttls: all come back when it is writable, and the guest runs once",
    |stage| away(stage, "exportfs -o ro,sync,no_subtree_check,no_root_squash 10.77.1.0/24:/srv/lease", "made read-only"),
)
.only_on(NFS);

pub(super) const GONE: Scenario = Scenario::new(
    "export-gone",
    "and all others find the lease's export gone for two ttls: all come back when it does, and the guest runs once",
    |stage| away(stage, "exportfs -u 10.77.1.0/24:/srv/lease", "taken back"),
)
.only_on(NFS);

fn away(stage: &mut Stage<'_>, command: &str, text: &str) -> Result<(), Failure> {
    stage.note(Kind::Fault, format!("the lease's export is {text}"));
    stage.on_storage(command)?;
    stage.wait_ttl(2.0)?;
    stage.note(Kind::Mended, "the exports are as they were");
    stage.on_storage("exportfs -r")?;
    stage.sees_all_return()
}
