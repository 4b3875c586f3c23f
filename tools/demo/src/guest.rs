//! The virtual machine whose life is at stake: its ROM, its disk, its domain, and how it is started.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::domain::{Domain, Source};
use crate::host::{Host, HostError};
use crate::layout::{BLOCK_BYTES, Layout};
use crate::rom::{self, RomError};
use crate::spec::{HOST_NAME_FILE, SHARED};

/// The disk has room for so many starts: 32 MiB.
const LIVES: usize = 64;

/// What went wrong with the guest.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// Its files.
    #[error("cannot write the guest's file {0}: {1}")]
    File(PathBuf, #[source] io::Error),
    /// Its ROM.
    #[error(transparent)]
    Rom(#[from] RomError),
    /// Starting it.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// A domain and its disk, on the shared storage.
#[derive(Clone, Debug)]
pub struct Guest {
    name: String,
    disk: PathBuf,
}

impl Guest {
    /// Makes the disk and the domain's definition below `shared`, and the ROM if it is not there yet.
    ///
    /// # Errors
    /// When the compiler or the disk refuses.
    pub fn create(shared: &Path, name: &str, uuid: &str) -> Result<Self, GuestError> {
        let directory = shared.join("guests");
        fs::create_dir_all(&directory).map_err(|error| GuestError::File(directory.clone(), error))?;
        rom::build(&directory)?;
        let guest = Self { name: name.into(), disk: directory.join(format!("{name}.img")) };
        create_disk(&guest.disk).map_err(|error| GuestError::File(guest.disk.clone(), error))?;
        let xml = directory.join(format!("{name}.xml"));
        fs::write(&xml, domain(name, uuid).to_string()).map_err(|error| GuestError::File(xml, error))?;
        Ok(guest)
    }

    /// Its name in libvirt.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its disk, as seen from this machine.
    #[must_use]
    pub fn disk(&self) -> &Path {
        &self.disk
    }

    /// Defines it on a host and starts it there, as a user would: whether or not it runs elsewhere.
    ///
    /// # Errors
    /// When libvirt refuses.
    pub fn start(&self, host: &Host) -> Result<(), GuestError> {
        host.virsh(&["define", &format!("{SHARED}/guests/{}.xml", self.name)])?;
        host.virsh(&["start", &self.name])?;
        Ok(())
    }

    /// Pulls its plug on a host and forgets it there.
    ///
    /// # Errors
    /// When libvirt refuses.
    pub fn remove(&self, host: &Host) -> Result<(), GuestError> {
        host.virsh(&["destroy", &self.name])?;
        host.virsh(&["undefine", &self.name])?;
        Ok(())
    }
}

/// Makes an empty disk. It is written, not only sized: from here on no write of the guest changes the file's metadata.
///
/// # Errors
/// When it cannot be written.
pub fn create_disk(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    for _ in 0..Layout::bytes(LIVES) / BLOCK_BYTES {
        file.write_all(&[0; BLOCK_BYTES])?;
    }
    file.sync_all()
}

/// `shareable`, since on one kernel QEMU's lock would refuse every second start; NFS 3, for one, was seen to have no such
/// lock either.
fn domain(name: &str, uuid: &str) -> Domain {
    let guests = Path::new(SHARED).join("guests");
    Domain {
        name: name.into(),
        uuid: uuid.into(),
        machine: "pc".into(),
        rom: guests.join("guest.rom"),
        host_name: HOST_NAME_FILE.into(),
        disk: Source::File(guests.join(format!("{name}.img"))),
        io: "threads".into(),
        shareable: true,
        operations_per_second: None,
    }
}
