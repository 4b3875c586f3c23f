//! A second guest of the victim's, whose disk is an image on an ext4 on an iSCSI session's own disk. No other host has it mounted, so
//! it is not started elsewhere. The fencer deletes the disk under the mount, and somebody keeps that busy, so that nobody unmounts it:
//! the host must have it back without a reboot.

use super::{cut_past_verdict, maintenance};
use crate::cluster::PATIENCE;
use crate::guest;
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::storage::{DISKS_PORTAL, Storage, lun, target};
use leasefence_demo::story::Kind;

/// Of the guest, its target and its LUN.
const NAME: &str = "beside";
const UUID: &str = "6c656173-6566-4e63-a000-000000000102";
/// Where it is mounted.
const POINT: &str = "/mnt/beside";
/// What the LUN is, on the storage machine.
const IMAGE: &str = "/srv/beside.img";

const ISCSI: &[Storage] = &[Storage::Iscsi];

pub(super) const PLANNED_FENCE: Scenario = Scenario::new(
    "file-system",
    "has a second guest on an ext4 that it alone has mounted, and is fenced by an operator: it proves it by a receipt, and has that mounted again without a reset",
    |stage| on_file_system(stage, maintenance::play_planned_fence),
)
.only_on(ISCSI);

pub(super) const CUT: Scenario = Scenario::new(
    "file-system-cut",
    "has a second guest on an ext4 that it alone has mounted, and is cut off until its guest runs elsewhere, then the cut heals: it has that mounted again without a reset",
    |stage| on_file_system(stage, cut_past_verdict::play),
)
.only_on(ISCSI);

fn on_file_system(
    stage: &mut Stage<'_>,
    fence: fn(&mut Stage<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let seen = has_file_system(stage).and_then(|()| fence(stage)).and_then(|()| has_it_again(stage));
    // Whatever came of it: the next scenario knows nothing of a second guest.
    let gone = has_it_no_more(stage);
    seen.and(gone)
}

fn has_file_system(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.on_storage(&offer())?;
    let (target, device) = (target(NAME), lun(NAME, DISKS_PORTAL));
    let node = format!("iscsiadm -m node -T {target} -p {DISKS_PORTAL}");
    stage.on_victim(&format!(
        "set -e; {node} -o new; {node} --login; udevadm wait --settle --timeout=60 {device}; mkfs.ext4 -q {device}; \
         mkdir -p {POINT}; echo '{device} {POINT} ext4 _netdev,nofail 0 0' >>/etc/fstab; systemctl daemon-reload; mount {POINT}; \
         dd if=/dev/zero of={POINT}/guest.img bs=1M count=16 conv=fsync status=none"
    ))?;
    let definition = guest::another(NAME, UUID, &format!("{POINT}/guest.img"));
    stage.on_victim(&format!(
        "cat >/root/{NAME}.xml <<'TEXT'\n{definition}TEXT\nvirsh --quiet define /root/{NAME}.xml"
    ))?;
    runs(stage)?;
    // The agent looks every five seconds at what there is to be brought back.
    stage.wait_ttl(0.5)?;
    // It is written out when the kernel has nothing better to do, which is later than the fence.
    stage.on_victim(&format!(
        "(setsid sh -c 'echo $$ >/run/{NAME}.pid; cd {POINT}; exec sleep 3600' >/dev/null 2>&1 </dev/null &); \
         dd if=/dev/urandom of={POINT}/dirty bs=64k count=16 conv=notrunc status=none"
    ))?;
    stage.note(Kind::Mended, format!("a second guest runs on {POINT}, which is busy and has dirty pages"));
    Ok(())
}

fn has_it_again(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let what = format!("{POINT} of {} to be mounted again, and to work", stage.victim());
    let works = format!(
        "mountpoint -q {POINT} && test -e /sys/dev/block/$(mountpoint -d {POINT}) && test -s {POINT}/guest.img && \
         touch {POINT}/after && sync -f {POINT}/after"
    );
    stage.cluster().look(&what, PATIENCE, || stage.on_victim(&works).ok())?;
    stage.note(Kind::Mended, format!("{POINT} works again"));
    stage.sees_no_reset()?;
    runs(stage)
}

/// Starts the second guest, and waits until it is guarded by a lease of its own, on a storage that can be shown quiet.
fn runs(stage: &Stage<'_>) -> Result<(), Failure> {
    let (cluster, victim) = (stage.cluster(), stage.victim());
    let start = format!("virsh --quiet domstate {NAME} | grep -qx running || virsh --quiet start {NAME}");
    cluster.look("the second guest's start", PATIENCE, || stage.on_victim(&start).ok())?;
    let guarded = || {
        let domains = cluster.status(victim).ok()?.domains;
        let own = domains.into_iter().find(|domain| domain.name == NAME)?;
        let named = own.running && own.lease == "own" && !own.storages.is_empty();
        (named && own.unproven_storages().next().is_none()).then_some(())
    };
    Ok(cluster.look("the second guest's lease and storage", PATIENCE, guarded)?)
}

fn has_it_no_more(stage: &Stage<'_>) -> Result<(), Failure> {
    let (cluster, victim) = (stage.cluster(), stage.victim());
    stage.on_victim(&format!("virsh --quiet destroy {NAME} || true"))?;
    // Its lease ends with a barrier on its storage, which must be there until then.
    let ended = || {
        let domains = cluster.status(victim).ok()?.domains;
        (!domains.iter().any(|domain| domain.name == NAME && domain.lease == "own")).then_some(())
    };
    let ended = cluster.look("the end of the second guest's lease", PATIENCE, ended);
    let node = format!("iscsiadm -m node -T {} -p {DISKS_PORTAL}", target(NAME));
    stage.on_victim(&format!(
        "virsh --quiet undefine {NAME}; kill $(cat /run/{NAME}.pid); sleep 1; umount {POINT}; sed -i '\\,{POINT},d' /etc/fstab; \
         systemctl daemon-reload; {node} --logout; {node} -o delete; ! mountpoint -q {POINT}"
    ))?;
    let (group, store) = (group(), store());
    stage.on_storage(&format!(
        "group={group}; echo 0 >$group/enable; rm $group/lun/lun_0/{NAME}; \
         rmdir $group/lun/lun_0 $group/np/{DISKS_PORTAL}:3260 $group ${{group%/*}}; \
         rmdir {store}; losetup --noheadings --output NAME --associated {IMAGE} | xargs -r losetup --detach; rm {IMAGE}"
    ))?;
    Ok(ended?)
}

/// What the storage machine does at its start for the other two (`tests/lab/image/guest/lio`).
fn offer() -> String {
    let (group, store) = (group(), store());
    format!(
        "set -e; truncate -s 64M {IMAGE}; loop=$(losetup --find --show {IMAGE}); \
         mkdir -p {group} {group}/np/{DISKS_PORTAL}:3260 {store} {group}/lun/lun_0; echo udev_path=$loop >{store}/control; \
         echo lab-{NAME} >{store}/wwn/vpd_unit_serial; echo 1 >{store}/enable; ln -s {store} {group}/lun/lun_0/{NAME}; \
         echo 0 >{group}/attrib/authentication; echo 1 >{group}/attrib/generate_node_acls; \
         echo 0 >{group}/attrib/demo_mode_write_protect; echo 1 >{group}/attrib/cache_dynamic_acls; echo 1 >{group}/enable"
    )
}

fn group() -> String {
    format!("/sys/kernel/config/target/iscsi/{}/tpgt_1", target(NAME))
}

fn store() -> String {
    format!("/sys/kernel/config/target/core/iblock_2/{NAME}")
}
