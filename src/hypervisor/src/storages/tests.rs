use std::os::unix::fs::MetadataExt;

use super::*;
use crate::ChainLink;

fn disk(source: DiskSource, readonly: bool) -> Disk {
    Disk {
        target: "vda".to_owned(),
        readonly,
        shareable: false,
        chain: vec![ChainLink { source, format: None }],
    }
}

fn file(path: &Path) -> DiskSource {
    DiskSource::File(path.to_str().expect("a path").to_owned())
}

#[test]
fn a_local_disk_is_provable_only_where_the_header_has_the_test_bit() {
    let image = tempfile::NamedTempFile::new().expect("a file");
    let device = image.as_file().metadata().expect("metadata").dev();
    let disks = [disk(file(image.path()), false), disk(file(image.path()), false)];
    let storages = Storages::new();
    let kinds = |one_kernel| storages.of(&disks, one_kernel);
    assert_eq!(kinds(true), [QuiesceTarget { kind: StorageKind::OneKernel, device }], "each storage once");
    assert_eq!(kinds(false), [QuiesceTarget { kind: StorageKind::Unprovable, device }]);
}

#[test]
fn what_cannot_be_found_or_is_no_file_is_unprovable() {
    let storages = Storages::new();
    let none = [QuiesceTarget { kind: StorageKind::Unprovable, device: 0 }];
    assert_eq!(storages.of(&[disk(file(Path::new("/nowhere/disk")), false)], true), none);
    let network =
        DiskSource::Network { protocol: "rbd".to_owned(), name: "a".to_owned(), servers: Vec::new() };
    assert_eq!(storages.of(&[disk(network, false)], true), none);
    assert_eq!(
        storages.of(&[disk(file(Path::new("/proc/self/status")), false)], true)[0].kind,
        StorageKind::Unprovable
    );
    assert_eq!(storages.of(&[disk(DiskSource::Other("scsi".to_owned()), true)], true), [], "never written");
}
