//! `leasefence drill`: rehearses fencing on real hosts, with a canary in the place of the operator's guests, and measures what comes of it
//! beside what the terms promise.
//!
//! It runs on the host that shall fail, acts through its agent or by signals, and learns of the peers through the lease file, which it
//! only reads. It decides nothing about leases: what it does can only end one (R8).

pub mod args;
pub mod bite;
pub mod canary;
pub mod exit;
pub mod ground;
pub mod hold;
pub mod judge;
pub mod plan;
pub mod play;
pub mod process;
pub mod promise;
pub mod report;
pub mod run;
pub mod scenario;
pub mod virsh;
pub mod watch;

pub use args::{DrillCommand, ReportArgs, RunArgs};
pub use run::run;
pub use scenario::Scenario;
