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

pub(crate) fn configure(disk: &Path, host_uuid: &str) -> io::Result<()> {
    let directory = disk.join("etc/libvirt");
    fs::create_dir_all(&directory)?;
    // Libvirt makes its log directory later than it opens a guest's serial port in it.
    fs::create_dir_all(disk.join("var/log/libvirt/qemu"))?;
    fs::write(directory.join("qemu.conf"), QEMU_CONF)?;
    fs::write(directory.join("libvirtd.conf"), libvirtd_conf(host_uuid))
}
