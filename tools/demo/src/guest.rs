//! The virtual machine whose life is at stake: a ROM that writes to its disk (see `guest/guest.c`), and its domain.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{self, CommandError};
use crate::host::{Host, HostError};
use crate::record::SECTOR_BYTES;
use crate::spec::{HOST_NAME_FILE, SHARED};

/// The disk holds half an hour of records, ten a second.
const DISK_SECTORS: usize = 16 * 1024;

const SOURCES: [(&str, &str); 3] = [
    ("start.S", include_str!("../guest/start.S")),
    ("guest.c", include_str!("../guest/guest.c")),
    ("guest.ld", include_str!("../guest/guest.ld")),
];

const COMPILE: &[&str] = &[
    "-m32",
    "-march=i486",
    "-Os",
    "-ffreestanding",
    "-fno-pic",
    "-fno-pie",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fcf-protection=none",
    "-mgeneral-regs-only",
    "-nostdlib",
    "-no-pie",
    "-Wl,-T,guest.ld,--build-id=none,-melf_i386",
    "-o",
    "guest.elf",
    "start.S",
    "guest.c",
];

/// What went wrong with the guest.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// Its files.
    #[error("cannot write the guest's file {0}: {1}")]
    File(PathBuf, #[source] io::Error),
    /// Its ROM.
    #[error("cannot build the guest's ROM (it needs gcc with -m32 code generation, and objcopy): {0}")]
    Build(#[from] CommandError),
    /// Starting it.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// A domain and its disk, on the shared storage.
#[derive(Clone, Debug)]
pub struct Guest {
    name: String,
    disk: PathBuf,
}

impl Guest {
    /// Makes the disk and the domain's definition below `shared`, and the ROM if it is not there yet.
    ///
    /// # Errors
    /// When the compiler or the disk refuses.
    pub fn create(shared: &Path, name: &str, uuid: &str) -> Result<Self, GuestError> {
        let directory = shared.join("guests");
        make_directory(&directory)?;
        if !directory.join("guest.rom").exists() {
            build_rom(&directory)?;
        }
        let guest = Self { name: name.into(), disk: directory.join(format!("{name}.img")) };
        // Written, not only sized: from here on no write of the guest changes the file's metadata.
        write(&guest.disk, &vec![0; DISK_SECTORS * SECTOR_BYTES])?;
        write(&directory.join(format!("{name}.xml")), domain_xml(name, uuid).as_bytes())?;
        Ok(guest)
    }

    /// Its name in libvirt.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its disk, as seen from this machine.
    #[must_use]
    pub fn disk(&self) -> &Path {
        &self.disk
    }

    /// Defines it on a host and starts it there, as a user would: whether or not it runs elsewhere.
    ///
    /// # Errors
    /// When libvirt refuses.
    pub fn start(&self, host: &Host) -> Result<(), GuestError> {
        host.virsh(&["define", &format!("{SHARED}/guests/{}.xml", self.name)])?;
        host.virsh(&["start", &self.name])?;
        Ok(())
    }

    /// Pulls its plug on a host and forgets it there.
    ///
    /// # Errors
    /// When libvirt refuses.
    pub fn remove(&self, host: &Host) -> Result<(), GuestError> {
        host.virsh(&["destroy", &self.name])?;
        host.virsh(&["undefine", &self.name])?;
        Ok(())
    }
}

fn make_directory(path: &Path) -> Result<(), GuestError> {
    fs::create_dir_all(path).map_err(|error| GuestError::File(path.into(), error))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), GuestError> {
    fs::write(path, bytes).map_err(|error| GuestError::File(path.into(), error))
}

fn build_rom(directory: &Path) -> Result<(), GuestError> {
    for (name, source) in SOURCES {
        write(&directory.join(name), source.as_bytes())?;
    }
    command::run(Command::new("gcc").args(COMPILE).current_dir(directory))?;
    let copy = ["-O", "binary", "-j", ".text", "-j", ".reset", "guest.elf", "guest.rom"];
    command::run(Command::new("objcopy").args(copy).current_dir(directory))?;
    Ok(())
}

/// `<shareable/>` takes QEMU's own image lock away. On one kernel that lock would refuse every second start, and so hide
/// the very mistake that the demo looks for; NFS 3, for one, was seen to have no such lock either.
///
/// Both `fw_cfg` entries are files that QEMU reads as it starts: the name of the host, and a uuid that the kernel draws
/// anew for each reader. So one definition serves every host and every start.
fn domain_xml(name: &str, uuid: &str) -> String {
    format!(
        r"<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>16</memory>
  <vcpu>1</vcpu>
  <sysinfo type='fwcfg'>
    <entry name='opt/leasefence/host' file='{HOST_NAME_FILE}'/>
    <entry name='opt/leasefence/boot' file='/proc/sys/kernel/random/uuid'/>
  </sysinfo>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <loader readonly='yes' type='rom'>{SHARED}/guests/guest.rom</loader>
  </os>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source file='{SHARED}/guests/{name}.img'/>
      <target dev='hda' bus='ide'/>
      <shareable/>
    </disk>
    <serial type='file'><source path='/var/log/libvirt/qemu/{name}.serial' append='on'/><target port='0'/></serial>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
"
    )
}
