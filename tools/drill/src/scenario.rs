//! What can be rehearsed.

use clap::ValueEnum;
use serde::Serialize;

/// A rehearsal. The order is that of `--all`: the mildest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// libvirtd is stopped for longer than a lease lasts: nobody may be fenced.
    LibvirtdHung,
    /// The agent is killed: it must be back before the lease ends, and nobody may be fenced.
    AgentKilled,
    /// This host is fenced as an operator would: it must prove it at once.
    PlannedFence,
    /// The agent's storage stands still past the lease's end.
    StorageStall,
    /// The agent is stopped past the lease's end, and then let on.
    AgentFrozen,
    /// The fencer is stopped until the watchdog resets this machine.
    WatchdogBite,
}

impl Scenario {
    /// All, in the order of `--all`.
    pub const ALL: [Self; 6] = [
        Self::LibvirtdHung,
        Self::AgentKilled,
        Self::PlannedFence,
        Self::StorageStall,
        Self::AgentFrozen,
        Self::WatchdogBite,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LibvirtdHung => "libvirtd-hung",
            Self::AgentKilled => "agent-killed",
            Self::PlannedFence => "planned-fence",
            Self::StorageStall => "storage-stall",
            Self::AgentFrozen => "agent-frozen",
            Self::WatchdogBite => "watchdog-bite",
        }
    }

    /// What is done and what must come of it, in a sentence.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::LibvirtdHung => {
                "libvirtd is stopped (SIGSTOP) for longer than a lease lasts: the lease is kept and no guest dies"
            }
            Self::AgentKilled => {
                "the agent is killed (SIGKILL): it is started again before the lease ends, and no guest dies"
            }
            Self::PlannedFence => {
                "this host's lease is ended as by `leasefence fence`: guests die, the host proves it, a peer starts them"
            }
            Self::StorageStall => {
                "the agent's storage stands still: the lease ends, guests die, a peer starts them, the host comes back"
            }
            Self::AgentFrozen => {
                "the agent is stopped (SIGSTOP) past the lease's end: the fencer alone kills, a peer starts the guests"
            }
            Self::WatchdogBite => {
                "the fencer is stopped until the watchdog resets this machine; needs --i-accept-a-reset"
            }
        }
    }

    /// Whether this host's lease ends by it, and with it every protected domain.
    #[must_use]
    pub fn ends_lease(self) -> bool {
        !matches!(self, Self::LibvirtdHung | Self::AgentKilled)
    }

    /// Whether this host proves by itself that its lease's end was kept to.
    #[must_use]
    pub fn is_proven(self) -> bool {
        self.ends_lease() && self != Self::WatchdogBite
    }

    /// Whether protected domains die by it, or would if the promise were not kept: then the operator names them.
    #[must_use]
    pub fn risks_guests(self) -> bool {
        self != Self::LibvirtdHung
    }

    /// Whether the agent does it to itself, which its configuration must allow.
    #[must_use]
    pub fn needs_switch(self) -> bool {
        self == Self::StorageStall
    }
}
