//! `leasefence init`: makes a lease file, or writes one on a block device.
//!
//! Everything is checked before anything is written: what lies there already, whether other hosts can share the place,
//! and, with `--force`, whether the cluster that it belongs to is still alive.

mod judge;
mod place;
mod watch;
mod write;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use leasefence_core::format::init::InitParameters;
use leasefence_core::format::{Header, Policy};
use leasefence_core::ids::{ClusterId, FileId};
use leasefence_say::say;

use crate::outcome::{CliError, Exit, Outcome};
use place::Target;

/// What is said below the options.
const AFTER: &str = "\
On NFS, give the path of a file in the mounted export; on iSCSI or Fibre Channel, the block device that all hosts see. \
A new file gets the mode 0600. Whatever is not empty is refused; --force replaces a lease file of the same cluster \
only, after watching every record in it for as long as that cluster's own hosts would before calling one gone.";

/// `leasefence init`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct InitArgs {
    /// The lease file to make, or a block device to write on.
    pub(crate) path: PathBuf,
    /// The cluster's name: every host's configuration must carry the same.
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: String,
    /// How many hosts the file holds, at most 256. It cannot grow later.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) max_hosts: u16,
    /// 4096, or 512 on a block device with 512-byte logical sectors; the device's own when not given.
    #[arg(long, value_name = "BYTES")]
    pub(crate) sector_size: Option<u32>,
    /// Into how many pages the leases of domains are spread, at most 16; a host has 62 domains in each.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) pages: u8,
    /// Which hosts without a hardware watchdog may be called gone when their lease has expired.
    #[arg(long, value_name = "CLASSES", value_delimiter = ',')]
    pub(crate) accept: Vec<Accept>,
    /// Make a test cluster: hosts that cannot reset themselves, and several "hosts" on one machine, are allowed.
    #[arg(long)]
    pub(crate) test: bool,
    /// Replace a lease file of the same cluster, if nothing in it moves.
    #[arg(long)]
    pub(crate) force: bool,
    /// The longest that the storage may hold a write that it has received before applying it: no host may assume less.
    #[arg(long, value_name = "T", value_parser = humantime::parse_duration, default_value = "1s")]
    pub(crate) min_write_drain: Duration,
    /// The longest that a host may ask its peers to wait before they call it gone.
    #[arg(long, value_name = "T", value_parser = humantime::parse_duration, default_value = "15min")]
    pub(crate) longest_verdict_after: Duration,
}

/// A watchdog's class that proves less than a hardware watchdog does.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Accept {
    /// A software watchdog of the host's own kernel.
    Soft,
    /// The watchdog of a virtual machine that is a host.
    Virtual,
    /// No watchdog.
    None,
}

impl Accept {
    fn policy(self) -> Policy {
        match self {
            Self::Soft => Policy::ACCEPT_SOFT,
            Self::Virtual => Policy::ACCEPT_VIRTUAL,
            Self::None => Policy::ACCEPT_NONE,
        }
    }
}

/// Makes the lease file.
pub(crate) fn run(args: &InitArgs) -> Outcome {
    let mut target = Target::examine(&args.path, args.test)?;
    let header = header(args, target.sector_size(args.sector_size)?)?;
    target.check_size(&header)?;
    judge::permit(&mut target, args, &header)?;
    write::write(target, &header)?;
    say!("{}", report(args, &header));
    Ok(Exit::Done)
}

fn header(args: &InitArgs, sector_size: u32) -> Result<Header, CliError> {
    let test = if args.test { Policy::TEST } else { Policy::default() };
    let parameters = InitParameters {
        file_id: FileId(random()?),
        cluster_id: ClusterId(random()?),
        cluster_name: args.cluster.clone(),
        sector_size,
        max_hosts: args.max_hosts,
        pages: args.pages,
        policy: args.accept.iter().fold(test, |policy, class| policy.with(class.policy())),
        min_write_drain: args.min_write_drain,
        longest_verdict_after: args.longest_verdict_after,
    };
    parameters.header().map_err(CliError::from_display)
}

/// What was made, and in words what it permits.
fn report(args: &InitArgs, header: &Header) -> String {
    let layout = &header.layout;
    let mut lines = vec![format!(
        "{}: lease file of cluster '{}' for {} hosts, {} MiB",
        args.path.display(),
        header.cluster_name,
        layout.max_hosts(),
        layout.total_size() >> 20,
    )];
    let meanings = [
        (Policy::ACCEPT_SOFT, SOFT),
        (Policy::ACCEPT_VIRTUAL, VIRTUAL),
        (Policy::ACCEPT_NONE, NONE),
        (Policy::TEST, TEST),
    ];
    let permitted = meanings.iter().filter(|(bit, _)| header.policy.contains(*bit));
    lines.extend(permitted.map(|(_, meaning)| (*meaning).to_owned()));
    lines.push("Next: name it as `lease` in /etc/leasefence/leasefence.toml on each host, then `leasefence config check`.".into());
    lines.join("\n")
}

const SOFT: &str = "\
--accept soft: a host with a software watchdog counts as gone when its lease has expired, if its own configuration \
permits it too. A crashed kernel does not run that watchdog: if such a host hangs without dying, its domains may still \
write when they are started elsewhere.";
const VIRTUAL: &str = "\
--accept virtual: a virtual machine as a host counts as gone when its lease has expired, if its own configuration \
permits it too. Never pause, snapshot, suspend or migrate such a machine: its guests would run again, and write, before \
anything in it could notice.";
const NONE: &str = "\
--accept none: a host without any watchdog counts as gone when its lease has expired, if its own configuration permits \
it too. Nothing resets it then: if its fencer cannot kill, its domains run twice.";
const TEST: &str = "\
--test: a test cluster. Hosts that cannot reset themselves, and several \"hosts\" on one machine, are allowed. Put no \
domain on it whose disk you would miss.";

fn random<const N: usize>() -> Result<[u8; N], CliError> {
    use std::io::Read;
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| CliError::Other(format!("reading /dev/urandom: {error}")))?;
    Ok(bytes)
}
