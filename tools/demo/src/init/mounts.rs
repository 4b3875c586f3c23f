//! The file system of a host, in its own mount namespace: `/` is this machine's, except for what makes a machine itself
//! (its devices, its `/run`, its identity, its configuration) and for the shared storage. Nothing here touches a file of
//! this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::unistd::{Pid, sethostname};

use super::devices;
use crate::cgroups;
use crate::spec::{HOST_NAME_FILE, HostSpec, RUN_DIR, SHARED};

/// A step of the host's boot that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} in the host's own file system: {source}")]
pub struct MountError {
    step: String,
    #[source]
    source: io::Error,
}

/// Adds to an error what was being done.
pub(super) trait Step<T> {
    fn step(self, step: impl Into<String>) -> Result<T, MountError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T, MountError> {
        self.map_err(|source| MountError { step: step.into(), source: source.into() })
    }
}

/// Directories of a host's disk, by their place on the host: they survive a power cut.
const ON_DISK: [&str; 6] = [
    "/etc/libvirt",
    "/etc/leasefence",
    "/var/lib/libvirt",
    "/var/lib/leasefence",
    "/var/cache/libvirt",
    "/var/log/libvirt",
];

/// Where a directory's stand-in is built before it is moved over it.
const ASIDE: &str = "/run/shadow";

/// Directories of this machine in which a host adds entries of its own.
const SHADOWED: [&str; 5] = ["/etc", "/var/lib", "/var/cache", "/var/log", "/mnt"];

pub(super) fn set_up(spec: &HostSpec) -> Result<(), MountError> {
    sethostname(&spec.name).step("set the host name")?;
    mount_fs("proc", Path::new("/proc"), "")?;
    kernel_tree()?;
    devices::set_up(&spec.disk.join("dev"))?;
    mount_fs("tmpfs", Path::new("/run"), "mode=755")?;
    for directory in SHADOWED {
        shadow(Path::new(directory))?;
    }
    for directory in ON_DISK {
        attach(&spec.disk.join(&directory[1..]), Path::new(directory))?;
    }
    attach(&spec.shared, Path::new(SHARED))?;
    fs::remove_dir(ASIDE).ok();
    fs::create_dir_all(RUN_DIR).step(format!("make {RUN_DIR}, as packages do by tmpfiles.d"))?;
    identity(spec)
}

fn mount_fs(kind: &str, target: &Path, options: &str) -> Result<(), MountError> {
    mount(Some(kind), target, Some(kind), MsFlags::MS_NOSUID, Some(options))
        .step(format!("mount {kind} on {}", target.display()))
}

pub(super) fn bind(source: &Path, target: &Path) -> Result<(), MountError> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>).step(format!(
        "bind {} to {}",
        source.display(),
        target.display()
    ))
}

/// Makes both directories where they are missing, and binds.
fn attach(source: &Path, target: &Path) -> Result<(), MountError> {
    for directory in [source, target] {
        fs::create_dir_all(directory).step(format!("make {}", directory.display()))?;
    }
    bind(source, target)
}

/// Makes a directory of this machine writable without touching it: what is in it still appears in it, and what is added
/// exists for this host alone. (An overlay would do, where the kernel and the file system below allow one.)
fn shadow(directory: &Path) -> Result<(), MountError> {
    let what = || format!("shadow {}", directory.display());
    let aside = Path::new(ASIDE);
    fs::create_dir_all(aside).step(what())?;
    let entries: Vec<_> = match fs::read_dir(directory) {
        Ok(entries) => entries.flatten().collect(),
        Err(_) => return Ok(()),
    };
    mount_fs("tmpfs", aside, "mode=755")?;
    for entry in entries {
        stand_in(&entry.path(), &aside.join(entry.file_name())).step(what())?;
    }
    mount(Some(aside), directory, None::<&str>, MsFlags::MS_MOVE, None::<&str>).step(what())
}

fn stand_in(original: &Path, place: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(original)?.file_type();
    if kind.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(original)?, place);
    }
    if kind.is_dir() {
        fs::create_dir(place)?;
    } else {
        fs::write(place, "")?;
    }
    bind(original, place).map_err(|error| error.source)
}

/// A `/sys` that shows the host's own network, and in it the control group hierarchies at the same places as on this
/// machine, seen from inside the host's cgroup namespace.
fn kernel_tree() -> Result<(), MountError> {
    let hierarchies = cgroups::hierarchies().step("list the control groups")?;
    mount_fs("sysfs", Path::new("/sys"), "")?;
    mount_fs("tmpfs", Path::new("/sys/fs/cgroup"), "mode=755")?;
    for hierarchy in hierarchies {
        let what = || format!("mount the control groups {}", hierarchy.path.display());
        fs::create_dir_all(&hierarchy.path).step(what())?;
        mount_fs(&hierarchy.kind, &hierarchy.path, &hierarchy.options)?;
        if hierarchy.kind == "cgroup2" {
            cgroups::move_to_leaf(&hierarchy.path, "", "system", Pid::this().as_raw()).step(what())?;
        }
    }
    Ok(())
}

/// What tells this machine from others, and this boot from others.
fn identity(spec: &HostSpec) -> Result<(), MountError> {
    fs::write(HOST_NAME_FILE, format!("{}\n", spec.name)).step("write the host name")?;
    overlay_file("/etc/machine-id", &spec.machine_id)?;
    overlay_file("/proc/sys/kernel/random/boot_id", &spec.boot_id)?;
    let dmi = "/sys/class/dmi/id/product_uuid";
    if Path::new(dmi).exists() { overlay_file(dmi, &spec.machine_id) } else { Ok(()) }
}

/// Puts another text over a file.
fn overlay_file(target: &str, text: &str) -> Result<(), MountError> {
    let file = PathBuf::from("/run/identity").join(target.rsplit('/').next().unwrap_or_default());
    let what = || format!("give the host its own {target}");
    fs::create_dir_all("/run/identity").step(what())?;
    fs::write(&file, format!("{text}\n")).step(what())?;
    if !Path::new(target).exists() {
        fs::write(target, "").step(what())?;
    }
    bind(&file, Path::new(target))
}
