//! The guest's software: built from `guest/` with the machine's own C compiler, into one image that is its firmware.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{self, CommandError};

const SOURCES: [(&str, &str); 6] = [
    ("start.S", include_str!("../guest/start.S")),
    ("guest.c", include_str!("../guest/guest.c")),
    ("machine.c", include_str!("../guest/machine.c")),
    ("virtio.c", include_str!("../guest/virtio.c")),
    ("guest.h", include_str!("../guest/guest.h")),
    ("guest.ld", include_str!("../guest/guest.ld")),
];

const COMPILE: &[&str] = &[
    "-m32",
    "-march=i486",
    "-Os",
    "-ffreestanding",
    "-fno-pic",
    "-fno-pie",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fcf-protection=none",
    "-mgeneral-regs-only",
    "-nostdlib",
    "-no-pie",
    "-Wl,-T,guest.ld,--build-id=none,-melf_i386",
    "-o",
    "guest.elf",
    "start.S",
    "guest.c",
    "machine.c",
    "virtio.c",
];

/// Why there is no ROM.
#[derive(Debug, thiserror::Error)]
pub enum RomError {
    /// Its sources cannot be written.
    #[error("cannot write the guest's file {0}: {1}")]
    File(PathBuf, #[source] io::Error),
    /// They cannot be compiled.
    #[error("cannot build the guest's ROM (it needs gcc with -m32 code generation, and objcopy): {0}")]
    Build(#[from] CommandError),
}

/// Builds `guest.rom` in a directory, unless it is there, and returns its path.
///
/// # Errors
/// When the compiler or the directory refuses.
pub fn build(directory: &Path) -> Result<PathBuf, RomError> {
    let rom = directory.join("guest.rom");
    if rom.exists() {
        return Ok(rom);
    }
    for (name, source) in SOURCES {
        let path = directory.join(name);
        fs::write(&path, source).map_err(|error| RomError::File(path, error))?;
    }
    command::run(Command::new("gcc").args(COMPILE).current_dir(directory))?;
    let copy = ["-O", "binary", "-j", ".text", "-j", ".reset", "guest.elf", "guest.rom"];
    command::run(Command::new("objcopy").args(copy).current_dir(directory))?;
    Ok(rom)
}
