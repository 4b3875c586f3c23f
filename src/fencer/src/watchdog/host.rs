//! What this host shows of its watchdogs without opening one: sysfs (the kernel's
//! Documentation/ABI/testing/sysfs-class-watchdog), module parameters, the kernel's log, and whether it is a virtual machine.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc::O_NONBLOCK;

use super::class::Facts;

/// The longest record of the kernel's log.
const RECORD_BYTES: usize = 8192;

/// Where it is looked for: the machine's own directories, but in tests.
pub(super) struct Host {
    root: PathBuf,
}

/// A watchdog that sysfs shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Shown {
    /// `/dev/watchdogN`.
    pub(super) path: PathBuf,
    pub(super) facts: Facts,
    pub(super) nowayout: bool,
}

impl Default for Host {
    fn default() -> Self {
        Self { root: PathBuf::from("/") }
    }
}

impl Host {
    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        Some(fs::read_to_string(self.root.join(path)).ok()?.trim().to_owned())
    }

    /// All watchdogs that sysfs shows, by number.
    pub(super) fn watchdogs(&self) -> Vec<Shown> {
        let Ok(entries) = fs::read_dir(self.root.join("sys/class/watchdog")) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let number = |name: String| name.strip_prefix("watchdog")?.parse::<u32>().ok();
        let mut numbers: Vec<u32> = names.filter_map(number).collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| self.shown(number)).collect()
    }

    /// The watchdog that a device number belongs to. The old `/dev/watchdog` (10:130) is the first one's.
    pub(super) fn watchdog_of(&self, device_number: u64) -> Option<Shown> {
        let (major, minor) = (nix::sys::stat::major(device_number), nix::sys::stat::minor(device_number));
        if (major, minor) == (10, 130) {
            return self.root.join("sys/class/watchdog/watchdog0").exists().then(|| self.shown(0));
        }
        let link = fs::read_link(self.root.join(format!("sys/dev/char/{major}:{minor}"))).ok()?;
        let number = link.file_name()?.to_str()?.strip_prefix("watchdog")?.parse().ok()?;
        Some(self.shown(number))
    }

    fn shown(&self, number: u32) -> Shown {
        let directory = PathBuf::from(format!("sys/class/watchdog/watchdog{number}"));
        let identity = self.read(directory.join("identity")).unwrap_or_default();
        Shown {
            path: PathBuf::from(format!("/dev/watchdog{number}")),
            nowayout: self.read(directory.join("nowayout")).as_deref() == Some("1"),
            facts: Facts {
                is_device: true,
                has_parent: Some(self.root.join(directory.join("device")).exists()),
                ..self.facts(&identity)
            },
        }
    }

    /// What is known of a driver by its identity alone.
    pub(super) fn facts(&self, identity: &str) -> Facts {
        Facts {
            identity: identity.to_owned(),
            virtual_host: self.is_virtual(),
            soft_noboot: (identity == "Software Watchdog").then(|| self.soft_noboot()).flatten(),
            ipmi_action: self.read("sys/module/ipmi_watchdog/parameters/action"),
            ..Facts::default()
        }
    }

    /// True when this host is a virtual machine, as its processor or firmware says; also when neither can be asked.
    fn is_virtual(&self) -> bool {
        let vendors = [
            "QEMU",
            "KVM",
            "VMware",
            "innotek",
            "VirtualBox",
            "Xen",
            "Bochs",
            "OpenStack",
            "Google",
            "Amazon EC2",
        ];
        let by_processor = self.read("proc/cpuinfo").is_none_or(|text| {
            let flags = text.lines().find(|line| line.starts_with("flags"));
            flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"))
        });
        let firmware =
            ["sys_vendor", "product_name"].map(|name| self.read(format!("sys/class/dmi/id/{name}")));
        let by_firmware = firmware
            .into_iter()
            .flatten()
            .any(|text| vendors.iter().any(|vendor| text.starts_with(vendor)) || text == "Virtual Machine");
        by_processor || by_firmware || self.root.join("sys/hypervisor/type").exists()
    }

    /// softdog's `soft_noboot`. It stands in no file of sysfs; the driver says it once in the kernel's log, and it can only
    /// come from the kernel's command line or modprobe's configuration, unless somebody loaded it by hand.
    fn soft_noboot(&self) -> Option<bool> {
        let said = self.kernel_log_says();
        said.or_else(|| self.is_configured_not_to_boot().then_some(true))
    }

    fn is_configured_not_to_boot(&self) -> bool {
        let sets = |text: &str| {
            let mut values = text.split_whitespace().filter_map(|word| word.split_once("soft_noboot="));
            values.any(|(_, value)| value != "0")
        };
        let options = ["etc", "run", "usr/lib", "lib"].into_iter().flat_map(|place| {
            let files = fs::read_dir(self.root.join(place).join("modprobe.d")).into_iter().flatten();
            files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok()).collect::<Vec<_>>()
        });
        let lines = options.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
        let mut options = lines.filter(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some("options") && words.next() == Some("softdog")
        });
        self.read("proc/cmdline").is_some_and(|line| sets(&line)) || options.any(|line| sets(&line))
    }

    /// What the last line "softdog: initialized. …" says in the kernel's log.
    fn kernel_log_says(&self) -> Option<bool> {
        let path = self.root.join("dev/kmsg");
        let mut log = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path).ok()?;
        let mut said = None;
        let mut record = [0; RECORD_BYTES];
        loop {
            match log.read(&mut record) {
                Ok(0) => return said,
                Ok(bytes) => said = noboot_in(&String::from_utf8_lossy(&record[..bytes])).or(said),
                // Records were overwritten meanwhile: the next one is there.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(_) => return said,
            }
        }
    }
}

fn noboot_in(text: &str) -> Option<bool> {
    let lines = text.lines().filter(|line| line.contains("softdog: initialized."));
    let value = lines.filter_map(|line| line.split_once("soft_noboot=")).next_back()?.1;
    Some(!value.starts_with("0 "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn sysfs_shows_watchdogs_and_what_stands_behind_them() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root, "proc/cpuinfo", "processor: 0\nflags\t\t: fpu vme sse\n");
        write(root, "sys/class/watchdog/watchdog1/identity", "Software Watchdog\n");
        write(root, "sys/class/watchdog/watchdog1/nowayout", "0\n");
        write(root, "sys/class/watchdog/watchdog0/identity", "iTCO_wdt\n");
        write(root, "sys/class/watchdog/watchdog0/nowayout", "1\n");
        fs::create_dir(root.join("sys/class/watchdog/watchdog0/device")).unwrap();
        let host = Host { root: root.to_owned() };
        let [itco, soft] = host.watchdogs().try_into().unwrap();
        assert_eq!((itco.path.to_str(), itco.nowayout), (Some("/dev/watchdog0"), true));
        assert_eq!((itco.facts.has_parent, itco.facts.virtual_host), (Some(true), false));
        assert_eq!((soft.facts.has_parent, soft.facts.soft_noboot), (Some(false), None));
        assert_eq!(host.watchdog_of(nix::sys::stat::makedev(10, 130)), Some(itco));
        // The log's last word counts, and without one modprobe's.
        write(root, "etc/modprobe.d/x.conf", "options softdog soft_margin=5 soft_noboot=1\n");
        assert_eq!(host.soft_noboot(), Some(true));
        write(root, "dev/kmsg", "6,1,2,-;softdog: initialized. soft_noboot=0 soft_margin=60 sec\n");
        assert_eq!(host.soft_noboot(), Some(false));
    }

    #[test]
    fn a_virtual_machine_is_told_by_processor_or_firmware_and_one_that_says_nothing_may_be_one() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host { root: dir.path().to_owned() };
        assert!(host.is_virtual(), "nothing can be read");
        write(dir.path(), "proc/cpuinfo", "flags : fpu hypervisor sse\n");
        assert!(host.is_virtual());
        write(dir.path(), "proc/cpuinfo", "flags : fpu sse\n");
        assert!(!host.is_virtual());
        write(dir.path(), "sys/class/dmi/id/sys_vendor", "QEMU\n");
        assert!(host.is_virtual());
    }
}
