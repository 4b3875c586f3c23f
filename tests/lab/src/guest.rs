//! The guest whose life is at stake, as it is defined on the lab's hypervisors.

use crate::storage::Storage;

/// Its name in libvirt.
pub const NAME: &str = "guest";

/// Its uuid.
pub const UUID: &str = "6c656173-6566-4e63-a000-000000000101";

/// Its definition: a ROM that writes to its disk, and the disk as the storage carries it. QEMU's image lock stands, as on
/// any real host (no `<shareable/>`). Both `fw_cfg` entries are files of the host that QEMU reads as it starts.
#[must_use]
pub fn definition(storage: Storage) -> String {
    let (kind, attribute) = if storage.disk_is_a_device() { ("block", "dev") } else { ("file", "file") };
    let disk = storage.guest_disk();
    format!(
        r"<domain type='qemu'>
  <name>{NAME}</name>
  <uuid>{UUID}</uuid>
  <memory unit='MiB'>16</memory>
  <vcpu>1</vcpu>
  <sysinfo type='fwcfg'>
    <entry name='opt/leasefence/host' file='/run/host-name'/>
    <entry name='opt/leasefence/boot' file='/proc/sys/kernel/random/uuid'/>
  </sysinfo>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <loader readonly='yes' type='rom'>/lab/guest.rom</loader>
  </os>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='{kind}' device='disk'>
      <driver name='qemu' type='raw' cache='none' io='native'/>
      <source {attribute}='{disk}'/>
      <target dev='hda' bus='ide'/>
    </disk>
    <serial type='file'><source path='/var/log/libvirt/qemu/{NAME}.serial' append='on'/><target port='0'/></serial>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
"
    )
}
