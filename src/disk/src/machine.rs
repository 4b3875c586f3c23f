//! The facts by which a machine and its boot are known. Read once at start; nothing here is kept up to date.

use std::path::{Path, PathBuf};
use std::time::Duration;

use leasefence_core::ids::BootId;

use crate::error::IdentityError;

/// What the kernel and `/etc` say of this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineFacts {
    /// `/etc/machine-id`: 32 hexadecimal digits.
    pub machine_id: String,
    /// The firmware's uuid, lower case; none in containers, on some boards, and where only root may read it.
    pub dmi_uuid: Option<String>,
    /// This boot.
    pub boot_id: BootId,
    /// Time since boot, suspends included.
    pub uptime: Duration,
}

impl MachineFacts {
    /// Reads them from their usual places.
    ///
    /// # Errors
    /// [`IdentityError::MachineId`] without a usable machine-id, [`IdentityError::Call`] without a boot id.
    pub fn read() -> Result<Self, IdentityError> {
        Ok(Self {
            machine_id: read_machine_id(Path::new("/etc/machine-id"))?,
            dmi_uuid: read_dmi_uuid(Path::new("/sys/class/dmi/id/product_uuid")),
            boot_id: read_boot_id(Path::new("/proc/sys/kernel/random/boot_id"))?,
            uptime: Duration::from_nanos(leasefence_clock::instant().boot_ns),
        })
    }
}

fn read_machine_id(path: &Path) -> Result<String, IdentityError> {
    let bad = |why: &str| IdentityError::MachineId(path.to_path_buf(), why.to_owned());
    let text = std::fs::read_to_string(path).map_err(|error| bad(&error.to_string()))?;
    let id = text.trim().to_ascii_lowercase();
    let zero = id.bytes().all(|byte| byte == b'0');
    if id.len() != 32 || zero || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(bad(
            "not 32 hexadecimal digits (an image that was not booted yet says \"uninitialized\")",
        ));
    }
    Ok(id)
}

/// Some boards say all zeros, all ones or a text for every machine of their kind: that names no machine.
fn read_dmi_uuid(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?.trim().to_ascii_lowercase();
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let constant = digits.windows(2).all(|pair| pair[0] == pair[1]);
    (digits.len() == 32 && !constant && digits.iter().all(u8::is_ascii_hexdigit)).then_some(text)
}

fn read_boot_id(path: &Path) -> Result<BootId, IdentityError> {
    let bad =
        |why: &str| IdentityError::Call(PathBuf::from(path), "reading the boot id from", why.to_owned());
    let text = std::fs::read_to_string(path).map_err(|error| bad(&error.to_string()))?;
    let id: String = text.trim().chars().filter(|c| *c != '-').collect();
    crate::identity::parse_hex16(&id).map(BootId).ok_or_else(|| bad("not a uuid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("leasefence-machine-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_firmware_uuid_that_names_no_machine_counts_as_absent() {
        for (text, good) in [
            ("4C4C4544-0042-3510-8052-B4C04F4A3432\n", true),
            ("00000000-0000-0000-0000-000000000000\n", false),
            ("ffffffff-ffff-ffff-ffff-ffffffffffff\n", false),
            ("Not Settable\n", false),
        ] {
            let path = file("dmi", text);
            assert_eq!(read_dmi_uuid(&path).is_some(), good, "{text}");
            std::fs::remove_file(path).unwrap();
        }
        assert_eq!(read_dmi_uuid(Path::new("/nonexistent")), None);
    }

    #[test]
    fn a_machine_id_that_was_not_made_yet_is_refused_with_what_to_do() {
        let path = file("id", "uninitialized\n");
        let error = read_machine_id(&path).unwrap_err().to_string();
        assert!(error.contains("systemd-machine-id-setup"), "{error}");
        std::fs::write(&path, "0123456789ABCDEF0123456789abcdef\n").unwrap();
        assert_eq!(read_machine_id(&path).unwrap(), "0123456789abcdef0123456789abcdef");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn this_machine_has_a_boot_id_and_an_uptime() {
        assert!(!read_boot_id(Path::new("/proc/sys/kernel/random/boot_id")).unwrap().is_zero());
        assert!(leasefence_clock::instant().boot_ns > 0);
    }
}
