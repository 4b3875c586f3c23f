//! This machine's identity: a random key made once in its life, kept with what tells a cloned image.
//!
//! The file is made atomically and never rewritten: a machine that loses it needs another slot (PROTOCOL 2: claims are
//! made once in a machine's life).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use leasefence_core::ids::HostKey;
use nix::libc;

use crate::error::IdentityError;
use crate::lock::IdentityLock;
use crate::machine::MachineFacts;

const FILE_NAME: &str = "identity";
const HEADING: &str =
    "# Leasefence: this machine's identity. Made once, never to be copied to another machine.\n";

/// Who this machine is, as stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// 128 random bits.
    pub host_key: HostKey,
    /// The machine-id when the key was made.
    pub machine_id: String,
    /// The firmware's uuid then, where there was one.
    pub dmi_uuid: Option<String>,
}

/// The opened, locked and checked identity of this machine.
#[derive(Debug)]
pub struct IdentityStore {
    /// Who this machine is.
    pub identity: Identity,
    /// Held for as long as this process may write.
    pub lock: IdentityLock,
    /// True when the file was made just now: this machine has no slot yet.
    pub created: bool,
}

impl IdentityStore {
    /// Opens `identity` in `state_dir`, makes it if there is none, locks it, and compares it with this machine.
    ///
    /// # Errors
    /// [`IdentityError::Locked`] for a second agent, [`IdentityError::Cloned`] when machine-id or DMI uuid differ, and
    /// the other [`IdentityError`]s; nothing is written in any of these cases.
    pub fn open(state_dir: &Path, facts: &MachineFacts) -> Result<Self, IdentityError> {
        let path = state_dir.join(FILE_NAME);
        let created = !path.exists() && create(state_dir, &path, facts)?;
        let lock = IdentityLock::acquire(&path)?;
        let identity = Identity::parse(&read_all(&lock)?).ok_or_else(|| {
            IdentityError::Damaged(path.clone(), "it is no identity of Leasefence".to_owned())
        })?;
        identity.check(&path, facts)?;
        Ok(Self { identity, lock, created })
    }
}

impl Identity {
    fn generate(facts: &MachineFacts) -> io::Result<Self> {
        Ok(Self {
            host_key: HostKey(random_bytes()?),
            machine_id: facts.machine_id.clone(),
            dmi_uuid: facts.dmi_uuid.clone(),
        })
    }

    /// Refuses a cloned image. A DMI uuid that appeared, vanished or changed all count: in doubt this is a copy.
    fn check(&self, path: &Path, facts: &MachineFacts) -> Result<(), IdentityError> {
        let absent = || "none".to_owned();
        let pairs = [
            ("machine-id", self.machine_id.clone(), facts.machine_id.clone()),
            (
                "DMI uuid",
                self.dmi_uuid.clone().unwrap_or_else(absent),
                facts.dmi_uuid.clone().unwrap_or_else(absent),
            ),
        ];
        for (what, stored, found) in pairs {
            if stored != found {
                return Err(IdentityError::Cloned { path: path.to_path_buf(), what, stored, found });
            }
        }
        Ok(())
    }

    fn to_text(&self) -> String {
        let dmi = self.dmi_uuid.as_deref().unwrap_or("none");
        format!(
            "{HEADING}host_key = \"{}\"\nmachine_id = \"{}\"\ndmi_uuid = \"{dmi}\"\n",
            self.host_key, self.machine_id
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once('=')?;
                (key.trim() == name).then(|| value.trim().trim_matches('"').to_owned())
            })
        };
        let host_key = HostKey(parse_hex16(&value("host_key")?)?);
        let dmi_uuid = Some(value("dmi_uuid")?).filter(|uuid| uuid != "none");
        (!host_key.is_zero()).then_some(Self { host_key, machine_id: value("machine_id")?, dmi_uuid })
    }
}

/// Sixteen bytes from 32 hexadecimal digits.
pub(crate) fn parse_hex16(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Makes the file whole and durable before it has its name: never half an identity. Returns false when another process
/// was quicker, whose identity then counts.
fn create(state_dir: &Path, path: &Path, facts: &MachineFacts) -> Result<bool, IdentityError> {
    let call = |what: &'static str| {
        move |error: io::Error| IdentityError::Call(path.to_path_buf(), what, error.to_string())
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)
        .map_err(call("making the directory of"))?;
    let identity = Identity::generate(facts).map_err(call("drawing the random key of"))?;
    let temporary = state_dir.join(format!(".{FILE_NAME}.{}", std::process::id()));
    let written = write_durably(&temporary, &identity.to_text()).and_then(|()| link_new(&temporary, path));
    let removed = std::fs::remove_file(&temporary);
    let created = written.map_err(call("writing"))?;
    removed.map_err(call("removing the temporary copy of"))?;
    File::open(state_dir).and_then(|dir| dir.sync_all()).map_err(call("syncing the directory of"))?;
    Ok(created)
}

fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A hard link, unlike a rename, never replaces an identity that another process has made meanwhile.
fn link_new(temporary: &Path, path: &Path) -> io::Result<bool> {
    match std::fs::hard_link(temporary, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn read_all(lock: &IdentityLock) -> Result<String, IdentityError> {
    let mut text = String::new();
    lock.file().take(64 * 1024).read_to_string(&mut text).map_err(|error| {
        IdentityError::Damaged(PathBuf::from(lock.path()), format!("it cannot be read: {error}"))
    })?;
    Ok(text)
}

/// From the kernel, which blocks until its pool is seeded: a key drawn too early in the first boot may be another's.
fn random_bytes() -> io::Result<[u8; 16]> {
    let mut bytes = [0u8; 16];
    // SAFETY: the buffer is valid for the length given, and the call writes no more than that.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    match usize::try_from(got) {
        Ok(16) => Ok(bytes), // up to 256 bytes are never cut short once the pool is seeded
        Ok(_) => Err(io::Error::other("the kernel gave too few random bytes")),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(machine: char, dmi: Option<&str>) -> MachineFacts {
        MachineFacts {
            machine_id: machine.to_string().repeat(32),
            dmi_uuid: dmi.map(str::to_owned),
            boot_id: leasefence_core::ids::BootId([1; 16]),
            uptime: std::time::Duration::ZERO,
        }
    }

    #[test]
    fn an_identity_survives_its_text_form_and_damaged_text_is_none() {
        for dmi in [None, Some("4c4c4544-0042-3510-8052-b4c04f4a3432")] {
            let identity = Identity::generate(&facts('a', dmi)).unwrap();
            let text = identity.to_text();
            assert_eq!(Identity::parse(&text), Some(identity));
            assert_eq!(Identity::parse(&text[..text.len() / 2]), None);
        }
        assert_eq!(Identity::parse(""), None);
        assert_eq!(Identity::parse("host_key = \"é\"\nmachine_id = \"a\"\ndmi_uuid = \"none\""), None);
    }

    #[test]
    fn two_keys_are_never_the_same() {
        let facts = facts('a', None);
        assert_ne!(
            Identity::generate(&facts).unwrap().host_key,
            Identity::generate(&facts).unwrap().host_key
        );
    }
}
