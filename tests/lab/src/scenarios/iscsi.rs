//! What can happen to an iSCSI session.

use super::cut_past_verdict;
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::storage::Storage;
use leasefence_demo::story::Kind;

const ISCSI: &[Storage] = &[Storage::Iscsi];

pub(super) const TARGET_RESET: Scenario = Scenario::new(
    "target-reset",
    "and all others see their iSCSI targets disabled for 0.3 of the ttl: nobody is fenced",
    |stage| {
        stage.note(Kind::Fault, "the targets are disabled");
        stage.on_storage(Storage::Iscsi.stop())?;
        stage.wait_ttl(0.3)?;
        stage.note(Kind::Mended, "they are enabled");
        stage.on_storage(Storage::Iscsi.start())?;
        stage.sees_nobody_fenced()
    },
)
.only_on(ISCSI);

pub(super) const LOGOUT: Scenario = Scenario::new(
    "logout",
    "is logged out of its targets by hand: it is taken over once, and comes back after a login",
    |stage| {
        stage.note(Kind::Fault, "iscsiadm --logout");
        // It may wait for the guest, which has its disk open.
        stage.on_victim("(timeout 60 iscsiadm -m node --logout >/dev/null 2>&1 </dev/null &)")?;
        stage.sees_takeover()?;
        stage.note(Kind::Mended, "iscsiadm --login");
        stage.undo_on_victim("iscsiadm -m node --login; udevadm settle")?;
        stage.sees_return()
    },
)
.only_on(ISCSI);

pub(super) const LUN_GONE: Scenario = Scenario::new(
    "lun-gone",
    "and all others have the lease's LUN taken away for two ttls: all come back when it is there again, and the guest runs once",
    |stage| {
        let target = "/sys/kernel/config/target/iscsi/iqn.2024-01.lab.leasefence:lease";
        let lun = format!("{target}/tpgt_1/lun/lun_0/lease");
        stage.note(Kind::Fault, "the lease's LUN is taken away");
        stage.on_storage(&format!("rm {lun}"))?;
        stage.wait_ttl(2.0)?;
        stage.note(Kind::Mended, "it is there again");
        stage.on_storage(&format!("ln -s /sys/kernel/config/target/core/iblock_0/lease {lun}"))?;
        stage.sees_all_return()
    },
)
.only_on(ISCSI);

/// With 120 s the kernel holds writes for as long, and all of them land after the heal; with 5 s it fails them.
pub(super) const LONG_TIMEOUT: Scenario = Scenario::new(
    "cut-timeout-120",
    "has replacement_timeout 120 and is cut off until its guest runs elsewhere, then the cut heals: nothing of the old guest lands",
    |stage| cut_with(stage, 120),
)
.only_on(ISCSI);

pub(super) const SHORT_TIMEOUT: Scenario = Scenario::new(
    "cut-timeout-5",
    "has replacement_timeout 5 and is cut off until its guest runs elsewhere, then the cut heals: nothing of the old guest lands",
    |stage| cut_with(stage, 5),
)
.only_on(ISCSI);

fn cut_with(stage: &mut Stage<'_>, seconds: u32) -> Result<(), Failure> {
    stage.on_victim(&format!(
        "for f in /sys/class/iscsi_session/*/recovery_tmo; do echo {seconds} >$f; done"
    ))?;
    cut_past_verdict::play(stage)
}
