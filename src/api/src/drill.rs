//! What `leasefence drill` asks of the agent: to do to itself what a failure would do. It can only end a lease, never keep one.

use serde::{Deserialize, Serialize};

/// Asks the agent to rehearse a failure. Refused unless its configuration says `drill = "allowed"`, while this host holds no lease,
/// and while a protected domain runs here that is not in `domains`: it would be destroyed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillRequest {
    /// What to do.
    pub act: DrillAct,
    /// The uuids of the domains of this host that may die of it.
    pub domains: Vec<String>,
}

/// What an agent does to itself for a drill.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DrillAct {
    /// Issue no read and no write of the lease file for this long, as if the storage stood still. What is asked of it meanwhile is issued
    /// afterwards. An agent that ends forgets it.
    StallStorage {
        /// How long, in milliseconds; at most twice this host's `takeover`.
        for_ms: u64,
    },
    /// End this host's lease now, as a fence request of a peer would.
    EndLease,
}
