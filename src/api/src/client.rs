//! The client of the agent's socket: one connection a request, a deadline on each, errors that say what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use crate::drill::DrillRequest;
use crate::request::{Answer, ConfirmRequest, FenceRequest, HaRequest, ResumeRequest, SlotFreeRequest};
use crate::{ApiError, LeaseList, MAX_WAIT, SOCKET_NAME, Status, VerdictAnswer, path};

/// How long an agent may take for a question that it can answer from memory.
const QUICK: Duration = Duration::from_secs(5);
/// How long it may take for a change that needs the storage: the agent has deadlines of its own.
const SLOW: Duration = Duration::from_secs(90);
/// An answer longer than this is not the agent's.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Asks one agent.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    quick: Duration,
    slow: Duration,
}

impl Client {
    /// A client of the agent whose run directory this is (`/run/leasefence` unless configured). Connects to nothing yet.
    #[must_use]
    pub fn new(run_dir: &Path) -> Self {
        Self { socket: run_dir.join(SOCKET_NAME), quick: QUICK, slow: SLOW }
    }

    /// The same, with one deadline for everything.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.quick = deadline;
        self.slow = deadline;
        self
    }

    /// All that the agent knows.
    ///
    /// # Errors
    /// As every call here: see [`ApiError`].
    pub async fn status(&self) -> Result<Status, ApiError> {
        self.get(path::STATUS, self.quick).await
    }

    /// What the agent says of a host, at once.
    ///
    /// # Errors
    /// [`ApiError::Refused`] with status 404 when no host of this name has a slot; else as every call.
    pub async fn verdict(&self, host: &str) -> Result<VerdictAnswer, ApiError> {
        self.get(&format!("{}/{}", path::VERDICT, escape(host)), self.quick).await
    }

    /// The same, held by the agent until the verdict permits starting domains, or until `wait` (at most [`MAX_WAIT`])
    /// has passed. Ask again, naming `incarnation` of the first answer (`slot.generation`), to wait longer for the same
    /// life of that host.
    ///
    /// # Errors
    /// As [`Self::verdict`].
    pub async fn wait_verdict(
        &self,
        host: &str,
        incarnation: Option<&str>,
        wait: Duration,
    ) -> Result<VerdictAnswer, ApiError> {
        let wait = wait.min(MAX_WAIT);
        let bound = incarnation.map(|name| format!("&incarnation={}", escape(name))).unwrap_or_default();
        let target = format!("{}/{}?wait_ms={}{bound}", path::VERDICT, escape(host), wait.as_millis());
        self.get(&target, self.quick + wait).await
    }

    /// Asks a host to fence itself. The answer says that the request stands on storage, not that it was obeyed:
    /// [`Self::wait_verdict`] shows the proof.
    ///
    /// # Errors
    /// As every call.
    pub async fn fence(&self, host: &str) -> Result<Answer, ApiError> {
        self.post(path::FENCE, &FenceRequest { host: host.to_owned() }).await
    }

    /// Gives the operator's word that a host is off.
    ///
    /// # Errors
    /// [`ApiError::Refused`] while its record still changes; else as every call.
    pub async fn confirm(&self, host: &str, reason: &str) -> Result<Answer, ApiError> {
        self.post(path::CONFIRM, &ConfirmRequest { host: host.to_owned(), reason: reason.to_owned() }).await
    }

    /// Enters maintenance: this host's domains are neither fenced nor restarted.
    ///
    /// # Errors
    /// As every call.
    pub async fn disarm(&self) -> Result<Answer, ApiError> {
        self.post(path::DISARM, &()).await
    }

    /// Leaves maintenance.
    ///
    /// # Errors
    /// As every call.
    pub async fn arm(&self) -> Result<Answer, ApiError> {
        self.post(path::ARM, &()).await
    }

    /// Every host of the cluster enters maintenance, this one first; answered within some 30 s, and not `ok` unless all that are not
    /// gone have followed.
    ///
    /// # Errors
    /// [`ApiError::Refused`] with the hosts that have not followed, when this host cannot do it itself, and (404) by an agent that
    /// knows no maintenance of the whole cluster: it has done nothing; else as every call.
    pub async fn disarm_cluster(&self) -> Result<Answer, ApiError> {
        self.post(path::CLUSTER_DISARM, &()).await.map_err(|error| without_cluster(error, "disarm"))
    }

    /// Every host of the cluster leaves maintenance, this one first; answered as before.
    ///
    /// # Errors
    /// As [`Self::disarm_cluster`].
    pub async fn arm_cluster(&self) -> Result<Answer, ApiError> {
        self.post(path::CLUSTER_ARM, &()).await.map_err(|error| without_cluster(error, "arm"))
    }

    /// Gives this host's lease back.
    ///
    /// # Errors
    /// [`ApiError::Refused`] while protected domains run; else as every call.
    pub async fn release(&self) -> Result<Answer, ApiError> {
        self.post(path::RELEASE, &()).await
    }

    /// Frees the slot of a machine that is off.
    ///
    /// # Errors
    /// [`ApiError::Refused`] when the name or the slot's state does not permit it; else as every call.
    pub async fn slot_free(&self, slot: u16, machine: &str) -> Result<Answer, ApiError> {
        self.post(path::SLOT_FREE, &SlotFreeRequest { slot, machine: machine.to_owned() }).await
    }

    /// Turns the restart of a domain elsewhere on or off.
    ///
    /// # Errors
    /// As every call.
    pub async fn ha(&self, domain: &str, enabled: bool, priority: Option<u8>) -> Result<Answer, ApiError> {
        self.post(path::HA, &HaRequest { domain: domain.to_owned(), enabled, priority }).await
    }

    /// Lifts a domain's hold.
    ///
    /// # Errors
    /// As every call.
    pub async fn ha_resume(&self, domain: &str) -> Result<Answer, ApiError> {
        self.post(path::HA_RESUME, &ResumeRequest { domain: domain.to_owned() }).await
    }

    /// Rehearses a failure of this host.
    ///
    /// # Errors
    /// [`ApiError::Refused`] where drills are not allowed, or another domain would die; else as every call.
    pub async fn drill(&self, request: &DrillRequest) -> Result<Answer, ApiError> {
        self.post(path::DRILL, request).await
    }

    /// The domain leases, or those of one domain (by name or uuid).
    ///
    /// # Errors
    /// As every call.
    pub async fn leases(&self, domain: Option<&str>) -> Result<LeaseList, ApiError> {
        match domain {
            None => self.get(path::LEASES, self.quick).await,
            Some(domain) => self.get(&format!("{}/{}", path::LEASES, escape(domain)), self.quick).await,
        }
    }

    async fn get<T: DeserializeOwned>(&self, target: &str, deadline: Duration) -> Result<T, ApiError> {
        self.call(Method::GET, target, Bytes::new(), deadline).await
    }

    async fn post<T: Serialize + Sync>(&self, target: &str, body: &T) -> Result<Answer, ApiError> {
        let body = serde_json::to_vec(body).map_err(|error| protocol(target, &error))?;
        self.call(Method::POST, target, Bytes::from(body), self.slow).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
        deadline: Duration,
    ) -> Result<T, ApiError> {
        match timeout_at(Instant::now() + deadline, self.exchange(method, target, body)).await {
            Err(_) => Err(ApiError::TimedOut { path: self.socket.clone(), deadline }),
            Ok(Err(error)) => Err(error),
            Ok(Ok((status, body))) => decode(target, status, &body),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ApiError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.no_connection(error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| protocol(target, &error))?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(hyper::header::HOST, "leasefence")
            .header(hyper::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| protocol(target, &error))?;
        let response = sender.send_request(request).await.map_err(|error| protocol(target, &error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| protocol(target, &error))?
            .to_bytes();
        driver.abort();
        Ok((status, body))
    }

    fn no_connection(&self, source: io::Error) -> ApiError {
        let path = self.socket.clone();
        match source.kind() {
            io::ErrorKind::PermissionDenied => ApiError::Forbidden { path },
            _ => ApiError::NotRunning { path, source },
        }
    }
}

fn decode<T: DeserializeOwned>(target: &str, status: StatusCode, body: &[u8]) -> Result<T, ApiError> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(|error| ApiError::Protocol {
            what: target.to_owned(),
            detail: format!(
                "the answer is not what this version expects ({error}); are agent and command of one version?"
            ),
        });
    }
    let text = serde_json::from_slice::<Answer>(body)
        .map_or_else(|_| format!("the agent answered {status} to {target}"), |answer| answer.text);
    Err(ApiError::Refused { status: status.as_u16(), text })
}

/// An agent without the path has neither asked the others nor changed anything of its own host.
fn without_cluster(error: ApiError, verb: &str) -> ApiError {
    match error {
        ApiError::Refused { status: 404, .. } => ApiError::Refused {
            status: 404,
            text: format!(
                "this host's agent is of a release that knows no --cluster: nothing was done. Upgrade it, or run `leasefence {verb}` on each host"
            ),
        },
        error => error,
    }
}

fn protocol(what: &str, detail: &impl ToString) -> ApiError {
    ApiError::Protocol { what: what.to_owned(), detail: detail.to_string() }
}

/// Percent-encodes what does not belong to a path segment.
fn escape(segment: &str) -> String {
    segment
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(future)
    }

    #[test]
    fn without_an_agent_the_error_says_how_to_look_for_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let error = block_on(Client::new(dir.path()).status()).expect_err("nothing listens");
        let text = error.to_string();
        assert!(text.contains("no agent is running here"), "{text}");
        assert!(text.contains("systemctl status leasefence-agent"), "{text}");
    }

    #[test]
    fn an_agent_that_is_stopped_costs_the_deadline_and_not_more() {
        let dir = tempfile::tempdir().expect("a directory");
        let _silent = std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET_NAME)).expect("a socket");
        let client = Client::new(dir.path()).with_deadline(Duration::from_millis(100));
        let error = block_on(client.status()).expect_err("it never answers");
        assert!(matches!(error, ApiError::TimedOut { .. }), "{error}");
    }

    #[test]
    fn an_agent_of_a_release_without_it_is_told_from_one_that_refuses() {
        let refused = |status| ApiError::Refused { status, text: "host-2 is stalled".to_owned() };
        let text = without_cluster(refused(404), "disarm").to_string();
        assert!(text.contains("nothing was done") && text.contains("`leasefence disarm` on each"), "{text}");
        let text = without_cluster(refused(409), "disarm").to_string();
        assert!(text.contains("host-2 is stalled"), "{text}");
    }

    #[test]
    fn names_are_escaped_so_that_they_stay_one_segment() {
        assert_eq!(escape("host-3.example"), "host-3.example");
        assert_eq!(escape("a/b?c d"), "a%2Fb%3Fc%20d");
    }
}
