//! The agent's local API: the types of its JSON, and a client for its Unix socket.
//!
//! The JSON is a public interface: words are stable, units are part of a field's name (`lease_left_ms`), fields are
//! only ever added within `/v1`. Nothing here decides anything, and nothing here touches the lease file.

mod client;
mod drill;
mod error;
mod lease;
mod request;
mod status;
mod verdict;
pub mod words;

pub use client::Client;
pub use drill::{DrillAct, DrillRequest};
pub use error::ApiError;
pub use lease::{LeaseEntry, LeaseList};
pub use request::{Answer, ConfirmRequest, FenceRequest, HaRequest, ResumeRequest, SlotFreeRequest};
pub use status::{
    AgentInfo, ClusterInfo, Decision, Domain, FenceInfo, FencerInfo, HookAnswer, HookInfo, Host,
    HypervisorInfo, Maintenance, OwnLease, Recovery, ResetInfo, Status, Storage, Terms, WatchdogInfo,
};
pub use verdict::{HostState, VerdictAnswer, VerdictClass};

/// The version of the paths and of the JSON under them.
pub const API_VERSION: u32 = 1;
/// The socket's name within the run directory.
pub const SOCKET_NAME: &str = "agent.sock";
/// Longest that one long-poll for a verdict may take; a client that waits longer asks again.
pub const MAX_WAIT: std::time::Duration = std::time::Duration::from_secs(30);

/// The API's paths.
pub mod path {
    /// `GET`: [`super::Status`].
    pub const STATUS: &str = "/v1/status";
    /// `GET` with `/HOST`: [`super::VerdictAnswer`]; `?wait_ms=N` holds the answer until it may be acted upon, or
    /// until N milliseconds have passed.
    pub const VERDICT: &str = "/v1/verdict";
    /// `POST` of [`super::FenceRequest`].
    pub const FENCE: &str = "/v1/fence";
    /// `POST` of [`super::ConfirmRequest`].
    pub const CONFIRM: &str = "/v1/confirm";
    /// `POST` without a body: enter maintenance.
    pub const DISARM: &str = "/v1/disarm";
    /// `POST` without a body: leave maintenance.
    pub const ARM: &str = "/v1/arm";
    /// `POST` without a body: every host of the cluster enters maintenance. An agent that does not know it answers 404.
    pub const CLUSTER_DISARM: &str = "/v1/cluster/disarm";
    /// `POST` without a body: every host of the cluster leaves maintenance. As before.
    pub const CLUSTER_ARM: &str = "/v1/cluster/arm";
    /// `POST` without a body: give the lease back; refused while protected domains run.
    pub const RELEASE: &str = "/v1/release";
    /// `POST` of [`super::SlotFreeRequest`].
    pub const SLOT_FREE: &str = "/v1/slot/free";
    /// `POST` of [`super::HaRequest`].
    pub const HA: &str = "/v1/ha";
    /// `POST` of [`super::ResumeRequest`].
    pub const HA_RESUME: &str = "/v1/ha/resume";
    /// `POST` of [`super::DrillRequest`]: rehearse a failure; refused unless the configuration allows it.
    pub const DRILL: &str = "/v1/drill";
    /// `GET`: [`super::LeaseList`]; with `/DOMAIN` only the entries of that domain (name or uuid).
    pub const LEASES: &str = "/v1/leases";
    /// `GET`: the metrics, in Prometheus' text form.
    pub const METRICS: &str = "/metrics";
}
