//! The guest's disk is a volume of LVM on its LUN.

use super::cut_past_verdict;
use crate::cluster::PATIENCE;
use crate::machine::STORAGE;
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::storage::{DISKS_PORTAL, Storage, target};

/// The volume, on a hypervisor.
const VOLUME: &str = "/dev/guests/guest";

pub(super) const CUT: Scenario = Scenario::new(
    "lvm-cut",
    "has its guest's disk on a volume of LVM, and is cut off until its guest runs elsewhere, then the cut heals: nothing of the old guest lands",
    |stage| {
        let device = "/dev/mapper/lvm";
        moves_disk(stage, "", (MAKE_VOLUME, device), " && modprobe dm-mod && lvchange -ay guests/guest", VOLUME)?;
        let seen = cut_past_verdict::play(stage);
        let (unmake, device) = ("dmsetup remove --retry lvm; losetup -D", Storage::Iscsi.guest_disk_at_home());
        moves_disk(stage, "vgchange -an guests; ", (unmake, device), "", &Storage::Iscsi.guest_disk())?;
        seen
    },
)
.only_on(&[Storage::Iscsi]);

/// What LVM writes at the beginning of its disk lies in memory, so that the volume begins where the disk of the storage machine does,
/// which the checker reads. Nothing of that is wiped, its log goes on; what LVM wrote before is forgotten.
const MAKE_VOLUME: &str = "modprobe dm-mod; rm -f /run/lvm-head; truncate -s 1M /run/lvm-head; loop=$(losetup --find --show /run/lvm-head); \
     disk=/dev/disk/by-id/virtio-lun-disks; \
     printf '0 2048 linear %s 0\\n2048 %s linear %s 0\\n' $loop $(blockdev --getsz $disk) $disk | dmsetup create lvm; \
     pvcreate -q -y /dev/mapper/lvm; vgcreate -q -s 1m --setautoactivation n guests /dev/mapper/lvm; \
     lvcreate -q -y -an -Wn -Zn -l 100%FREE -n guest guests";

/// While the guest is off: all hosts log out after `first`, the LUN gets another device behind it, which the command before it makes, all
/// log in and do `then`, and the guest has its disk at `path`.
fn moves_disk(
    stage: &Stage<'_>,
    first: &str,
    (make, device): (&str, &str),
    then: &str,
    path: &str,
) -> Result<(), Failure> {
    let cluster = stage.cluster();
    let log = format!("iscsiadm -m node -T {} -p {DISKS_PORTAL}", target("disks"));
    let lun = format!("/sys/kernel/config/target/iscsi/{}/tpgt_1/lun/lun_0", target("disks"));
    let on = |host, command: &str| Ok(cluster.lab().exec_for(host, command, PATIENCE).map(drop)?);
    Ok(cluster.while_the_guest_is_off(|runner| {
        cluster.on_each(|host| on(host, &format!("{first}{log} --logout")))?;
        on(
            STORAGE,
            &format!(
                "set -e; store=/sys/kernel/config/target/core/iblock_1/disks; rm {lun}/disks; rmdir $store; {make}; \
                 mkdir $store; echo udev_path={device} >$store/control; echo lab-disks >$store/wwn/vpd_unit_serial; \
                 echo 1 >$store/enable; ln -s $store {lun}/disks"
            ),
        )?;
        // The kernel looks for the LUN after the login has returned.
        let there = format!("udevadm wait --settle --timeout=60 {}", Storage::Iscsi.guest_disk());
        cluster.on_each(|host| on(host, &format!("{log} --login && {there}{then}")))?;
        cluster.redefine_guest(runner, path)
    })?)
}
