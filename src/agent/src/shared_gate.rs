//! The core's start gate, shared with the threads that start: a start may have waited for shared storage or libvirt for
//! minutes since it was permitted. Whoever asks never waits.

use std::sync::{Arc, Mutex, PoisonError};

use leasefence_core::member::StartGate;

/// The gate as the half says that was published last.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedGate(Arc<Mutex<StartGate>>);

impl SharedGate {
    /// Opens or closes it.
    pub(crate) fn set(&self, gate: StartGate) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = gate;
    }

    /// As it is now.
    pub(crate) fn get(&self) -> StartGate {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
