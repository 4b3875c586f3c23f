//! What this host shows of its watchdogs without opening one: sysfs (the kernel's
//! Documentation/ABI/testing/sysfs-class-watchdog), module parameters, the kernel's log, and whether it is a virtual machine.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc::O_NONBLOCK;

use super::class::{Facts, Softdog};

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
            softdog: (identity == "Software Watchdog").then(|| self.softdog()).flatten(),
            ipmi_action: self.read("sys/module/ipmi_watchdog/parameters/action"),
            ..Facts::default()
        }
    }

    /// True when this host is a virtual machine, as its processor or firmware says; also when both say nothing (an arm64 that
    /// was booted without firmware).
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
        let by_processor = self.read("proc/cpuinfo").and_then(|text| {
            let flags = text.lines().find(|line| line.starts_with("flags"))?;
            Some(flags.split_whitespace().any(|flag| flag == "hypervisor"))
        });
        let firmware = ["sys_vendor", "product_name"];
        let firmware: Vec<String> =
            firmware.iter().filter_map(|name| self.read(format!("sys/class/dmi/id/{name}"))).collect();
        let by_firmware = firmware
            .iter()
            .any(|text| vendors.iter().any(|vendor| text.starts_with(vendor)) || text == "Virtual Machine");
        by_processor.unwrap_or(firmware.is_empty())
            || by_firmware
            || self.root.join("sys/hypervisor/type").exists()
    }

    /// What softdog does when it fires. Its parameters stand in no file of sysfs (their mode is 0); it says them once in the
    /// kernel's log, when it is loaded.
    fn softdog(&self) -> Option<Softdog> {
        let path = self.root.join("dev/kmsg");
        let mut log = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path).ok()?;
        let mut said = None;
        let mut record = [0; RECORD_BYTES];
        loop {
            match log.read(&mut record) {
                Ok(0) => return said,
                Ok(bytes) => said = softdog_in(&String::from_utf8_lossy(&record[..bytes]), said),
                // Records were overwritten meanwhile: the next one is there.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(_) => return said,
            }
        }
    }
}

/// What softdog does, by the next lines of the log and by those `before` them. It says itself in two lines.
fn softdog_in(text: &str, before: Option<Softdog>) -> Option<Softdog> {
    text.lines().fold(before, |before, line| {
        let Some((_, words)) = line.split_once("softdog: ") else { return before };
        let is_off = |key| words.split_once(key).is_some_and(|(_, value)| value.starts_with("0 "));
        match before {
            _ if words.starts_with("initialized.") => Some(if !is_off("soft_noboot=") {
                Softdog::Ignores
            } else if !is_off("soft_panic=") {
                Softdog::Panics
            } else {
                Softdog::Resets
            }),
            Some(Softdog::Resets)
                if words.contains("soft_reboot_cmd=") && !words.contains("soft_reboot_cmd=<not set>") =>
            {
                Some(Softdog::ShutsDown)
            }
            _ => before,
        }
    })
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
        assert_eq!((soft.facts.has_parent, soft.facts.softdog), (Some(false), None));
        assert_eq!(host.watchdog_of(nix::sys::stat::makedev(10, 130)), Some(itco));
    }

    #[test]
    fn what_softdog_does_is_what_it_said_last_as_it_was_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host { root: dir.path().to_owned() };
        let loaded = |noboot: u8, panic: u8, command: &str| {
            format!(
                "6,1,2,-;softdog: initialized. soft_noboot={noboot} soft_margin=60 sec soft_panic={panic} (nowayout=0)\n\
                 6,2,2,-;softdog:              soft_reboot_cmd={command} soft_active_on_boot=0\n"
            )
        };
        let mut log = "6,0,1,-;somebody: soft_noboot=0 \n".to_owned();
        let table = [
            (String::new(), None),
            (loaded(1, 0, "<not set>"), Some(Softdog::Ignores)),
            (loaded(0, 0, "<not set>"), Some(Softdog::Resets)),
            (loaded(0, 1, "<not set>"), Some(Softdog::Panics)),
            (loaded(0, 0, "bios"), Some(Softdog::ShutsDown)),
            (
                "6,9,9,-;softdog: initialized. soft_noboot=0 soft_margin=5 sec soft_panic=0 (nowayout=1)\n"
                    .to_owned(),
                Some(Softdog::Resets),
            ),
            ("6,9,9,-;softdog: initialized. somehow\n".to_owned(), Some(Softdog::Ignores)),
        ];
        for (lines, does) in table {
            log.push_str(&lines);
            write(dir.path(), "dev/kmsg", &log);
            assert_eq!(host.softdog(), does, "{lines}");
        }
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
        // An arm64's: no flags, and its firmware decides.
        write(dir.path(), "proc/cpuinfo", "processor : 0\nFeatures : fp asimd\n");
        write(dir.path(), "sys/class/dmi/id/sys_vendor", "Ampere\n");
        assert!(!host.is_virtual());
        fs::remove_file(dir.path().join("sys/class/dmi/id/sys_vendor")).unwrap();
        assert!(host.is_virtual(), "nothing says what it is");
    }
}
