//! `<run_dir>/page-layout`, for packages: what is installed when they restart this process may be another version. Without
//! it, and where it says what they do not know, they do not.

use std::fs;
use std::path::{Path, PathBuf};

use leasefence_page::LAYOUT_VERSION;

/// Where it lies, and what it says.
pub(crate) struct LayoutFile {
    path: PathBuf,
    said: Option<(Held, bool)>,
}

/// What the fencer holds beside the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Held {
    /// No watchdog.
    Nothing,
    /// A watchdog. A fencer of a release that knows of none would leave it in the service manager's store, unpetted: so there
    /// is another word than that of the page alone, which its scripts refuse.
    Watchdog,
    /// One that cannot be stopped: a removal would let it reset this host.
    Unstoppable,
}

impl LayoutFile {
    pub(crate) fn in_dir(run_dir: &Path) -> Self {
        Self { path: run_dir.join("page-layout"), said: None }
    }

    /// Writes it, where it would say something else. While this host resets itself (`resets`), its record may say so: a fencer of a
    /// release that cannot must not take this one's place, and its scripts do not know that word.
    pub(crate) fn write(&mut self, held: Held, resets: bool) -> std::io::Result<()> {
        if self.said == Some((held, resets)) {
            return Ok(());
        }
        let reset = if resets { "r" } else { "" };
        let word = match held {
            Held::Nothing => "",
            Held::Watchdog => "w",
            Held::Unstoppable => "w nowayout",
        };
        fs::write(&self.path, format!("{LAYOUT_VERSION}{reset}{word}\n"))?;
        self.said = Some((held, resets));
        Ok(())
    }
}

impl Held {
    pub(crate) fn new(open: bool, nowayout: bool) -> Self {
        match (open, nowayout) {
            (false, _) => Self::Nothing,
            (true, false) => Self::Watchdog,
            (true, true) => Self::Unstoppable,
        }
    }
}
