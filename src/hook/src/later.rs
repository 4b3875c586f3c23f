//! Starts that were denied only because this host did not hold its lease yet: libvirt starts what starts by itself once in a
//! boot, and the agent asks for it again.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Their file within the run directory: a uuid a line.
pub const LATER_FILE: &str = "denied-starts";
/// More is not noted: a guest that something starts again and again must not fill the memory that it lies in.
const LONGEST_FILE_BYTES: u64 = 1 << 16;

/// Notes one.
///
/// # Errors
/// When the file cannot be written.
pub fn note_later(run_dir: &Path, uuid: &str) -> io::Result<()> {
    let mut file = fs::File::options().create(true).append(true).open(run_dir.join(LATER_FILE))?;
    if file.metadata()?.len() < LONGEST_FILE_BYTES {
        // In one write, so that two hooks do not mix their lines.
        file.write_all(format!("{uuid}\n").as_bytes())?;
    }
    Ok(())
}

/// Takes them all, each once; they are noted no more.
///
/// # Errors
/// When there are some, and they cannot be read.
pub fn take_later(run_dir: &Path) -> io::Result<Vec<String>> {
    let taken = run_dir.join("denied-starts.taken");
    match fs::rename(run_dir.join(LATER_FILE), &taken) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    }
    let text = fs::read_to_string(&taken)?;
    fs::remove_file(&taken)?;
    let mut uuids: Vec<String> = text.lines().map(str::to_owned).collect();
    uuids.sort_unstable();
    uuids.dedup();
    Ok(uuids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_taken_once() {
        let directory = tempfile::tempdir().expect("a directory");
        for uuid in ["b", "a", "b"] {
            note_later(directory.path(), uuid).expect("it is written");
        }
        assert_eq!(take_later(directory.path()).expect("it is read"), ["a", "b"]);
        assert_eq!(take_later(directory.path()).expect("there is none"), [""; 0]);
    }
}
