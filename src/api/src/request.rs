//! What can be asked of an agent, and its answer. Only root (or the agent's own user) may ask for a change.

use serde::{Deserialize, Serialize};

/// Asks a host to fence itself. Its agent decides whether it obeys: the asker's own lease must be live.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FenceRequest {
    /// Its name, as in its record.
    pub host: String,
}

/// An operator's word that a host is off.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmRequest {
    /// Its name, as in its record.
    pub host: String,
    /// Who says so and why: it goes to the journal.
    pub reason: String,
}

/// Frees the slot of a machine that is off.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotFreeRequest {
    /// Which slot.
    pub slot: u16,
    /// The machine that its claim names, as the operator typed it after `--machine-is-off`.
    pub machine: String,
}

/// Turns the restart of a domain elsewhere on or off: it is kept in the domain's metadata.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaRequest {
    /// The domain's name or uuid.
    pub domain: String,
    /// On or off.
    pub enabled: bool,
    /// Among HA domains, higher goes first; the domain's present one (or 100) when absent.
    pub priority: Option<u8>,
}

/// Lifts a domain's hold, so that it is recovered again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {
    /// The domain's name or uuid.
    pub domain: String,
}

/// The end of a request, and the body of every answer that is not a success.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it was done.
    pub ok: bool,
    /// What happened, or why not and what to do.
    pub text: String,
}
