//! The storage answers, and its disk does only half of what it should: reads end and writes do not, or the other way round.

use crate::lab::Io;
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::storage::Storage;
use leasefence_demo::story::Kind;

pub(super) const WRITES: Scenario = Scenario::new(
    "writes-hang",
    "and all others read their lease and cannot write it for two ttls: all come back afterwards, and the guest runs once",
    |stage| play(stage, Io::Writes, "no write to the lease's disk ends"),
);

/// An NFS server reads from its memory, so that there are no reads which could hang.
pub(super) const READS: Scenario = Scenario::new(
    "reads-hang",
    "and all others write their lease and cannot read it for two ttls: all come back afterwards, and the guest runs once",
    |stage| play(stage, Io::Reads, "no read of the lease's disk ends"),
)
.only_on(&[Storage::Iscsi]);

fn play(stage: &mut Stage<'_>, which: Io, text: &str) -> Result<(), Failure> {
    let drive = stage.cluster().storage().lease_drive();
    stage.note(Kind::Fault, text);
    stage.lab().hang(drive, which)?;
    let waited = stage.wait_ttl(2.0);
    stage.note(Kind::Mended, "it does both again");
    stage.lab().let_go(drive)?;
    waited?;
    stage.sees_all_return()
}
