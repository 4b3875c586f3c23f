//! A disk behind device mapper. Multipath is told to keep requests while it has no path, as many are: what it keeps would land when
//! the path is back.

use super::{cut_past_verdict, maintenance};
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::storage::{DISKS_PORTAL, Storage, target};

const ISCSI: &[Storage] = &[Storage::Iscsi];

/// Of the one device that has two paths.
const DEVICE: &str = "/dev/mapper/mpatha";

const CONFIGURATION: &str = "defaults {
    user_friendly_names yes
    find_multipaths yes
    no_path_retry queue
    polling_interval 2
}
";

pub(super) const CUT: Scenario = Scenario::new(
    "multipath-cut",
    "has its guest's disk on multipath, which queues without a path, and is cut off until its guest runs elsewhere, then the cut heals: nothing of the old guest lands",
    |stage| on_multipath(stage, cut_past_verdict::play),
)
.only_on(ISCSI);

pub(super) const PLANNED_FENCE: Scenario = Scenario::new(
    "multipath-fence",
    "has its guest's disk on multipath and is fenced by an operator on another host: it proves it by a receipt, and the guest runs elsewhere",
    |stage| on_multipath(stage, maintenance::play_planned_fence),
)
.only_on(ISCSI);

fn on_multipath(
    stage: &mut Stage<'_>,
    then: fn(&mut Stage<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let disks = target("disks");
    // The image has no rule of udev's for it. A second session of the one target is a second path.
    stage.cluster().move_disk(
        &format!(
            "printf '%s' '{CONFIGURATION}' >/etc/multipath.conf && rm -f /etc/udev/rules.d/60-multipath.rules && \
             udevadm control --reload && modprobe -a dm-multipath dm-service-time scsi_dh_alua && systemctl start multipathd && \
             session=$(grep -lx {disks} /sys/class/iscsi_session/session*/targetname | head -n 1 | tr -dc 0-9) && \
             iscsiadm -m session -r $session --op new && udevadm settle && \
             for i in $(seq 60); do test -b {DEVICE} && exit 0; sleep 0.5; done; multipath -v2; exit 1"
        ),
        DEVICE,
    )?;
    let seen = then(stage);
    // LVM takes no disk whose WWID multipath has once noted down, whether or not it still maps it.
    stage.cluster().move_disk(
        &format!(
            "multipath -F; systemctl stop multipathd.socket multipathd; rm -f /etc/multipath.conf /etc/multipath/wwids; \
             ln -sf /dev/null /etc/udev/rules.d/60-multipath.rules; udevadm control --reload; \
             iscsiadm -m node -T {disks} -p {DISKS_PORTAL} --logout; iscsiadm -m node -T {disks} -p {DISKS_PORTAL} --login && udevadm settle"
        ),
        &Storage::Iscsi.guest_disk(),
    )?;
    seen
}
