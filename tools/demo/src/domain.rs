//! The guest's definition for libvirt.

use std::fmt;
use std::path::PathBuf;

/// What the guest's disk is on a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A raw image.
    File(PathBuf),
    /// A block device.
    Block(PathBuf),
}

/// A domain: [`fmt::Display`] writes its XML. All paths are the hosts'.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its uuid.
    pub uuid: String,
    /// `pc` or `q35`.
    pub machine: String,
    /// The guest's ROM, see [`crate::rom`].
    pub rom: PathBuf,
    /// A file that holds the name of the host it is on: the guest gets it through QEMU's `fw_cfg`.
    pub host_name: PathBuf,
    /// Its disk.
    pub disk: Source,
    /// How QEMU does its I/O: `threads` or `native`.
    pub io: String,
    /// Takes QEMU's own image lock away, which may refuse a second start and so hide a mistake that is looked for.
    pub shareable: bool,
    /// As many operations a second as QEMU passes on at most; no limit when not given.
    pub operations_per_second: Option<u32>,
}

/// The disk is on bus 0, where QEMU gives it the legacy interface that the ROM drives, also on `q35`.
///
/// Both `fw_cfg` entries are files that QEMU reads as it starts: the name of the host, and a uuid that the kernel draws
/// anew for each reader. So one definition serves every host and every start.
impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, uuid, machine, io, .. } = self;
        let (rom, host_name) = (self.rom.display(), self.host_name.display());
        let (kind, attribute, path) = match &self.disk {
            Source::File(path) => ("file", "file", path.display()),
            Source::Block(path) => ("block", "dev", path.display()),
        };
        let shareable = if self.shareable { "\n      <shareable/>" } else { "" };
        let limit = self.operations_per_second.map_or_else(String::new, |operations| {
            format!("\n      <iotune><total_iops_sec>{operations}</total_iops_sec></iotune>")
        });
        write!(
            f,
            r"<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>16</memory>
  <vcpu>1</vcpu>
  <sysinfo type='fwcfg'>
    <entry name='opt/leasefence/host' file='{host_name}'/>
    <entry name='opt/leasefence/boot' file='/proc/sys/kernel/random/uuid'/>
  </sysinfo>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <loader readonly='yes' type='rom'>{rom}</loader>
  </os>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='{kind}' device='disk'>
      <driver name='qemu' type='raw' cache='none' io='{io}'/>
      <source {attribute}='{path}'/>
      <target dev='vda' bus='virtio'/>
      <address type='pci' domain='0' bus='0' slot='7' function='0'/>{shareable}{limit}
    </disk>
    <serial type='file'><source path='/var/log/libvirt/qemu/{name}.serial' append='on'/><target port='0'/></serial>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
"
        )
    }
}
