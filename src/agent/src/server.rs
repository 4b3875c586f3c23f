//! The local API: HTTP and JSON over a Unix socket. It asks the main loop and shapes the answers; it holds no state.
//!
//! Everybody whom the socket's mode lets in may read; a change is made for root and for the agent's own user only, by the
//! peer's credentials, which the kernel vouches for.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path as Segment, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use leasefence_api::{
    Answer, ConfirmRequest, DrillRequest, FenceRequest, HaRequest, MAX_WAIT, ResumeRequest, SlotFreeRequest,
    VerdictAnswer, VerdictClass, path,
};
use leasefence_core::ids::{Generation, Incarnation, Slot};
use leasefence_core::member::{ClusterAsk, Request};
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::time::{Instant, timeout_at};

use crate::ask::{Ask, Asker};

/// Group may read; what changes something is checked by credentials.
const SOCKET_MODE: u32 = 0o660;
/// How long a change may take before the asker is told that it goes on without them.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(80);

/// Who asks.
#[derive(Clone, Copy, Debug)]
struct Peer {
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|credentials| credentials.uid()) }
    }
}

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// Another agent answers there.
    #[error(
        "another leasefence-agent listens on {0}: it goes on, this one ends. Stop it first, or give this one its own run_dir"
    )]
    Taken(String),
    /// Any other failure.
    #[error(
        "listening on {path}: {source}; the run directory must exist and belong to root (packages make it by tmpfiles.d)"
    )]
    Listen { path: String, source: io::Error },
}

/// Binds the socket; a socket on which nobody listens any more is replaced.
pub(crate) fn bind(socket: &Path) -> Result<UnixListener, ServerError> {
    bind_with(socket, SOCKET_MODE)
}

/// The same, with another mode.
pub(crate) fn bind_with(socket: &Path, mode: u32) -> Result<UnixListener, ServerError> {
    let shown = socket.display().to_string();
    let listen = |source| ServerError::Listen { path: shown.clone(), source };
    if std::os::unix::net::UnixStream::connect(socket).is_ok() {
        return Err(ServerError::Taken(shown));
    }
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(listen(error)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(listen)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(mode)).map_err(listen)?;
    Ok(listener)
}

/// Serves until the process ends.
pub(crate) async fn serve(listener: UnixListener, asker: Asker) -> io::Result<()> {
    let router = Router::new()
        .route(path::STATUS, get(status))
        .route(&format!("{}/{{host}}", path::VERDICT), get(verdict))
        .route(path::FENCE, post(fence))
        .route(path::CONFIRM, post(confirm))
        .route(path::DISARM, post(disarm))
        .route(path::ARM, post(arm))
        .route(path::CLUSTER_DISARM, post(disarm_cluster))
        .route(path::CLUSTER_ARM, post(arm_cluster))
        .route(path::RELEASE, post(release))
        .route(path::SLOT_FREE, post(slot_free))
        .route(path::HA, post(ha))
        .route(path::HA_RESUME, post(ha_resume))
        .route(path::DRILL, post(drill))
        .route(path::LEASES, get(all_leases))
        .route(&format!("{}/{{domain}}", path::LEASES), get(leases_of))
        .route(path::METRICS, get(metrics))
        .fallback(async || refusal(StatusCode::NOT_FOUND, "there is no such path in this version of the API"))
        .with_state(asker);
    axum::serve(listener, router.into_make_service_with_connect_info::<Peer>()).await
}

fn refusal(status: StatusCode, text: impl Into<String>) -> Response {
    (status, Json(Answer { ok: false, text: text.into() })).into_response()
}

fn ending() -> Response {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "the agent is about to end; ask again once it is back")
}

async fn status(State(asker): State<Asker>) -> Response {
    match asker.ask(Ask::Status).await {
        Some(status) => Json(*status).into_response(),
        None => ending(),
    }
}

async fn metrics(State(asker): State<Asker>) -> Response {
    match asker.ask(Ask::Metrics).await {
        Some(text) => ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        None => ending(),
    }
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct VerdictQuery {
    #[serde(default)]
    wait_ms: u64,
    incarnation: Option<String>,
}

async fn verdict(
    State(asker): State<Asker>,
    Segment(host): Segment<String>,
    Query(query): Query<VerdictQuery>,
) -> Response {
    let bound = match query.incarnation.as_deref().map(incarnation) {
        None => None,
        Some(Some(incarnation)) => Some(incarnation),
        Some(None) => return refusal(StatusCode::BAD_REQUEST, "incarnation must be SLOT.GENERATION"),
    };
    let deadline = Instant::now() + Duration::from_millis(query.wait_ms).min(MAX_WAIT);
    match wait_for_verdict(asker, host, bound, deadline).await {
        None => ending(),
        Some(Ok(answer)) => Json(answer).into_response(),
        Some(Err(text)) => refusal(StatusCode::NOT_FOUND, text),
    }
}

/// Asks again after each change until the verdict permits something. It binds the life that the first answer names: a
/// host that came back meanwhile is another one.
async fn wait_for_verdict(
    mut asker: Asker,
    host: String,
    mut bound: Option<Incarnation>,
    deadline: Instant,
) -> Option<Result<VerdictAnswer, String>> {
    loop {
        asker.revision.mark_unchanged();
        let (name, life) = (host.clone(), bound);
        let answer = asker.ask(|answer| Ask::Verdict { host: name, incarnation: life, answer }).await?;
        let Ok(said) = &answer else { return Some(answer) };
        if said.class == VerdictClass::MayStart {
            return Some(answer);
        }
        bound = Some(Incarnation { slot: Slot(said.slot), generation: Generation(said.generation) });
        match timeout_at(deadline, asker.revision.changed()).await {
            Err(_) => return Some(answer),
            Ok(changed) => changed.ok()?,
        }
    }
}

fn incarnation(text: &str) -> Option<Incarnation> {
    let (slot, generation) = text.split_once('.')?;
    Some(Incarnation { slot: Slot(slot.parse().ok()?), generation: Generation(generation.parse().ok()?) })
}

async fn all_leases(State(asker): State<Asker>) -> Response {
    leases(asker, None).await
}

async fn leases_of(State(asker): State<Asker>, Segment(domain): Segment<String>) -> Response {
    leases(asker, Some(domain)).await
}

async fn leases(asker: Asker, domain: Option<String>) -> Response {
    match asker.ask(|answer| Ask::Leases { domain, answer }).await {
        None => ending(),
        Some(Ok(list)) => Json(list).into_response(),
        Some(Err(text)) => refusal(StatusCode::SERVICE_UNAVAILABLE, text),
    }
}

type Body<T> = Result<Json<T>, JsonRejection>;

async fn fence(asker: State<Asker>, peer: ConnectInfo<Peer>, body: Body<FenceRequest>) -> Response {
    change(asker, peer, body, |FenceRequest { host }| Request::Fence { host }).await
}

async fn confirm(asker: State<Asker>, peer: ConnectInfo<Peer>, body: Body<ConfirmRequest>) -> Response {
    change(asker, peer, body, |ConfirmRequest { host, reason }| Request::Confirm { host, reason }).await
}

async fn slot_free(asker: State<Asker>, peer: ConnectInfo<Peer>, body: Body<SlotFreeRequest>) -> Response {
    change(asker, peer, body, |SlotFreeRequest { slot, machine }| Request::SlotFree { slot, machine }).await
}

async fn disarm(asker: State<Asker>, peer: ConnectInfo<Peer>) -> Response {
    change(asker, peer, Ok(Json(())), |()| Request::Disarm).await
}

async fn arm(asker: State<Asker>, peer: ConnectInfo<Peer>) -> Response {
    change(asker, peer, Ok(Json(())), |()| Request::Arm).await
}

async fn disarm_cluster(asker: State<Asker>, peer: ConnectInfo<Peer>) -> Response {
    change(asker, peer, Ok(Json(())), |()| Request::Cluster(ClusterAsk::Disarm)).await
}

async fn arm_cluster(asker: State<Asker>, peer: ConnectInfo<Peer>) -> Response {
    change(asker, peer, Ok(Json(())), |()| Request::Cluster(ClusterAsk::Arm)).await
}

async fn release(asker: State<Asker>, peer: ConnectInfo<Peer>) -> Response {
    change(asker, peer, Ok(Json(())), |()| Request::Release).await
}

async fn change<T>(
    State(asker): State<Asker>,
    peer: ConnectInfo<Peer>,
    body: Body<T>,
    request: impl FnOnce(T) -> Request,
) -> Response {
    permitted(peer, body, |body| answered(&asker, |answer| Ask::Change(request(body), answer))).await
}

async fn ha(State(asker): State<Asker>, peer: ConnectInfo<Peer>, body: Body<HaRequest>) -> Response {
    permitted(peer, body, |HaRequest { domain, enabled, priority }| {
        answered(&asker, move |answer| Ask::Ha { domain, enabled, priority, answer })
    })
    .await
}

async fn ha_resume(
    State(asker): State<Asker>,
    peer: ConnectInfo<Peer>,
    body: Body<ResumeRequest>,
) -> Response {
    permitted(peer, body, |ResumeRequest { domain }| {
        answered(&asker, move |answer| Ask::Resume { domain, answer })
    })
    .await
}

async fn drill(State(asker): State<Asker>, peer: ConnectInfo<Peer>, body: Body<DrillRequest>) -> Response {
    permitted(peer, body, |request| answered(&asker, move |answer| Ask::Drill { request, answer })).await
}

/// Goes on only for root or the agent's own user, with a body that can be read.
async fn permitted<T, F>(
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Body<T>,
    go_on: impl FnOnce(T) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let own = nix::unistd::Uid::effective().as_raw();
    if !peer.uid.is_some_and(|uid| uid == 0 || uid == own) {
        return refusal(
            StatusCode::FORBIDDEN,
            "only root may change something: reading is allowed to the socket's group",
        );
    }
    match body {
        Ok(Json(body)) => go_on(body).await,
        Err(rejection) => refusal(StatusCode::BAD_REQUEST, rejection.body_text()),
    }
}

async fn answered(
    asker: &Asker,
    question: impl FnOnce(tokio::sync::oneshot::Sender<Answer>) -> Ask,
) -> Response {
    match timeout_at(Instant::now() + CHANGE_TIMEOUT, asker.ask(question)).await {
        Err(_) => refusal(
            StatusCode::GATEWAY_TIMEOUT,
            "it is not done yet: the storage or a peer does not answer; it goes on, see `leasefence status`",
        ),
        Ok(None) => ending(),
        Ok(Some(answer)) if answer.ok => Json(answer).into_response(),
        Ok(Some(answer)) => (StatusCode::CONFLICT, Json(answer)).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use leasefence_api::{Client, HostState};
    use tokio::sync::{mpsc, watch};

    use super::*;

    #[test]
    fn an_incarnation_reads_as_slot_and_generation() {
        let expected = Incarnation { slot: Slot(3), generation: Generation(17) };
        assert_eq!(incarnation("3.17"), Some(expected));
        assert_eq!(incarnation("3"), None);
        assert_eq!(incarnation("3.x"), None);
    }

    fn said(generation: u32, class: VerdictClass) -> VerdictAnswer {
        VerdictAnswer {
            host: "host-3".to_owned(),
            slot: 3,
            generation,
            incarnation: format!("3.{generation}"),
            state: if class == VerdictClass::MayStart { HostState::Gone } else { HostState::Stalled },
            class,
            evidence: None,
            since_unix_ms: None,
            reason: String::new(),
            verdict_left_ms: None,
        }
    }

    /// The host stalls in generation 7, is seen as generation 8 after the first change, and only then is 7 proven gone.
    async fn host_that_reboots(mut asks: mpsc::Receiver<Ask>, revision: watch::Sender<u64>) {
        let mut questions = 0;
        while let Some(ask) = asks.recv().await {
            let Ask::Verdict { incarnation, answer, .. } = ask else { continue };
            questions += 1;
            let asked_of = incarnation.map_or(if questions == 1 { 7 } else { 8 }, |life| life.generation.0);
            let class = if questions > 2 && asked_of == 7 {
                VerdictClass::MayStart
            } else {
                VerdictClass::NotProvable
            };
            drop(answer.send(Ok(said(asked_of, class))));
            revision.send_modify(|revision| *revision += 1);
        }
    }

    #[test]
    fn a_verdict_that_is_waited_for_is_about_the_life_that_was_there_when_the_question_came() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let verdict = runtime.block_on(async {
            let dir = tempfile::tempdir().expect("a directory");
            let listener = bind(&dir.path().join(leasefence_api::SOCKET_NAME)).expect("a socket");
            let (asks, questions) = mpsc::channel(8);
            let (revision, changed) = watch::channel(0);
            tokio::spawn(serve(listener, Asker { asks, revision: changed }));
            tokio::spawn(host_that_reboots(questions, revision));
            Client::new(dir.path()).wait_verdict("host-3", None, Duration::from_secs(5)).await
        });
        let verdict = verdict.expect("an answer");
        assert_eq!((verdict.generation, verdict.class), (7, VerdictClass::MayStart));
    }

    #[test]
    fn a_socket_that_somebody_listens_on_is_not_taken_over_and_a_left_over_one_is() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _inside = runtime.enter();
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("agent.sock");
        let first = bind(&socket).expect("nobody is there");
        assert!(matches!(bind(&socket), Err(ServerError::Taken(_))));
        drop(first);
        bind(&socket).expect("the one that was left over is replaced");
    }
}
