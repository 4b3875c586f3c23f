//! The command line of a machine's QEMU.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use leasefence_demo::command::{self, CommandError};

use crate::image::Image;
use crate::machine::{Machine, Network};
use crate::run::RunDir;
use crate::tsc;

/// Why a machine cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A disk.
    #[error(transparent)]
    Disk(#[from] CommandError),
    /// A file or the port for ssh.
    #[error("cannot prepare {0}: {1}")]
    Io(String, #[source] io::Error),
}

/// All that a boot of a machine takes from this machine: its disks are made if they are not there.
///
/// # Errors
/// When a disk cannot be made, or no port is free.
pub fn prepare(machine: Machine, run: &RunDir, image: &Image) -> Result<Command, PrepareError> {
    let name = machine.name;
    let failed = |error| PrepareError::Io(name.to_owned(), error);
    let overlay = run.file(name, "system.qcow2");
    if !overlay.exists() {
        let backing = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"];
        command::run(Command::new("qemu-img").args(backing).arg(image.base()).arg(&overlay))?;
    }
    for disk in machine.disks {
        let path = run.file(name, &format!("{}.qcow2", disk.name));
        if !path.exists() {
            let mut create = Command::new("qemu-img");
            create.args(["create", "-q", "-f", "qcow2"]).arg(&path).arg(format!("{}M", disk.mebibytes));
            command::run(&mut create)?;
        }
    }
    let port = free_port().map_err(failed)?;
    fs::write(run.file(name, "port"), port.to_string()).map_err(failed)?;
    fs::write(run.file(name, "console"), "").map_err(failed)?;
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(hardware(machine)).args(kernel(machine, image)).args(disks(machine, run));
    qemu.args(channels(name, run)).args(cards(machine, run, port));
    Ok(qemu)
}

/// QEMU binds the port itself a moment later; that somebody else takes it meanwhile shows as a machine that does not start.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// One processor, with room for a second: for a machine that can have but one, QEMU before 8.1 leaves out the barriers between
/// its processor and its devices (its patch "tcg: Do not elide memory barriers for `!CF_PARALLEL` in system mode"). A kick of a
/// virtio queue was lost then, and that network card, the storage's too, sent nothing any more.
///
/// The emulator keeps the code that it has translated, and forgets all of it when there is no more room: 512 MiB last.
fn hardware(machine: Machine) -> Vec<String> {
    let mut words = words("-nodefaults -no-user-config -display none -machine q35 -smp 1,maxcpus=2");
    words.extend(self::words("-accel tcg,thread=multi,tb-size=512 -cpu Westmere -device virtio-rng-pci"));
    words.extend(self::words("-device i6300esb,id=watchdog -action watchdog=reset"));
    words.extend(["-name".into(), format!("{},debug-threads=on", machine.name)]);
    words.extend(["-m".into(), machine.memory_mib.to_string(), "-uuid".into(), machine.uuid()]);
    words
}

/// An uncompressed kernel is started directly, without firmware. The options spare an emulated machine what it would test,
/// measure and wait for. `norandmaps`: translated code is found again by its address, so that a program that is started anew, at
/// the same place, need not be translated anew.
fn kernel(machine: Machine, image: &Image) -> Vec<String> {
    let line = format!(
        "console=ttyS0 root=/dev/vda panic=1 loglevel=4 cryptomgr.notests tsc=reliable tsc_early_khz={} no_timer_check \
         mitigations=off norandmaps apparmor=0 audit=0 random.trust_cpu=on net.ifnames=0 softlockup_panic=0 nowatchdog \
         systemd.show_status=0 quiet systemd.unit={} systemd.hostname={} systemd.machine_id={} lab.number={} lab.role={}",
        tsc::khz(),
        machine.role.target(),
        machine.name,
        machine.uuid().replace('-', ""),
        machine.number,
        machine.role.word(),
    );
    let (kernel, initrd) = (text(&image.kernel()), text(&image.initrd()));
    ["-kernel".into(), kernel, "-initrd".into(), initrd, "-append".into(), line].into()
}

/// `cache=unsafe`: what the machine has flushed lies in this machine's memory, and that does not fail in a lab.
fn disks(machine: Machine, run: &RunDir) -> Vec<String> {
    let mut all = drive("system", &run.file(machine.name, "system.qcow2"), "qcow2,discard=unmap");
    all.extend(drive("supply", &run.supplies(), "raw,readonly=on"));
    for disk in machine.disks {
        all.extend(drive(disk.name, &run.file(machine.name, &format!("{}.qcow2", disk.name)), "qcow2"));
    }
    all
}

fn drive(name: &str, path: &Path, format: &str) -> Vec<String> {
    let drive = format!("file={},if=none,id={name},cache=unsafe,format={format}", text(path));
    ["-drive".into(), drive, "-device".into(), format!("virtio-blk-pci,drive={name},serial={name}")].into()
}

/// The serial console is a file, the monitor a socket. A second monitor is listened to alone: one has room for one connection.
fn channels(name: &str, run: &RunDir) -> Vec<String> {
    let (console, monitor) = (text(&run.file(name, "console")), text(&run.file(name, "monitor.sock")));
    let events = text(&run.file(name, "events.sock"));
    [
        "-chardev".into(),
        format!("file,id=console,path={console},append=on"),
        "-serial".into(),
        "chardev:console".into(),
        "-chardev".into(),
        format!("socket,id=monitor,path={monitor},server=on,wait=off"),
        "-mon".into(),
        "chardev=monitor,mode=control".into(),
        "-chardev".into(),
        format!("socket,id=events,path={events},server=on,wait=off"),
        "-mon".into(),
        "chardev=events,mode=control".into(),
    ]
    .into()
}

/// One card for ssh from this machine alone (`restrict=on`: nothing gets out), and one on each network of the lab.
fn cards(machine: Machine, run: &RunDir, port: u16) -> Vec<String> {
    let mut all: Vec<String> = [
        "-netdev".into(),
        format!("user,id=manage,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
        "-device".into(),
        format!("virtio-net-pci,netdev=manage,mac=52:54:00:00:00:{:02x}", machine.number),
    ]
    .into();
    for network in Network::ALL {
        let (word, socket) = (network.word(), text(&run.card_socket(machine.name, network)));
        let mac = format!("52:54:00:{:02x}:00:{:02x}", network.mac_byte(), machine.number);
        all.extend([
            "-netdev".into(),
            format!("stream,id={word},server=off,addr.type=unix,addr.path={socket}"),
            "-device".into(),
            format!("virtio-net-pci,id=card-{word},netdev={word},mac={mac}"),
        ]);
    }
    all
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn text(path: &Path) -> String {
    PathBuf::from(path).display().to_string()
}
