//! The canary's definition for libvirt, and what names it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use leasefence_core::hash::h64;

/// What every canary's name begins with: nothing else is ever touched by `leasefence drill clean`.
pub const NAME_PREFIX: &str = "leasefence-drill-";

/// The canary of one host. Name and uuid are the same in every drill, so that a peer keeps one definition of it and not one a drill;
/// a user's start makes its lease entry forget the deaths that drills have cost it (PROTOCOL 4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Canary {
    /// Its name in libvirt.
    pub name: String,
    /// Its uuid.
    pub uuid: String,
    /// Its disk: another in each drill, so that no client of the storage knows anything of it.
    pub disk: PathBuf,
}

impl Canary {
    /// The canary of `host` in `cluster`, with its disk below `storage`; `salt` makes the disk's name another.
    #[must_use]
    pub fn of(cluster: &str, host: &str, storage: &Path, salt: u64) -> Self {
        let name = format!("{NAME_PREFIX}{host}");
        let disk = storage.join(format!("{name}-{salt:016x}.img"));
        Self { uuid: uuid(cluster, host), name, disk }
    }
}

/// An RFC 9562 uuid of version 8: made of hashes.
fn uuid(cluster: &str, host: &str) -> String {
    let half =
        |salt: &[u8]| h64(&[b"leasefence-drill", salt, &[0], cluster.as_bytes(), &[0], host.as_bytes()]);
    let (high, low) = (half(b"high"), half(b"low"));
    format!(
        "{:08x}-{:04x}-8{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

/// Its XML. `kvm` says whether the processor's own virtualisation is used. No machine is named: libvirt's default has a BIOS.
#[must_use]
pub fn definition(canary: &Canary, kvm: bool) -> String {
    let kind = if kvm { "kvm" } else { "qemu" };
    let (name, uuid, disk) = (escape(&canary.name), &canary.uuid, escape(&canary.disk.display().to_string()));
    format!(
        r"<domain type='{kind}'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <title>A canary of leasefence drill: it may be destroyed at any time</title>
  <metadata>
    <leasefence:guard xmlns:leasefence='urn:leasefence:domain:1' ha='yes' priority='0' exempt='no'/>
  </metadata>
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64'>hvm</type>
    <boot dev='hd'/>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source file='{disk}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '<' | '>' | '&' | '\'' | '"') {
            write!(escaped, "&#{};", u32::from(c)).ok();
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_has_one_name_and_uuid_a_host_and_a_new_disk_each_time() {
        let (one, again) = (
            Canary::of("prod", "host-1", Path::new("/mnt"), 1),
            Canary::of("prod", "host-1", Path::new("/mnt"), 2),
        );
        assert_eq!((&one.name, &one.uuid), (&again.name, &again.uuid));
        assert_ne!(one.disk, again.disk);
        assert_ne!(one.uuid, Canary::of("prod", "host-2", Path::new("/mnt"), 1).uuid);
        assert_eq!((one.uuid.len(), &one.uuid[14..15]), (36, "8"));
    }

    #[test]
    fn the_definition_is_xml_that_names_the_disk_and_the_guard() {
        let canary = Canary::of("prod", "host-1", Path::new("/mnt/it's <shared>"), 1);
        let xml = definition(&canary, false);
        let document = roxmltree::Document::parse(&xml).expect("well-formed");
        let find =
            |name: &str| document.descendants().find(|node| node.tag_name().name() == name).expect("there");
        assert_eq!(find("source").attribute("file"), canary.disk.to_str());
        assert_eq!(find("guard").attribute("ha"), Some("yes"));
        assert_eq!(find("uuid").text(), Some(canary.uuid.as_str()));
    }
}
