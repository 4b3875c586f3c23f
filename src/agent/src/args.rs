//! The command line of the agent.

use std::path::PathBuf;

use clap::Parser;

const AFTER: &str = "\
The agent is started by its unit, beside leasefence-fencer: it waits for the fencer's page before it writes anything, and \
ends with an error, which its unit answers with a restart, when something is wrong that only an operator can mend.

Stopping it (SIGTERM) gives nothing back: the lease runs on in the fencer's page, and an agent that starts again before its \
end keeps the incarnation. So an upgrade restarts it, within the lease's ttl. A host that shall leave the cluster is told so: \
`leasefence release` (refused while protected domains run), or `leasefence disarm` for maintenance with domains running. An \
armed host whose agent stays away destroys its domains at the lease's end.

Files: /etc/leasefence/leasefence.toml (see leasefence.toml(5)), and in the run directory agent.sock (the local API), \
fencer.sock (the page) and hook.sock (where libvirt's hook asks).";

/// Holds this host's lease, watches the other hosts of the cluster, and restarts the domains of those that are provably gone.
#[derive(Parser, Debug)]
#[command(name = "leasefence-agent", version, about, after_long_help = AFTER, max_term_width = 100)]
pub(crate) struct Args {
    /// The configuration; `leasefence config check` explains what follows from it.
    #[arg(long, value_name = "PATH", default_value = leasefence_config::DEFAULT_PATH)]
    pub(crate) config: PathBuf,
    /// Print this page in roff, for packaging.
    #[arg(long, hide = true)]
    pub(crate) generate_man: bool,
}
