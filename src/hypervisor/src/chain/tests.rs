use super::*;
use crate::domain_xml::DomainXml;

fn disks(devices: &str) -> (Vec<Disk>, Vec<String>) {
    let xml = format!(
        "<domain><name>d</name><uuid>01010101-0101-0101-0101-010101010101</uuid>\
         <memory>1024</memory><devices>{devices}</devices></domain>"
    );
    let parsed = DomainXml::parse(&xml).expect("a domain");
    (parsed.disks, parsed.warnings)
}

fn only(devices: &str) -> Disk {
    let (mut disks, warnings) = disks(devices);
    assert_eq!((disks.len(), warnings), (1, Vec::new()));
    disks.remove(0)
}

fn shape(disk: &Disk) -> Vec<String> {
    let line =
        |link: &ChainLink| format!("{} ({})", link.source.describe(), link.format.as_deref().unwrap_or("-"));
    disk.chain.iter().map(line).collect()
}

const OVERLAY: &str = "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
  <source file='/nfs/top.qcow2' index='3'/>
  <backingStore type='file' index='2'><format type='qcow2'/><source file='/nfs/mid.qcow2'/>
    <backingStore type='block' index='1'><format type='raw'/><source dev='/dev/mapper/base'/>
      <backingStore/></backingStore></backingStore>
  <mirror type='file' job='copy'><source file='/elsewhere/copy'/></mirror>
  <target dev='vda' bus='virtio'/></disk>";

#[test]
fn a_chain_is_read_from_the_active_image_down() {
    let disk = only(OVERLAY);
    assert_eq!(disk.target, "vda");
    assert_eq!(
        shape(&disk),
        ["file /nfs/top.qcow2 (qcow2)", "file /nfs/mid.qcow2 (qcow2)", "block /dev/mapper/base (raw)"]
    );
}

#[test]
fn each_kind_of_source_has_its_words() {
    let rbd = "<disk type='network'><driver type='raw'/><source protocol='rbd' name='pool/image'>
        <host name='mon1' port='6789'/><host name='mon2'/></source><target dev='vdb'/></disk>";
    assert_eq!(shape(&only(rbd)), ["network rbd pool/image mon1:6789,mon2 (raw)"]);
    let nbd = "<disk type='network'><source protocol='nbd'><host transport='unix' socket='/run/nbd'/></source></disk>";
    assert_eq!(shape(&only(nbd)), ["network nbd  /run/nbd (-)"]);
    let volume = "<disk type='volume'><source pool='p' volume='v'/><target dev='vda'/></disk>";
    assert_eq!(shape(&only(volume)), ["volume p/v (-)"]);
    let nvme = "<disk type='nvme'><source type='pci' namespace='1'/><target dev='vda'/></disk>";
    assert_eq!(shape(&only(nvme)), ["other nvme type=pci namespace=1 (-)"]);
    let virtiofs = "<filesystem type='mount'><driver type='virtiofs'/><source dir='/nfs/share'/><target dir='s'/></filesystem>";
    assert_eq!(shape(&only(virtiofs)), ["dir /nfs/share (-)"]);
    let lun = "<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/><address bus='0'/></source></hostdev>";
    assert_eq!(shape(&only(lun)), ["other scsi  adapter name=scsi_host0 address bus=0 (-)"]);
    let network_card = "<hostdev mode='subsystem' type='pci'><source><address bus='1'/></source></hostdev>";
    assert_eq!(disks(network_card).0, []);
}

#[test]
fn a_qcow2_images_data_file_is_part_of_its_chain() {
    let disk = "<disk type='file'><driver type='qcow2'/><source file='/nfs/meta.qcow2'>
        <dataStore type='file'><format type='raw'/><source file='/nfs/data.raw'/></dataStore></source>
        <target dev='vda'/></disk>";
    assert_eq!(shape(&only(disk)), ["file /nfs/meta.qcow2 (qcow2)", "file /nfs/data.raw (raw)"]);
}

#[test]
fn a_drive_without_a_medium_has_no_chain() {
    let cdrom = only("<disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>");
    assert!(cdrom.chain.is_empty() && cdrom.readonly);
}

#[test]
fn a_chain_that_does_not_end_is_cut_and_said() {
    let mut xml = "<backingStore/>".to_owned();
    for number in 0..LONGEST_CHAIN + 10 {
        xml = format!(
            "<backingStore type='file'><format type='raw'/><source file='/{number}'/>{xml}</backingStore>"
        );
    }
    let (disks, warnings) = disks(&format!("<disk><source file='/top'/>{xml}<target dev='vda'/></disk>"));
    assert_eq!(disks[0].chain.len(), LONGEST_CHAIN);
    assert_eq!(warnings.len(), 1);
}

fn file_disk(target: &str, paths: &[&str], readonly: bool) -> Disk {
    let link = |path: &&str| ChainLink {
        source: DiskSource::File((*path).to_owned()),
        format: Some("raw".to_owned()),
    };
    Disk { target: target.to_owned(), readonly, shareable: false, chain: paths.iter().map(link).collect() }
}

#[test]
fn the_hash_tells_chains_apart_and_leaves_media_out() {
    let plain = [file_disk("vda", &["/a"], false)];
    let with_cdrom = [file_disk("sda", &["/install.iso"], true), file_disk("vda", &["/a"], false)];
    assert_eq!(chain_hash(&plain), chain_hash(&with_cdrom), "a CD-ROM is no part of it");

    let all = [
        chain_hash(&[]),
        chain_hash(&plain),
        chain_hash(&[file_disk("vdb", &["/a"], false)]),
        chain_hash(&[file_disk("vda", &["/b"], false)]),
        chain_hash(&[file_disk("vda", &["/b", "/a"], false)]),
        chain_hash(&[file_disk("vda", &["/a", "/b"], false)]),
        chain_hash(&[file_disk("vda", &["/a"], false), file_disk("vdb", &["/b"], false)]),
        chain_hash(&[file_disk("vda", &["/ab"], false)]),
    ];
    let distinct: std::collections::BTreeSet<u64> = all.into_iter().collect();
    assert_eq!(distinct.len(), all.len(), "{all:x?}");
}

#[test]
fn the_hash_never_changes_its_meaning() {
    // Lease entries carry it, and hosts of different versions compare it.
    assert_eq!(chain_hash(&[]), 0x141c_fc98_42c4_b0e3, "SHA-256 of nothing: e3b0c442 98fc1c14 …");
    let (disks, _) = disks(OVERLAY);
    // Computed apart from this code, by the input that the function documents.
    assert_eq!(chain_hash(&disks), 0xe218_1290_538e_abac);
}

/// Catches: firmware variables and persistent memory of which nobody knows that the guest writes them; and entries of before that name
/// another chain since.
#[test]
fn what_is_memory_to_the_guest_is_written_by_it_and_is_no_part_of_the_hash() {
    const NVDIMM: &str = "<memory model='nvdimm'><source><path>/nfs/pmem</path></source><target/></memory>";
    let of = |os: &str, devices: &str| {
        let xml = format!(
            "<domain><name>d</name><uuid>01010101-0101-0101-0101-010101010101</uuid><memory>1</memory>\
             <os>{os}</os><devices>{OVERLAY}{devices}</devices></domain>"
        );
        DomainXml::parse(&xml).expect("a domain").disks
    };
    let readonly = NVDIMM.replace("<target/>", "<target><readonly/></target>");
    for (os, devices, expected) in [
        ("", "", vec![]),
        ("<nvram template='/t.fd'/>", "<memory model='dimm'><source/></memory>", vec![]),
        ("<nvram template='/t.fd'>/nfs/vars.fd</nvram>", "", vec!["memory file /nfs/vars.fd (-)"]),
        (
            "<nvram type='file'><source file='/nfs/vars.fd'/></nvram>",
            "",
            vec!["memory file /nfs/vars.fd (-)"],
        ),
        (
            "<nvram type='network'><source protocol='iscsi' name='iqn/0'><host name='s'/></source></nvram>",
            NVDIMM,
            vec!["memory network iscsi iqn/0 s (-)", "memory file /nfs/pmem (-)"],
        ),
        ("", readonly.as_str(), vec![]),
    ] {
        let disks = of(os, devices);
        let memory = disks.iter().skip(1).filter(|disk| !disk.readonly);
        assert_eq!(memory.flat_map(shape).collect::<Vec<_>>(), expected, "{os}{devices}");
        assert_eq!(chain_hash(&disks), chain_hash(&of("", "")));
    }
}
