//! The reset of this host by its own kernel: `b` written to `/proc/sysrq-trigger`, which is opened ahead of need. When it is
//! written is the core's decision (`Fencer::must_reset`, and `Fencer::reset_deadline` for the thread that stands behind the one
//! that beats); the watchdog stands behind both.
//!
//! The file's handler calls `__handle_sysrq(c, check_mask = false)` (drivers/tty/sysrq.c): the sysctl `kernel.sysrq` masks the
//! keyboard and not this file, mainline's lockdown does not know it, and `emergency_restart` waits for no process, file system or
//! lock of theirs. What may refuse it is a security module, a kernel without `CONFIG_MAGIC_SYSRQ`, or a container that
//! mounts something over it: all of that shows when it is opened, but for a module that looks at each write.
//!
//! It is turned on at once, and off only while nothing is armed: as long as a record says "reset on" the host must reset
//! itself (R12). That it is on is noted in the run directory, so that a fencer that has lost its page knows too.

mod trigger;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use leasefence_core::ids::BootId;
use leasefence_core::time::HolderDeadline;
use leasefence_page::{ResetReport, ResetWish, Text};
use nix::libc;
use rustix::fs::{PROC_SUPER_MAGIC, fstatfs};

use crate::hardening::PidNamespace;
use crate::options::Options;
use trigger::Trigger;

const TRIGGER: &str = "/proc/sysrq-trigger";

/// Which trigger this process may open.
enum Place {
    /// The kernel's.
    Kernel,
    /// A plain file of a test's: nothing is ever reset by it.
    Test(PathBuf),
    /// None, and why.
    Refused(&'static str),
}

/// The trigger, and what is said of it.
pub(crate) struct HostReset {
    place: Place,
    trigger: Trigger,
    /// It will be pulled where the core says so.
    is_on: bool,
    note_file: NoteFile,
    report: ResetReport,
    /// The report has changed since it was last asked for.
    changed: bool,
}

impl HostReset {
    /// As the process before this one left it. `known` is the wish in the page.
    ///
    /// # Errors
    /// The thread that pulls it at a deadline cannot be started.
    pub(crate) fn start(
        options: &Options,
        namespace: &PidNamespace,
        boot_id: BootId,
        known: Option<ResetWish>,
    ) -> io::Result<Self> {
        let mut this = Self {
            place: Place::of(options, namespace),
            trigger: Trigger::start()?,
            is_on: false,
            note_file: NoteFile { path: options.run_dir.join("reset"), text: format!("on {boot_id}\n") },
            report: ResetReport::default(),
            changed: true,
        };
        if this.note_file.is_there() {
            this.turn_on(ResetWish { on: true });
        }
        this.take_wish(false, known.filter(|wish| wish.on));
        Ok(this)
    }

    /// True while the trigger is open, and will be pulled.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Takes what the agent wants.
    pub(crate) fn take_wish(&mut self, armed: bool, wish: Option<ResetWish>) {
        let Some(wish) = wish else { return };
        if self.report.wish == wish && (wish.on || !self.is_on()) && !self.report.deferred {
            return;
        }
        if wish.on {
            self.turn_on(wish);
        } else if armed && self.is_on() {
            if !self.report.deferred {
                let note = Text::cut("it stays on until this host is disarmed: its record says so");
                self.report = ResetReport { wish, on: true, deferred: true, note };
                self.changed = true;
            }
        } else {
            self.turn_off(wish);
        }
    }

    fn turn_on(&mut self, wish: ResetWish) {
        let note = match self.open_and_note() {
            Ok(()) => Text::default(),
            Err(why) => Text::cut(&why),
        };
        self.report = ResetReport { wish, on: self.is_on(), deferred: false, note };
        self.changed = true;
    }

    /// One that was open already stays open whatever fails: a record may say "reset on" (R12).
    fn open_and_note(&mut self) -> Result<(), String> {
        if !self.trigger.is_open() {
            self.trigger.put(self.place.open()?);
        }
        // Noted before it is said: a record that says "reset on" must find a fencer that knows.
        let failed = |error| format!("noting it in {} fails: {error}", self.note_file.path.display());
        self.note_file.write().map_err(failed)?;
        self.is_on = true;
        Ok(())
    }

    fn turn_off(&mut self, wish: ResetWish) {
        self.is_on = false;
        let removed = self.note_file.remove();
        let note = removed.err().map(|error| format!("removing {}: {error}", self.note_file.path.display()));
        let note = Text::cut(&note.unwrap_or_default());
        self.report = ResetReport { wish, on: false, deferred: false, note };
        self.changed = true;
    }

    /// Pulls it. Where it works this does not return.
    ///
    /// # Errors
    /// What the kernel answers, or [`ErrorKind::NotFound`] where there is no trigger.
    pub(crate) fn pull(&mut self) -> io::Result<()> {
        if !self.is_on {
            return Err(ErrorKind::NotFound.into());
        }
        let written = self.trigger.pull();
        let note = match &written {
            Ok(()) => Text::cut("the reset was asked for, and the kernel has not done it"),
            Err(error) => Text::cut(&format!("the kernel refused the reset: {error}")),
        };
        self.changed |= self.report.note != note;
        self.report.note = note;
        written
    }

    /// Has its own thread pull it at `deadline`, whatever becomes of the calling one; none: it does not.
    pub(crate) fn pull_by(&mut self, deadline: Option<HolderDeadline>) {
        self.trigger.pull_by(deadline.filter(|_| self.is_on));
    }

    /// What is to be told, when it has changed.
    pub(crate) fn news(&mut self) -> Option<ResetReport> {
        std::mem::take(&mut self.changed).then_some(self.report)
    }

    /// Says it again: there is another page.
    pub(crate) fn tell_again(&mut self) {
        self.changed = true;
    }
}

impl Place {
    /// The kernel's trigger is for the packaged unit alone: in another pid namespace it would end every host that shares this
    /// kernel, and a fencer that somebody starts by hand to look at it must not be able to.
    fn of(options: &Options, namespace: &PidNamespace) -> Self {
        match (&options.sysrq_trigger, options.allow_reset, namespace) {
            (Some(path), ..) => Self::Test(path.clone()),
            (None, false, _) => {
                Self::Refused("the fencer was started without --allow-reset, which its packaged unit gives")
            }
            (None, true, PidNamespace::Initial) => Self::Kernel,
            (None, true, _) => {
                Self::Refused("not the machine's initial pid namespace: it would reset others' hosts too")
            }
        }
    }

    fn open(&self) -> Result<File, String> {
        match self {
            Self::Kernel => open_kernels(Path::new(TRIGGER)),
            Self::Test(path) => open_tests(path),
            Self::Refused(why) => Err((*why).to_owned()),
        }
    }
}

fn open_kernels(path: &Path) -> Result<File, String> {
    let shown = path.display();
    let file = open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => {
            format!("there is no {shown}: the kernel lacks CONFIG_MAGIC_SYSRQ, or something hides it")
        }
        Some(libc::EROFS) => format!("{shown} is mounted read-only, as containers do"),
        _ => format!(
            "{shown} cannot be opened, is it a container, or does a security module refuse it? {error}"
        ),
    })?;
    if is_on_proc(&file)? {
        Ok(file)
    } else {
        Err(format!("{shown} is not the kernel's: something is mounted over it"))
    }
}

/// Whatever a test names, the kernel's own file is not opened by it.
fn open_tests(path: &Path) -> Result<File, String> {
    let shown = path.display();
    let file = open(path).map_err(|error| format!("{shown}: {error}"))?;
    let kind = file.metadata().map_err(|error| format!("{shown}: {error}"))?.file_type();
    let plain = kind.is_file() && !kind.is_char_device();
    if plain && !is_on_proc(&file)? { Ok(file) } else { Err(format!("{shown} is no plain file")) }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

fn is_on_proc(file: &File) -> Result<bool, String> {
    let at = fstatfs(file).map_err(|error| format!("asking what it lies on: {error}"))?;
    Ok(at.f_type == PROC_SUPER_MAGIC)
}

/// `<run_dir>/reset`: that it is on in this boot.
struct NoteFile {
    path: PathBuf,
    text: String,
}

impl NoteFile {
    /// One that cannot be read counts: whoever wrote it promised something.
    fn is_there(&self) -> bool {
        match fs::read_to_string(&self.path) {
            Ok(text) => text == self.text,
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    }

    fn write(&self) -> io::Result<()> {
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            return Ok(());
        }
        fs::write(&self.path, &self.text)
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    const ON: Option<ResetWish> = Some(ResetWish { on: true });
    const OFF: Option<ResetWish> = Some(ResetWish { on: false });
    const BOOT: BootId = BootId([7; 16]);

    /// A plain file in a directory of its own. No test gives this process leave to open the kernel's.
    fn fixture() -> (tempfile::TempDir, Options) {
        let dir = tempfile::tempdir().unwrap();
        let trigger = dir.path().join("sysrq");
        fs::write(&trigger, "").unwrap();
        let options =
            Options { run_dir: dir.path().to_owned(), sysrq_trigger: Some(trigger), ..Options::default() };
        (dir, options)
    }

    fn start(options: &Options, known: Option<ResetWish>) -> HostReset {
        HostReset::start(options, &PidNamespace::Other, BOOT, known).unwrap()
    }

    fn pulled(dir: &tempfile::TempDir) -> String {
        fs::read_to_string(dir.path().join("sysrq")).unwrap()
    }

    #[test]
    fn it_is_on_once_it_was_asked_for_and_its_trigger_is_open() {
        let (dir, options) = fixture();
        let mut reset = start(&options, None);
        assert_eq!(reset.news(), Some(ResetReport::default()));
        reset.take_wish(true, ON);
        assert!(reset.is_on());
        let report = reset.news().unwrap();
        assert_eq!((report.wish.on, report.on, report.note.as_str()), (true, true, ""));
        reset.take_wish(true, ON);
        assert_eq!(reset.news(), None, "said once");
        assert_eq!(pulled(&dir), "", "opened is not pulled");
        reset.pull().unwrap();
        assert_eq!(pulled(&dir), "b");
        assert!(reset.news().unwrap().note.as_str().contains("has not done it"));
    }

    /// As long as the record says "reset on" the peers count on it (R12).
    #[test]
    fn while_armed_it_is_not_turned_off() {
        let (_dir, options) = fixture();
        let mut reset = start(&options, ON);
        reset.take_wish(true, OFF);
        let report = reset.news().unwrap();
        assert!(reset.is_on() && report.on && report.deferred && !report.wish.on);
        reset.take_wish(true, OFF);
        assert_eq!(reset.news(), None);
        reset.take_wish(false, OFF);
        assert_eq!(reset.news(), Some(ResetReport::default()));
        assert!(!reset.is_on());
    }

    #[test]
    fn one_that_was_to_be_turned_off_and_is_wanted_again_goes_on() {
        let (_dir, options) = fixture();
        let mut reset = start(&options, ON);
        reset.take_wish(true, OFF);
        reset.take_wish(true, ON);
        let report = reset.news().unwrap();
        assert!(report.on && report.wish.on && !report.deferred);
    }

    /// Catches: a full /run that closes the trigger under a record which says "reset on".
    #[test]
    fn one_that_is_open_stays_open_when_it_cannot_be_noted_again() {
        let (_dir, options) = fixture();
        let mut reset = start(&options, ON);
        reset.take_wish(true, OFF);
        reset.note_file.path = PathBuf::from("/nonexistent/reset");
        reset.take_wish(true, ON);
        assert!(reset.is_on());
        let report = reset.news().unwrap();
        assert!(report.on && report.note.as_str().contains("noting it"), "{report:?}");
    }

    #[test]
    fn a_fencer_that_has_lost_its_page_knows_by_the_run_directory_and_only_in_the_same_boot() {
        let (_dir, options) = fixture();
        drop(start(&options, ON));
        assert!(start(&options, None).is_on());
        let other = HostReset::start(&options, &PidNamespace::Other, BootId([8; 16]), None).unwrap();
        assert!(!other.is_on());
        let mut reset = start(&options, None);
        reset.take_wish(false, OFF);
        assert!(!start(&options, None).is_on());
    }

    #[test]
    fn without_leave_there_is_none_and_it_says_why() {
        let (_dir, options) = fixture();
        let refused = |allow_reset, namespace| {
            let options = Options { sysrq_trigger: None, allow_reset, ..options.clone() };
            let mut reset = HostReset::start(&options, &namespace, BOOT, ON).unwrap();
            assert!(!reset.is_on());
            reset.news().unwrap().note.as_str().to_owned()
        };
        assert!(refused(false, PidNamespace::Initial).contains("--allow-reset"));
        assert!(refused(true, PidNamespace::Other).contains("initial pid namespace"));
        assert!(refused(true, PidNamespace::ForeignProc).contains("initial pid namespace"));
    }

    /// A test that names the kernel's own files by mistake resets nothing.
    #[test]
    fn a_test_s_trigger_is_a_plain_file_that_is_not_the_kernel_s() {
        let (_dir, options) = fixture();
        for path in ["/proc/self/comm", "/dev/null", "/nonexistent/sysrq"] {
            let options = Options { sysrq_trigger: Some(path.into()), ..options.clone() };
            let mut reset = start(&options, ON);
            assert!(!reset.is_on(), "{path}");
            assert!(!reset.news().unwrap().note.is_empty());
        }
    }

    #[test]
    fn what_is_mounted_over_the_kernel_s_is_seen() {
        let (_dir, options) = fixture();
        let why = open_kernels(options.sysrq_trigger.as_deref().unwrap()).unwrap_err();
        assert!(why.contains("mounted over it"), "{why}");
        let why = open_kernels(Path::new("/nonexistent/sysrq")).unwrap_err();
        assert!(why.contains("CONFIG_MAGIC_SYSRQ"), "{why}");
    }
}
