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

fn network(protocol: &str) -> DiskSource {
    DiskSource::Network { protocol: protocol.to_owned(), name: "a".to_owned(), servers: Vec::new() }
}

/// The storage of one disk.
fn storage_of(source: DiskSource) -> Storage {
    let found = Storages::new().of(&[disk(source, false)], false);
    found.into_iter().next().expect("it has one")
}

#[test]
fn a_local_disk_is_provable_only_where_the_header_has_the_test_bit() {
    let image = tempfile::NamedTempFile::new().expect("a file");
    let device = image.as_file().metadata().expect("metadata").dev();
    let disks = [disk(file(image.path()), false), disk(file(image.path()), false)];
    let storages = Storages::new();
    let found = |one_kernel| {
        let found = storages.of(&disks, one_kernel);
        found.into_iter().map(|storage| (storage.target, storage.no_proof)).collect::<Vec<_>>()
    };
    let target = |kind| QuiesceTarget { kind, device };
    assert_eq!(found(true), [(target(StorageKind::OneKernel), None)], "each storage once");
    assert_eq!(found(false), [(target(StorageKind::Unprovable), Some(NoProof::Local))]);
}

/// Catches: a storage without a proof that has none of the reasons, and so looks like one with a proof.
#[test]
fn what_cannot_be_found_or_is_no_file_is_unprovable_and_says_why() {
    let volume = DiskSource::Volume { pool: "p".to_owned(), volume: "v".to_owned() };
    for (source, place, why) in [
        (network("rbd"), "network rbd a ", NoProof::Network("rbd".to_owned())),
        (volume, "volume p/v", NoProof::Volume),
        (DiskSource::Other("scsi".to_owned()), "other scsi", NoProof::Other),
    ] {
        let target = QuiesceTarget { kind: StorageKind::Unprovable, device: 0 };
        let no_proof = Some(why);
        assert_eq!(
            storage_of(source),
            Storage { target, place: place.to_owned(), no_proof, sharers: Vec::new() }
        );
    }
    let missing = storage_of(file(Path::new("/nowhere/disk")));
    assert_eq!(
        (missing.target.kind, missing.place.as_str()),
        (StorageKind::Unprovable, "file /nowhere/disk")
    );
    assert!(matches!(missing.no_proof, Some(NoProof::NotFound(_))), "{missing:?}");
    let foreign = storage_of(file(Path::new("/proc/self/status")));
    assert_eq!(foreign.target.kind, StorageKind::Unprovable);
    assert_eq!(foreign.no_proof, Some(NoProof::FileSystem("proc".to_owned())));
}

#[test]
fn two_storages_without_a_device_are_two_and_what_is_only_read_is_none() {
    let storages = Storages::new();
    let disks = [disk(network("rbd"), false), disk(network("nbd"), false), disk(network("ssh"), true)];
    let places: Vec<String> = storages.of(&disks, true).into_iter().map(|storage| storage.place).collect();
    assert_eq!(places, ["network nbd a ", "network rbd a "]);
}

/// Catches: an image on the network taken for this host's own, and a template that is only read for one that is written.
#[test]
fn who_reaches_a_disk_is_told_by_its_active_image() {
    let storages = Storages::new();
    // In memory, so that it is nobody else's wherever this runs.
    let image = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file");
    let over = |source, backing| {
        let mut disk = disk(source, false);
        disk.chain.push(ChainLink { source: backing, format: None });
        disk
    };
    let local = |server: &str| DiskSource::Network {
        protocol: "nbd".to_owned(),
        name: "a".to_owned(),
        servers: vec![server.to_owned()],
    };
    let word = |disk: Disk| match storages.reaches(&[disk]).pop() {
        Some((_, Reach::Here)) => "here",
        Some((_, Reach::Shared(_))) => "shared",
        Some((_, Reach::Unknown(_))) => "unknown",
        None => "not written",
    };
    assert_eq!(word(disk(file(image.path()), false)), "here");
    assert_eq!(word(over(file(image.path()), network("rbd"))), "here");
    assert_eq!(word(over(network("rbd"), file(image.path()))), "shared");
    assert_eq!(word(disk(network("rbd"), true)), "not written");
    assert_eq!(word(disk(local("10.0.0.1:10809"), false)), "shared");
    assert_eq!(word(disk(local("/run/nbd.sock"), false)), "unknown");
    assert_eq!(word(disk(file(Path::new("/nowhere/disk")), false)), "unknown");
    assert_eq!(word(disk(file(Path::new("/proc/self/status")), false)), "unknown");
}

/// Catches: after a scan `sdb` is another disk, with the number that its predecessor had.
#[test]
fn what_may_be_another_s_by_now_is_asked_for_again() {
    let mount =
        "40 22 0:50 / /mnt/disks rw - nfs4 s:/disks rw\n41 22 8:16 / /mnt/san rw - ext4 /dev/sdb rw\n";
    let found = |medium, device, path: &str, block| Found { medium, device, path: path.into(), block };
    let nfs = rustix::fs::makedev(0, 50);
    let disk = rustix::fs::makedev(8, 16);
    for (found, stands) in [
        (found(Medium::Nfs, nfs, "/mnt/disks/a", false), true),
        (found(Medium::Nfs, nfs, "/mnt/san/a", false), false),
        (found(Medium::Iscsi, disk, "/mnt/san/a", false), true),
        (found(Medium::Iscsi, disk, "/mnt/disks/a", false), false),
        (found(Medium::Iscsi, disk, "/dev/sdb", true), false),
        (found(Medium::Local, 0, "/dev/vdb", true), true),
    ] {
        assert_eq!(found.stands(mount), stands, "{found:?}");
    }
}

/// Catches: a mount that does not answer, said to be in order.
#[test]
fn a_path_that_does_not_answer_says_so() {
    let storages = Storages::new();
    let (_never, open) = mpsc::channel();
    let path = PathBuf::from("/mnt/dead/disk");
    let entry = Entry { answer: None, open: Some(open) };
    storages.entries.lock().expect("not poisoned").insert(path.clone(), entry);
    let found = storages.of(&[disk(file(&path), false)], true);
    assert_eq!(found[0].no_proof, Some(NoProof::NoAnswer));
}

/// Catches: a guest that writes NFS through a directory which it shares with its host, and that counts as one of this host's own.
#[test]
fn what_is_mounted_below_a_shared_directory_is_the_guests_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = std::fs::canonicalize(directory.path()).expect("there");
    std::fs::create_dir(top.join("nfs")).expect("made");
    let mountinfo = read_list(Path::new(MOUNTS)).expect("a list")
        + &format!("900 22 0:950 / {}/nfs rw - nfs4 s:/a rw\n", top.display());
    let shared = DiskSource::Directory(top.display().to_string());
    let storages = Storages::new();
    assert_eq!(storages.reach(&shared, &mountinfo), Reach::Shared("nfs4, s:/a".to_owned()));
    assert_eq!(storages.of_mounts(&[disk(shared, false)], false, &mountinfo).len(), 2);
}

/// Catches: a path that is judged by a file system which another mount hides.
#[test]
fn what_a_path_leads_to_counts_where_the_list_of_mounts_shows_something_else_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let image = directory.path().join("a.img");
    std::fs::write(&image, "").expect("written");
    let top = std::fs::canonicalize(directory.path()).expect("there");
    let hidden = format!("900 22 0:950 / {} rw - tmpfs none rw\n", top.display());
    let reach = Storages::new().reach(&file(&image), &hidden);
    assert!(matches!(reach, Reach::Unknown(_)), "{reach:?}");
}

/// Catches: a LUN that QEMU logs in to by itself, of which nobody can tell who reaches it.
#[test]
fn an_iscsi_lun_that_is_passed_through_is_shared() {
    let reach = |what: &str| Storages::new().reach(&DiskSource::Other(what.to_owned()), "");
    let lun = "scsi protocol=iscsi name=iqn.2026-01.example:disks/1 host name=s port=3260";
    assert!(matches!(reach(lun), Reach::Shared(_)));
    assert!(matches!(reach("scsi  adapter name=scsi_host0 address bus=0"), Reach::Unknown(_)));
}

/// Catches: a guest with firmware variables or persistent memory on NFS whose last writes nobody waits for; and one that keeps its host
/// from every proof because its host has them on its own disk, as libvirt does by itself.
#[test]
fn what_is_memory_to_the_guest_counts_only_where_others_reach_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = std::fs::canonicalize(directory.path()).expect("there");
    let number = std::fs::metadata(&top).expect("there").dev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let memory = |source| DiskSource::Memory(Box::new(source));
    let disks = [disk(memory(file(&top.join("not-yet.fd"))), false)];
    for (kind, counts) in [("nfs4 s:/a", true), ("tmpfs none", false)] {
        let mountinfo = format!("900 22 {major}:{minor} / {} rw - {kind} rw\n", top.display());
        let storages = Storages::new();
        assert_eq!(storages.of_mounts(&disks, false, &mountinfo).len(), usize::from(counts), "{kind}");
        let reach = storages.reach(&disks[0].chain[0].source, &mountinfo);
        assert_eq!(matches!(reach, Reach::Shared(_)), counts, "{reach:?}");
    }
    let reach = Storages::new().reach(&memory(network("rbd")), "");
    assert!(matches!(reach, Reach::Shared(_)), "{reach:?}");
}
