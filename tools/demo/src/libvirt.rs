//! The configuration of a host's own libvirtd, written from nothing: this machine's is neither read nor changed.

use std::fs;
use std::io;
use std::path::Path;

/// QEMU runs as root and unconfined: users, labels and mount namespaces are this machine's, and a host has none to give.
/// Log output goes straight to files, since a host runs no virtlogd.
const QEMU_CONF: &str = r#"user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
stdio_handler = "file"
"#;

/// Without a host uuid of its own, libvirtd would take the machine's, the same on all hosts.
fn libvirtd_conf(host_uuid: &str) -> String {
    format!("host_uuid = \"{host_uuid}\"\nunix_sock_rw_perms = \"0700\"\nauth_unix_rw = \"none\"\n")
}

/// For hosts that migrate guests between them: whoever reaches the port may do everything, so only on wires of their own.
const LISTENS: &str = "listen_tls = 0\nlisten_tcp = 1\nauth_tcp = \"none\"\n";

/// Lets a host's libvirtd listen on TCP, once it is run with `-l`.
pub(crate) fn listen(disk: &Path) -> io::Result<()> {
    let path = disk.join("etc/libvirt/libvirtd.conf");
    let text = fs::read_to_string(&path)?;
    fs::write(path, text + LISTENS)
}

/// Where libvirt looks for hooks, on a host's disk.
const HOOK: &str = "etc/libvirt/hooks/qemu.d/leasefence";

pub(crate) fn configure(disk: &Path, host_uuid: &str, hook: &Path) -> io::Result<()> {
    let directory = disk.join("etc/libvirt");
    fs::create_dir_all(&directory)?;
    // Libvirt makes its log directory later than it opens a guest's serial port in it.
    fs::create_dir_all(disk.join("var/log/libvirt/qemu"))?;
    let place = disk.join(HOOK);
    fs::create_dir_all(place.parent().unwrap_or(disk))?;
    fs::copy(hook, place)?;
    fs::write(directory.join("qemu.conf"), QEMU_CONF)?;
    fs::write(directory.join("libvirtd.conf"), libvirtd_conf(host_uuid))
}
