//! Looks at the agent, and asks it.

use std::thread;
use std::time::Duration;

use leasefence_api::{ApiError, Client, Status};

use super::{AgentSeen, Eye, LOOK, Sight, now_ns};

/// An agent that has not answered by then is stopped, or gone.
const DEADLINE: Duration = Duration::from_secs(1);

/// Starts to look; ends when nobody listens any more.
///
/// # Errors
/// When there is no thread to be had.
pub(super) fn start(client: &Client, eye: Eye) -> std::io::Result<()> {
    let client = client.clone().with_deadline(DEADLINE);
    let look = move || {
        loop {
            let sight = match status(&client) {
                Ok(status) => Sight::Agent(seen(&status)),
                Err(_) => Sight::Silent,
            };
            if !eye.sees(sight) {
                return;
            }
            thread::sleep(LOOK);
        }
    };
    thread::Builder::new().name("agent".to_owned()).spawn(look).map(drop)
}

/// What the agent knows.
///
/// # Errors
/// When it does not answer.
pub fn status(client: &Client) -> Result<Status, ApiError> {
    ask(client.status())
}

/// Waits for an answer.
///
/// # Errors
/// The answer's.
pub fn ask<T>(question: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| ApiError::Protocol { what: "anything".to_owned(), detail: error.to_string() })?;
    runtime.block_on(question)
}

fn seen(status: &Status) -> AgentSeen {
    let ago = |age_ms: Option<u64>| age_ms.map(|age| now_ns().saturating_sub(age * 1_000_000));
    AgentSeen {
        state: status.own.state.clone(),
        generation: status.own.generation.unwrap_or_default(),
        started_unix_ms: status.agent.started_unix_ms,
        latched_ns: ago(status.own.fencer.latched_end_age_ms),
        clean_ns: ago(status.own.fencer.clean_age_ms),
        libvirt: status.hypervisor.connected,
    }
}
