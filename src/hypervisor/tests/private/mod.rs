//! A libvirtd for one test, and what a user would do to it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use leasefence_core::ids::DomainId;
use leasefence_hypervisor::{Domain, Hypervisor, HypervisorEvent, Libvirt, LibvirtConfig};

pub(crate) const DISKS: &str = "/var/lib/libvirt/images";

/// A libvirtd of this test's own; killed when the test ends, with all domains.
pub(crate) struct Daemon {
    child: Child,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        let log = fs::File::create("/var/log/libvirt/daemon.log").expect("a log");
        let child =
            Command::new("libvirtd").stdin(Stdio::null()).stderr(log).spawn().expect("libvirtd starts");
        let this = Self { child };
        let begun = Instant::now();
        while !virsh_ok(&["list"]) {
            assert!(begun.elapsed() < Duration::from_secs(30), "libvirtd does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        this
    }

    pub(crate) fn signal(&self, signal: &str) {
        kill(signal, self.child.id());
    }

    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.child.kill().expect("libvirtd is killed");
        self.child.wait().expect("libvirtd is gone");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().expect("libvirtd's state").is_none() {
            self.end();
        }
    }
}

/// Removes what earlier tests in this process left: domains' processes, configurations, disks.
pub(crate) fn clean() {
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if command.starts_with(b"/usr/bin/qemu-system") {
            kill("KILL", pid);
        }
    }
    for directory in
        ["/etc/libvirt/qemu", "/etc/libvirt/hooks", "/run/libvirt/qemu", DISKS, "/var/lib/libvirt/qemu/save"]
    {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                fs::remove_file(entry.path()).expect("removed");
            }
        }
    }
}

pub(crate) fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status();
    assert!(status.expect("kill runs").success(), "kill -{signal} {pid}");
}

pub(crate) fn qemu_pid(name: &str) -> u32 {
    let path = format!("/run/libvirt/qemu/{name}.pid");
    fs::read_to_string(path).expect("a pid file").trim().parse().expect("a pid")
}

pub(crate) fn virsh(arguments: &[&str]) -> String {
    let output =
        Command::new("virsh").args(["-c", "qemu:///system"]).args(arguments).output().expect("virsh runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "virsh {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn virsh_ok(arguments: &[&str]) -> bool {
    let output = Command::new("virsh").args(["-c", "qemu:///system"]).args(arguments).output();
    output.expect("virsh runs").status.success()
}

pub(crate) fn define(xml: &str) {
    let path = "/run/definition.xml";
    fs::write(path, xml).expect("written");
    virsh(&["define", path]);
}

pub(crate) fn id(number: u8) -> DomainId {
    DomainId([number; 16])
}

/// A guest without a system: its firmware finds nothing to boot and waits.
pub(crate) fn guest_xml(id: DomainId, name: &str, disk: &str, format: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><uuid>{id}</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os>\
         <cpu mode='custom' match='exact'><model>qemu64</model></cpu>\
         <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>\
         <disk type='file' device='disk'><driver name='qemu' type='{format}'/><source file='{disk}'/>\
         <target dev='vda' bus='virtio'/></disk>\
         <controller type='usb' model='none'/><memballoon model='none'/><serial type='pty'/></devices></domain>"
    )
}

pub(crate) fn raw_disk(name: &str) -> String {
    let path = format!("{DISKS}/{name}");
    let file = fs::File::create(Path::new(&path)).expect("a disk");
    file.set_len(1 << 20).expect("its size");
    path
}

pub(crate) fn connect() -> (Libvirt, Receiver<HypervisorEvent>) {
    Libvirt::connect(LibvirtConfig::default()).expect("libvirt's library works")
}

/// Connects, and waits for the first word to be "back".
pub(crate) fn connected() -> (Libvirt, Receiver<HypervisorEvent>) {
    let (libvirt, events) = connect();
    assert_eq!(events.recv_timeout(Duration::from_secs(10)), Ok(HypervisorEvent::Back));
    (libvirt, events)
}

/// Waits for an event, passing over others; gives how long it took.
pub(crate) fn wait_for(
    events: &Receiver<HypervisorEvent>,
    what: &str,
    wanted: impl Fn(&HypervisorEvent) -> bool,
) -> Duration {
    let begun = Instant::now();
    loop {
        let left = Duration::from_secs(20).saturating_sub(begun.elapsed());
        let event = events.recv_timeout(left).unwrap_or_else(|_| panic!("no event: {what}"));
        if wanted(&event) {
            return begun.elapsed();
        }
    }
}

pub(crate) fn only(libvirt: &Libvirt) -> Domain {
    let mut domains = libvirt.domains().expect("a listing");
    assert_eq!(domains.len(), 1, "one domain");
    domains.remove(0)
}
