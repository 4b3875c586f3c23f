//! Control groups of a host: one of the same name in every hierarchy of this machine, version 1 or 2. Without groups of
//! their own all hosts' libvirts would share `machine/qemu-1-NAME`, and one host's clean-up would kill another's guests.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// A mounted hierarchy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub path: PathBuf,
    /// `cgroup` or `cgroup2`.
    pub kind: String,
    /// Mount options that name it: controllers, or `name=systemd`.
    pub options: String,
}

/// The hierarchies that are mounted below `/sys/fs/cgroup`.
///
/// # Errors
/// When `/proc/self/mounts` cannot be read.
pub fn hierarchies() -> io::Result<Vec<Hierarchy>> {
    // Other mounts may have any name.
    Ok(parse_mounts(&String::from_utf8_lossy(&fs::read("/proc/self/mounts")?)))
}

fn parse_mounts(mounts: &str) -> Vec<Hierarchy> {
    let per_line = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        let is_cgroup = path.starts_with(ROOT) && (kind == "cgroup" || kind == "cgroup2");
        is_cgroup.then(|| Hierarchy {
            path: path.into(),
            kind: kind.into(),
            options: naming_options(options),
        })
    };
    mounts.lines().filter_map(per_line).collect()
}

/// The flags of every mount (`rw`, `relatime`, …) are no names.
fn naming_options(options: &str) -> String {
    const FLAGS: [&str; 9] =
        ["rw", "ro", "nosuid", "nodev", "noexec", "relatime", "nsdelegate", "memory_recursiveprot", "xattr"];
    options.split(',').filter(|option| !FLAGS.contains(option)).collect::<Vec<_>>().join(",")
}

/// Makes the group `name` in every hierarchy and moves this process into it.
///
/// # Errors
/// When a hierarchy refuses.
pub fn enter(name: &str) -> io::Result<()> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.path.join(name);
        fs::create_dir_all(&group)?;
        copy_cpuset(&hierarchy.path, &group);
        allow_real_time(&group);
        fs::write(group.join("cgroup.procs"), "0")?;
    }
    Ok(())
}

/// A new version 1 cpuset has neither processors nor memory, and so can hold no process.
fn copy_cpuset(parent: &Path, group: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(value) = fs::read(parent.join(file)) {
            fs::write(group.join(file), value).ok();
        }
    }
}

/// Under `CONFIG_RT_GROUP_SCHED` a group without a share of real time refuses the fencer's real-time priority. A tenth of
/// each second will do; a kernel without that setting has no such file.
fn allow_real_time(group: &Path) {
    fs::write(group.join("cpu.rt_runtime_us"), "100000").ok();
}

/// Moves the process `pid` from the version 2 group `name` to a leaf below it: a version 2 group that holds processes of
/// its own cannot give controllers to its children, and libvirt wants to.
///
/// # Errors
/// When the hierarchy refuses.
pub fn move_to_leaf(hierarchy: &Path, name: &str, leaf: &str, pid: i32) -> io::Result<()> {
    let group = hierarchy.join(name).join(leaf);
    fs::create_dir_all(&group)?;
    fs::write(group.join("cgroup.procs"), pid.to_string())
}

/// Removes the group `name` and all below it, everywhere. Groups that still hold processes stay.
pub fn remove(name: &str) {
    for hierarchy in hierarchies().unwrap_or_default() {
        remove_tree(&hierarchy.path.join(name));
    }
}

fn remove_tree(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    fs::remove_dir(group).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_named_by_their_controllers() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw,relatime,mode=755 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n\
                      cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,name=systemd 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate 0 0\n\
                      /dev/vda / ext4 rw 0 0\n";
        let found = parse_mounts(mounts);
        let names: Vec<_> = found.iter().map(|h| (h.kind.as_str(), h.options.as_str())).collect();
        assert_eq!(names, [("cgroup", "cpu"), ("cgroup", "name=systemd"), ("cgroup2", "")]);
    }
}
