//! Who is in the cgroups that libvirt makes for domains, in every hierarchy: those of v1, of v2, and both beside each other. It
//! shows a domain's process whatever its program is called, and where libvirt's run files are gone.
//!
//! Names are matched and never read back: libvirt drops characters from them, and cuts them. Whose domain a process is, its
//! command line says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use leasefence_transport::{mounts, read_list};

const MOUNTS: &str = "proc/self/mountinfo";
/// Partitions may lie in partitions; nobody nests them deeper.
const DEEPEST: usize = 4;
/// Where in a domain's cgroup its processes are: in itself, or where its threads have cgroups of their own. With v2 that is a
/// threaded one, whose processes are in the list of the one above it.
const PLACES: [&str; 4] = ["", "libvirt", "emulator", "libvirt/emulator"];

/// The pids of all of them.
pub(super) fn all() -> BTreeSet<u32> {
    below(Path::new("/"))
}

/// By the files below `root`. A hierarchy that cannot be read has none: this is one source of three.
fn below(root: &Path) -> BTreeSet<u32> {
    let mountinfo = read_list(&root.join(MOUNTS)).unwrap_or_default();
    let hierarchies =
        mounts(&mountinfo).filter(|mount| matches!(mount.fs_type.as_str(), "cgroup" | "cgroup2"));
    let mut pids = BTreeSet::new();
    for hierarchy in hierarchies {
        let top = root.join(hierarchy.point.strip_prefix("/").unwrap_or(&hierarchy.point));
        for group in domains_below(&top, DEEPEST) {
            for place in PLACES {
                let text = fs::read_to_string(group.join(place).join("cgroup.procs")).unwrap_or_default();
                // 0 is a process of another pid namespace.
                pids.extend(text.lines().filter_map(|pid| pid.parse::<u32>().ok()).filter(|pid| *pid != 0));
            }
        }
    }
    pids
}

/// The cgroups of domains in `dir` and in the partitions below it.
fn domains_below(dir: &Path, deepest: usize) -> Vec<PathBuf> {
    let mut domains = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if is_domain_s(name) {
            domains.push(entry.path());
        } else if deepest > 0 && is_partition(name) {
            domains.extend(domains_below(&entry.path(), deepest - 1));
        }
    }
    domains
}

/// `qemu-3-web.libvirt-qemu`, and with systemd `machine-qemu\x2d3\x2dweb.scope`.
fn is_domain_s(name: &str) -> bool {
    (name.starts_with("qemu-") && name.ends_with(".libvirt-qemu"))
        || (name.starts_with("machine-qemu") && name.ends_with(".scope"))
}

/// `machine`, `prod.partition`, and with systemd `machine.slice`, `machine-prod.slice`.
fn is_partition(name: &str) -> bool {
    let is_slice = name.starts_with("machine") && name.ends_with(".slice");
    name == "machine" || name.ends_with(".partition") || is_slice
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    /// A machine with these mounts, and these lists of processes.
    fn machine(mounts: &[(&str, &str)], procs: &[(&str, &str)]) -> BTreeSet<u32> {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let lines =
            mounts.iter().map(|(kind, point)| format!("30 22 0:26 / {point} rw - {kind} cgroup rw\n"));
        write(MOUNTS, &lines.collect::<String>());
        procs.iter().for_each(|(path, pids)| write(&format!("sys/fs/cgroup/{path}/cgroup.procs"), pids));
        below(root.path())
    }

    #[test]
    fn v1_without_systemd_under_any_controller() {
        let mounts = [("cgroup", "/sys/fs/cgroup/memory"), ("cgroup", "/sys/fs/cgroup/cpu,cpuacct")];
        let procs = [
            ("memory/machine/qemu-1-web.libvirt-qemu", "100\n"),
            ("cpu,cpuacct/machine/qemu-1-web.libvirt-qemu", ""),
            ("cpu,cpuacct/machine/qemu-1-web.libvirt-qemu/emulator", "100\n101\n"),
            ("cpu,cpuacct/machine/prod.partition/qemu-2-db.libvirt-qemu/emulator", "200\n"),
            ("memory/machine/lxc-3-box.libvirt-lxc", "300\n"),
            ("memory/user", "400\n"),
            ("pids/machine/qemu-4-off.libvirt-qemu", "500\n"),
        ];
        assert_eq!(machine(&mounts, &procs), [100, 101, 200].into(), "what is not mounted is not there");
    }

    #[test]
    fn systemd_s_scopes_with_v2_with_v1_and_with_both() {
        let scope = r"machine.slice/machine-qemu\x2d3\x2dweb.scope";
        for (kind, point, top) in [
            ("cgroup2", "/sys/fs/cgroup", ""),
            ("cgroup2", "/sys/fs/cgroup/unified", "unified/"),
            ("cgroup", "/sys/fs/cgroup/systemd", "systemd/"),
        ] {
            let procs = [
                (format!("{top}{scope}/libvirt"), "100\n"),
                (format!("{top}{scope}/libvirt/emulator"), ""),
                (
                    format!("{top}machine.slice/machine-prod.slice/machine-qemu\\x2d4\\x2ddb.scope"),
                    "0\n200\n",
                ),
                (format!("{top}machine.slice/machine-lxc\\x2d5\\x2dbox.scope"), "300\n"),
                (format!("{top}system.slice/libvirtd.service"), "400\n"),
            ];
            let procs: Vec<_> = procs.iter().map(|(path, pids)| (path.as_str(), *pids)).collect();
            assert_eq!(machine(&[(kind, point)], &procs), [100, 200].into(), "{point}");
        }
    }

    /// Catches: a domain that nothing but its cgroup shows, and that is not found since somebody has mounted a stick with an old name.
    #[test]
    fn a_mount_with_a_name_that_is_no_utf_8_hides_no_hierarchy() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("sys/fs/cgroup/machine/qemu-1-web.libvirt-qemu");
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("cgroup.procs"), "100\n").unwrap();
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        let list = b"29 22 8:1 / /mnt/\xff rw - vfat /dev/sdc1 rw\n30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        fs::write(root.path().join(MOUNTS), list).unwrap();
        assert_eq!(below(root.path()), [100].into());
    }

    #[test]
    fn a_machine_without_cgroups_has_none() {
        assert!(machine(&[], &[("machine/qemu-1-web.libvirt-qemu", "100\n")]).is_empty());
    }
}
