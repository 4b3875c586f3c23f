//! The command line: few words, no library. It says what it does not understand and what to do about it.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::finder;

/// What the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    Run(Options),
    /// Be the finder: a fencer has started this process.
    Find,
    Help,
    Version,
}

/// How to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Options {
    /// Where `fencer.sock` and `state` lie.
    pub(crate) run_dir: PathBuf,
    /// Where libvirt keeps NAME.pid and NAME.xml of running domains.
    pub(crate) libvirt_run_dir: PathBuf,
    /// Run even where other people's domains may be in sight.
    pub(crate) allow_initial_pid_namespace: bool,
    /// Leave NFS and iSCSI as they are after the kill: they stay unproven.
    pub(crate) no_quiesce: bool,
    /// Reset this host where its agent asks for that: the packaged unit's alone.
    pub(crate) allow_reset: bool,
    /// A plain file in the place of `/proc/sysrq-trigger`, for tests.
    pub(crate) sysrq_trigger: Option<PathBuf>,
}

/// The command line cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("{0} wants a path after it; see leasefence-fencer --help")]
    NoValue(&'static str),
    #[error("unknown argument {0:?}; see leasefence-fencer --help")]
    Unknown(OsString),
}

pub(crate) const HELP: &str = "\
leasefence-fencer: kills this host's domains at the end of its lease, whatever else hangs.

Usage: leasefence-fencer [OPTIONS]

Options:
      --run-dir DIR                    where fencer.sock and state lie [default: /run/leasefence]
      --libvirt-run-dir DIR            where libvirt keeps the pid files of running domains
                                       [default: /run/libvirt/qemu]
      --allow-initial-pid-namespace    run in the machine's initial pid namespace, where it will kill every domain
                                       of this machine at the lease's end; the packaged unit gives this
      --no-quiesce                     leave NFS and iSCSI as they are after the kill, and give no receipt. For tests and
                                       emergencies: what the domains had under way may land later
      --allow-reset                    reset this machine by sysrq where its agent's configuration wants that (fence.reset)
                                       and the end of a lease cannot be shown to have fenced it; the packaged unit gives
                                       this, and it counts in the machine's initial pid namespace only
  -h, --help                           this text
  -V, --version                        the version

It kills nothing before an agent has armed it. Stopping it while it is armed lets nothing go: the marker in the run
directory stays, and whoever starts it again goes on guarding. To let go: leasefence disarm.

Exit status: 0 stopped while it guarded nothing; 3 stopped while it guarded a lease; 1 an error; 2 usage.
";

impl Default for Options {
    fn default() -> Self {
        Self {
            run_dir: PathBuf::from("/run/leasefence"),
            libvirt_run_dir: PathBuf::from("/run/libvirt/qemu"),
            allow_initial_pid_namespace: false,
            no_quiesce: false,
            allow_reset: false,
            sysrq_trigger: None,
        }
    }
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, UsageError> {
    let mut options = Options::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--run-dir") => options.run_dir = directory("--run-dir", args.next())?,
            Some("--libvirt-run-dir") => {
                options.libvirt_run_dir = directory("--libvirt-run-dir", args.next())?;
            }
            Some("--allow-initial-pid-namespace") => options.allow_initial_pid_namespace = true,
            Some("--no-quiesce") => options.no_quiesce = true,
            Some("--allow-reset") => options.allow_reset = true,
            // Not in the help: it is for tests, and nobody's host is reset by it.
            Some("--sysrq-trigger") => {
                options.sysrq_trigger = Some(directory("--sysrq-trigger", args.next())?);
            }
            // Nor is this: nobody but the fencer itself starts it so.
            Some(finder::ARGUMENT) => return Ok(Request::Find),
            Some("-h" | "--help") => return Ok(Request::Help),
            Some("-V" | "--version") => return Ok(Request::Version),
            _ => return Err(UsageError::Unknown(arg)),
        }
    }
    Ok(Request::Run(options))
}

fn directory(name: &'static str, value: Option<OsString>) -> Result<PathBuf, UsageError> {
    value.filter(|value| !value.is_empty()).map(PathBuf::from).ok_or(UsageError::NoValue(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Request, UsageError> {
        parse(args.iter().map(OsString::from))
    }

    #[test]
    fn options_are_read_and_what_is_unknown_is_named() {
        let all = [
            "--run-dir",
            "/a",
            "--libvirt-run-dir",
            "/b",
            "--allow-initial-pid-namespace",
            "--no-quiesce",
            "--allow-reset",
            "--sysrq-trigger",
            "/c",
        ];
        let expected = Options {
            run_dir: "/a".into(),
            libvirt_run_dir: "/b".into(),
            allow_initial_pid_namespace: true,
            no_quiesce: true,
            allow_reset: true,
            sysrq_trigger: Some("/c".into()),
        };
        assert_eq!(parsed(&all), Ok(Request::Run(expected)));
        assert_eq!(parsed(&[]), Ok(Request::Run(Options::default())));
        assert_eq!(parsed(&["--help"]), Ok(Request::Help));
        assert_eq!(parsed(&["--finder"]), Ok(Request::Find));
        assert!(!HELP.contains("--finder"));
        assert_eq!(parsed(&["--run-dir"]), Err(UsageError::NoValue("--run-dir")));
        assert_eq!(parsed(&["--frob"]), Err(UsageError::Unknown("--frob".into())));
    }
}
