//! The classes of faults, and which of them are mixed with each other.

/// The classes of faults, which can be chosen on the command line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, clap::ValueEnum)]
pub enum Class {
    /// Cuts, stalls and slowness of the path to the lease storage.
    Storage,
    /// Writes that return an error and land later, acknowledgements lost, reads that fail or come late.
    Late,
    /// Torn, corrupt, zeroed, misdirected sectors.
    Damage,
    /// Slewed clocks and wall steps (drift is always there).
    Clocks,
    /// Agent, fencer or both stopped, at any point.
    Pauses,
    /// Agent and fencer crash and restart.
    Crashes,
    /// Power loss of one or all, fast reboots.
    Power,
    /// Unkillable guests, crashing guests, storage of guests cut or stalled, failing starts, hung libvirt.
    Guests,
    /// Fences, confirmations, maintenance, stops, starts, snapshots, slots freed.
    Operator,
    /// Changes of terms.
    Terms,
    /// Cloned machines, replaced lease files, mad agents.
    Identity,
    /// Only stalls within the stated tolerance: nobody may be fenced.
    Tolerated,
    /// Hosts frozen at the last moment that the rules allow, with clocks at the edge of the bound.
    Edge,
    /// A host dies, and faults strike those who take over in just those seconds.
    Takeover,
    /// Machines come, go, lose their slots and come back, from the beginning on.
    Join,
    /// A scene: one host stops, at the most unlucky moment, with clocks at the edge of the bound.
    Moments,
    /// A scene: the same, right after another host has read its last renewal.
    Ticks,
    /// A scene: reads of the others are on their way for long.
    Reads,
    /// A scene: agents are restarted while another host stalls, and before it stops.
    Restarts,
    /// A scene: a host's ttl is changed, and its path is cut about then.
    Changes,
    /// A scene: all boot at once over slow paths, with few slots; slots are freed under claimants.
    Boots,
    /// A scene: planned fences, and what stands in their way.
    Fences,
    /// A scene: a host dies, and the others race for its domains over slow paths.
    Races,
    /// A scene: a host is cut about its first renewal, or when its fencer has died.
    Arming,
    /// A scene: a host with many domains dies, and their images stay locked for a while.
    Losses,
    /// A scene: machines race for the slot that is left, and claims and records are long on their way.
    Claims,
    /// A scene: a slot is freed more than once while another machine waits for it.
    Frees,
    /// A scene: a host dies whose domains lie on two storages each, and one of these applies late what it has received.
    Drains,
    /// A scene: agents die in the middle of a write of the page, which is then read by their fencers and successors.
    Tears,
    /// A scene: hosts without a watchdog that reset themselves, guests that cannot be killed, and triggers that cannot be opened.
    Resets,
    /// A scene: a lease page is on its way while its host is fenced and joins again.
    Rejoins,
    /// A scene: renewals are on their way while the ttl is raised.
    Raises,
    /// A scene: a want is on its way while another host takes the domain and gives it back.
    Looks,
    /// A scene: the write by which a host takes a lease returns an error, and lands at once or later.
    Takes,
    /// A scene: a host that takes over stops at its want, and others have old entries of the domain; users move domains.
    Drops,
    /// A scene: a start hangs, and its host is fenced meanwhile.
    Hangs,
    /// A scene: a user starts a domain while the agent is stopped, and its last writes wait in the host's kernel.
    Strangers,
    /// A scene: users start domains through libvirt's hook, on several hosts at once, while hosts are fenced, cut and lost.
    Users,
    /// A scene: the whole cluster is asked into maintenance and out of it, while hosts fail that ask or follow.
    Maintenance,
    /// A scene: guests die between two looks of their fencer, and are started again under the token of their first start.
    Reruns,
    /// A scene: domains are migrated, while hosts, agents and libvirts fail at each step of that.
    Migrations,
    /// A scene: sources of migrations are resumed beside their destinations and killed, and no barrier can show them quiet.
    Sources,
    /// A scene: paths that lead to other files, and records of other machines.
    Files,
    /// Beyond the stated assumptions: stale reads, writes done twice. Violations are reported, and expected.
    Beyond,
    /// Outside the promise: suspended and paused hosts. Violations are reported, and expected.
    Outside,
}

impl Class {
    /// Those that are mixed with each other by default.
    pub const MIXED: [Self; 11] = [
        Self::Storage,
        Self::Late,
        Self::Damage,
        Self::Clocks,
        Self::Pauses,
        Self::Crashes,
        Self::Power,
        Self::Guests,
        Self::Operator,
        Self::Terms,
        Self::Identity,
    ];

    /// True for a scene: short, directed, and over before all is well again.
    #[must_use]
    pub fn is_scene(self) -> bool {
        use Class as C;
        matches!(
            self,
            C::Moments
                | C::Ticks
                | C::Reads
                | C::Restarts
                | C::Changes
                | C::Boots
                | C::Fences
                | C::Races
                | C::Arming
                | C::Losses
                | C::Claims
                | C::Frees
                | C::Drains
                | C::Resets
                | C::Tears
                | C::Rejoins
                | C::Raises
                | C::Looks
                | C::Takes
                | C::Drops
                | C::Hangs
                | C::Strangers
                | C::Users
                | C::Reruns
                | C::Maintenance
                | C::Migrations
                | C::Sources
                | C::Files
        )
    }

    /// True when a violation is what the class is to show: its faults break a stated assumption.
    #[must_use]
    pub fn breaks_assumptions(self) -> bool {
        matches!(self, Self::Beyond | Self::Outside)
    }
}
