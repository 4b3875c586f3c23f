//! Where a path leads, found without touching more of a dead mount than one thread.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A path on a server that answers is found in a few milliseconds; nobody waits longer for one that does not.
const PATIENCE: Duration = Duration::from_secs(2);
/// As the kernel counts (`path_resolution(7)`).
const MOST_LINKS: u8 = 40;

/// The path without symbolic links and `..`, an absolute one. The step at which a dead server holds it up is the last: what lies behind
/// stays as it is written, which is at least on the right mount, since a link that leads onto it was read before.
pub(crate) fn place_of(path: &Path) -> PathBuf {
    let found = walked_with(PATIENCE, path, |link| fs::read_link(link));
    found.unwrap_or_else(|| path.to_owned())
}

/// None where no thread is to be had.
fn walked_with(
    patience: Duration,
    path: &Path,
    read_link: impl Fn(&Path) -> io::Result<PathBuf> + Send + 'static,
) -> Option<PathBuf> {
    let (steps, walked) = channel();
    let (path, deadline) = (path.to_owned(), Instant::now() + patience);
    thread::Builder::new().name("path".to_owned()).spawn(move || walk(&path, &read_link, &steps)).ok()?;
    let mut found = None;
    while let Ok(step) = walked.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        found = Some(step);
    }
    found
}

/// Sends what is known of the path before each step, and at the end.
fn walk(path: &Path, read_link: &dyn Fn(&Path) -> io::Result<PathBuf>, steps: &Sender<PathBuf>) {
    let mut place = PathBuf::from("/");
    let mut rest = parts(path);
    let mut links = 0;
    loop {
        let mut known = place.clone();
        known.extend(&rest);
        if steps.send(known).is_err() || links == MOST_LINKS {
            return;
        }
        let Some(part) = rest.pop_front() else { return };
        if part == ".." {
            place.pop();
            continue;
        }
        let next = place.join(part);
        // What is no link, or is not there, is a name like any other.
        let Ok(target) = read_link(&next) else {
            place = next;
            continue;
        };
        links += 1;
        if target.is_absolute() {
            place = PathBuf::from("/");
        }
        let mut target = parts(&target);
        target.append(&mut rest);
        rest = target;
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let named = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(named).map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Catches: a link or `..` onto a mount of NFS 3, which was not refused.
    #[test]
    fn links_and_dots_are_followed_as_far_as_there_is_something() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let dir = fs::canonicalize(dir.path())?;
        fs::create_dir_all(dir.join("mnt/old/deep"))?;
        symlink(dir.join("mnt/old"), dir.join("absolute"))?;
        symlink("mnt/../absolute/deep", dir.join("relative"))?;
        symlink("round", dir.join("round"))?;
        for (path, place) in [
            ("absolute/lease", "mnt/old/lease"),
            ("relative/lease", "mnt/old/deep/lease"),
            ("relative/../lease", "mnt/old/lease"),
            ("nothing/there/../lease", "nothing/lease"),
            ("./mnt//old/lease", "mnt/old/lease"),
            ("round/lease", "round/lease"),
        ] {
            // Not as paths, for which a slash at the end is nothing: the kernel finds no device behind one.
            assert_eq!(place_of(&dir.join(path)).as_os_str(), dir.join(place).as_os_str(), "{path}");
        }
        Ok(())
    }

    /// Catches: an agent that hangs at its start on a dead mount, and one that takes a link onto it for what it is written as.
    #[test]
    fn a_dead_mount_holds_nobody_up_and_is_the_place() {
        let stuck = |path: &Path| match path.to_str() {
            Some("/lease") => Ok(PathBuf::from("/mnt/old")),
            Some("/mnt/old") => loop {
                thread::park();
            },
            _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        let begun = Instant::now();
        let found = walked_with(Duration::from_millis(200), Path::new("/srv/../lease/sub/file"), stuck);
        assert_eq!(found.as_deref(), Some(Path::new("/mnt/old/sub/file")));
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
