use super::*;
use crate::ChainLink;

fn disk(target: &str, readonly: bool, sources: &[DiskSource]) -> Disk {
    let link = |source: &DiskSource| ChainLink { source: source.clone(), format: None };
    Disk { target: target.to_owned(), readonly, shareable: false, chain: sources.iter().map(link).collect() }
}

fn image(directory: &Path, name: &str) -> DiskSource {
    let path = directory.join(name);
    fs::write(&path, "").expect("an image");
    DiskSource::File(path.to_str().expect("a path").to_owned())
}

#[test]
fn each_directory_with_an_image_that_the_domain_may_write_gets_one_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let places: Vec<PathBuf> =
        ["top", "base", "media"].iter().map(|name| directory.path().join(name)).collect();
    places.iter().for_each(|place| fs::create_dir(place).expect("made"));
    let disks = [
        disk("vda", false, &[image(&places[0], "a"), image(&places[1], "b")]),
        disk("vdb", false, &[image(&places[0], "c")]),
        disk("sda", true, &[image(&places[2], "iso"), DiskSource::File("/none".to_owned())]),
    ];
    for _again in 0..2 {
        barrier(&disks, "host-1").expect("written");
        let written = |place: &PathBuf| place.join(".leasefence-barrier-host-1").exists();
        assert_eq!(places.iter().map(written).collect::<Vec<_>>(), [true, true, false]);
    }
    assert_eq!(barrier(&[], "host-1").expect("nothing to write"), Duration::ZERO);
}

#[test]
fn the_barrier_is_written_where_a_symbolic_link_leads() {
    let directory = tempfile::tempdir().expect("a directory");
    let (real, links) = (directory.path().join("real"), directory.path().join("links"));
    fs::create_dir(&real).expect("made");
    fs::create_dir(&links).expect("made");
    image(&real, "a");
    std::os::unix::fs::symlink(real.join("a"), links.join("a")).expect("linked");
    let link = DiskSource::File(links.join("a").to_str().expect("a path").to_owned());
    barrier(&[disk("vda", false, &[link])], "host-1").expect("written");
    assert!(
        real.join(".leasefence-barrier-host-1").exists()
            && !links.join(".leasefence-barrier-host-1").exists()
    );
}

#[test]
fn an_error_names_the_path() {
    let missing = disk("vda", false, &[DiskSource::File("/nowhere/disk.raw".to_owned())]);
    let error = barrier(&[missing], "host-1").expect_err("no such image").to_string();
    assert!(error.contains("/nowhere/disk.raw"), "{error}");
}

#[test]
fn a_disk_that_qemu_reaches_by_itself_has_no_barrier_and_so_no_start() {
    let network = DiskSource::Network {
        protocol: "rbd".to_owned(),
        name: "pool/image".to_owned(),
        servers: Vec::new(),
    };
    let error = barrier(&[disk("vdb", false, &[network])], "host-1").expect_err("no barrier").to_string();
    assert!(error.contains("vdb") && error.contains("rbd pool/image"), "{error}");
}

/// Catches: a domain that is started anew while its old writes to what is mounted below its shared directory are still on their way.
#[test]
fn what_is_mounted_below_a_shared_directory_gets_a_file_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = fs::canonicalize(directory.path()).expect("there");
    let shared = Disk { chain: vec![link(&top)], ..disk("fs", false, &[]) };
    let line = |point: &str, more: &str| format!("40 22 0:50 / {}/{point} {more}\n", top.display());
    let mountinfo = line("nfs", "rw - nfs4 s:/a rw")
        + &line("old", "ro - nfs4 s:/b rw")
        + &line("own", "rw - tmpfs none rw")
        + &line("later", "rw - autofs systemd-1 rw");
    let found = places(&[shared], &mountinfo).expect("they are there");
    let expected = [top.clone(), top.join("nfs")].map(Place::Directory);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
}

fn link(directory: &Path) -> ChainLink {
    ChainLink { source: DiskSource::Directory(directory.display().to_string()), format: None }
}

/// Catches: a domain that is not restarted where its host keeps the variables of its firmware to itself, and one whose variables on
/// NFS get no barrier.
#[test]
fn what_is_memory_to_the_guest_gets_a_file_only_where_others_reach_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = fs::canonicalize(directory.path()).expect("there");
    let device = rustix::fs::stat(&top).expect("there").st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let nvram = DiskSource::Memory(Box::new(DiskSource::File(top.join("not-yet.fd").display().to_string())));
    for (kind, expected) in [("nfs4 s:/a", vec![Place::Directory(top.clone())]), ("tmpfs none", vec![])] {
        let mountinfo = format!("40 22 {major}:{minor} / {} rw - {kind} rw\n", top.display());
        let found = places(&[disk("nvram", false, std::slice::from_ref(&nvram))], &mountinfo)
            .expect("they are there");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected, "{kind}");
    }
}
