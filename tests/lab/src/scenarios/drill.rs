//! An operator rehearses on a host that guards a guest, and accepts that it dies.

use std::time::Duration;

use leasefence_demo::story::Kind;

use crate::guest;
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::storage::Storage;

/// The canary's disk lies where the guest's does. On iSCSI there is a LUN, and no directory. A drill of two takes four verdicts and
/// rejoins, on emulated machines.
const PATIENCE: Duration = Duration::from_secs(1200);

/// Where the report goes.
const PAGE: &str = "/root/drill.html";

pub(super) const SCENARIO: Scenario = Scenario::new(
    "drill",
    "is where an operator runs `leasefence drill run planned-fence storage-stall`: every promise is kept, and the guest moves",
    play,
)
.only_on(&[Storage::Nfs]);

fn play(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let leave = format!("--i-accept-that-guests-die {}", guest::NAME);
    let command = format!(
        "leasefence drill run planned-fence storage-stall --storage /mnt/disks {leave} --json --html {PAGE} >/root/drill.json"
    );
    stage.note(Kind::Fault, "leasefence drill run planned-fence storage-stall");
    let victim = stage.victim();
    let drilled = stage.lab().exec_for(victim, &command, PATIENCE);
    let report = stage.on_victim("cat /root/drill.json")?;
    if let Err(error) = drilled {
        return Err(Failure::Unmet(format!("the drill did not end with 0: {error}; it reports {report}")));
    }
    // Both were kept, and not just nothing broken.
    if report.matches("\"result\":\"kept\"").count() != 2 {
        return Err(Failure::Unmet(format!("the drill did not keep both promises: {report}")));
    }
    stage.on_victim(&format!("grep -q '<svg' {PAGE}"))?;
    stage.note(Kind::Mended, "the drill is over, every promise was kept");
    stage.cluster().wait_until_held(victim, 0)?;
    stage.sees_guest_on_one_host()
}
