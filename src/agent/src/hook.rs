//! Answers libvirt's hook, on a socket of its own that only root may use: what it asks, whose domain that is, and where its disks
//! lie is found out here; whether it may start the member decides. A hook that has gone gets no answer, and its start no permission.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use leasefence_core::member::{DomainReport, HookOperation, HookQuestion};
use leasefence_hook::{Answer, Operation, Question, SOCKET_NAME};
use leasefence_hypervisor::{Definition, Domain, Storage, Storages};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::event::{Event, Events, send};
use crate::exemptions::{Exemptions, Standing};
use crate::server::{self, ServerError};

/// Nobody but root's libvirt asks here.
const SOCKET_MODE: u32 = 0o600;
/// Questions at one time; libvirt itself works on twenty calls at once. A further one is denied at once.
const MOST_QUESTIONS: usize = 64;
/// How long a question may take to come, and how long an answer is waited for: the hook itself gives up sooner.
const PATIENCE: Duration = Duration::from_secs(5);

/// A question for the main loop.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The domain's name, for people.
    pub(crate) name: String,
    /// What is asked.
    pub(crate) question: HookQuestion,
    /// Why the exemption that was declared for it does not count, where it does not.
    pub(crate) not_exempt: Option<String>,
    /// What would be stored for other hosts, once the start is permitted. Without secrets: libvirt gives its hook none.
    pub(crate) definition: Option<Definition>,
    /// The way back. Closed once the hook has gone.
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// What is needed to understand a question.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Which exemptions count.
    pub(crate) exemptions: Arc<Exemptions>,
    /// Which storage disks lie on; shared with the lists of libvirt.
    pub(crate) storages: Arc<Storages>,
    /// True when local storage counts as one kernel's.
    pub(crate) one_kernel: Arc<AtomicBool>,
}

/// Binds the socket.
pub(crate) fn bind(run_dir: &Path) -> Result<UnixListener, ServerError> {
    server::bind_with(&run_dir.join(SOCKET_NAME), SOCKET_MODE)
}

/// Answers until the process ends.
pub(crate) async fn serve(listener: UnixListener, reader: Arc<Reader>, events: Events) {
    let places = Arc::new(Semaphore::new(MOST_QUESTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: those that wait are heard as soon as there is one.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (reader, events) = (Arc::clone(&reader), events.clone());
        let place = Arc::clone(&places).try_acquire_owned();
        tokio::spawn(async move {
            let answered = match &place {
                Ok(_) => answer(stream, reader, &events).await,
                Err(_) => crowded(stream).await,
            };
            if let Err(error) = answered {
                tracing::debug!("hook: {error}");
            }
        });
    }
}

async fn answer(mut stream: UnixStream, reader: Arc<Reader>, events: &Events) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != nix::unistd::Uid::effective().as_raw() {
        return refuse(stream, "only root's libvirt asks here").await;
    }
    let bytes = match timeout(PATIENCE, receive(&mut stream)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(why)) => return refuse(stream, &why).await,
        Err(_) => return refuse(stream, "the question did not come in time").await,
    };
    // Looking for storages may wait for one that is dead.
    let (understood, read) = oneshot::channel();
    let work = move || drop(understood.send(Question::read(&mut bytes.as_slice()).map(|q| reader.read(&q))));
    thread::Builder::new().name("hook".to_owned()).spawn(work)?;
    let (answer, mut answered) = oneshot::channel();
    match read.await {
        Ok(Ok(Ok(Understood { name, question, not_exempt, definition }))) => {
            send(events, Event::Hook(Asked { name, question, not_exempt, definition, answer }));
        }
        Ok(Ok(Err(why))) => return refuse(stream, &why).await,
        Ok(Err(error)) => return refuse(stream, &error.to_string()).await,
        Err(_) => return refuse(stream, "the agent could not read the question").await,
    }
    tokio::select! {
        said = &mut answered => match said {
            Ok(answer) => stream.write_all(&answer.to_bytes()).await,
            Err(_) => refuse(stream, "the agent is about to end").await,
        },
        // Nothing more comes from a hook that waits: it has gone.
        _ = stream.read_u8() => Ok(()),
        () = tokio::time::sleep(PATIENCE) => Ok(()),
    }
}

async fn receive(stream: &mut UnixStream) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    loop {
        let missing = Question::missing(&bytes).map_err(|error| error.to_string())?;
        if missing == 0 {
            return Ok(bytes);
        }
        let limit = u64::try_from(missing).unwrap_or(u64::MAX);
        let read = (&mut *stream).take(limit).read_to_end(&mut bytes).await;
        if read.map_err(|error| error.to_string())? < missing {
            return Err("the question broke off".to_owned());
        }
    }
}

/// The question is read all the same: an answer to one that was not is lost when the connection ends.
async fn crowded(mut stream: UnixStream) -> io::Result<()> {
    drop(timeout(PATIENCE, receive(&mut stream)).await);
    refuse(stream, "too many domains are being started at once: start it again").await
}

async fn refuse(mut stream: UnixStream, why: &str) -> io::Result<()> {
    stream.write_all(&Answer::Deny(why.to_owned()).to_bytes()).await
}

/// What was asked, read: as [`Asked`] has it.
#[derive(Debug)]
struct Understood {
    name: String,
    question: HookQuestion,
    not_exempt: Option<String>,
    definition: Option<Definition>,
}

impl Reader {
    /// What a question is about. What cannot be read is denied: it might be a protected domain.
    fn read(&self, question: &Question) -> Result<Understood, String> {
        let xml = std::str::from_utf8(&question.definition)
            .map_err(|_| "its definition is not UTF-8".to_owned())?;
        let domain = Domain::from_definition(xml).map_err(|error| error.to_string())?;
        if domain.name.as_bytes() != question.name {
            return Err(format!("its definition is of another domain, {}", domain.name));
        }
        let Standing { exempt, said, .. } = match question.operation {
            Operation::Release => Standing::default(),
            _ => self.exemptions.at_start(&domain, &self.storages),
        };
        let operation = match question.operation {
            Operation::Prepare => HookOperation::Prepare(Box::new(self.report(&domain, exempt))),
            Operation::Start => HookOperation::Start,
            Operation::Started => HookOperation::Started,
            Operation::Migrate => HookOperation::Migrate(Box::new(self.report(&domain, exempt))),
            Operation::Restore => HookOperation::Restore,
            Operation::Release => HookOperation::Release,
        };
        let definition = match question.operation {
            Operation::Prepare | Operation::Migrate => Definition::from_live(xml, None).ok(),
            _ => None,
        };
        let question = HookQuestion { domain: domain.id, exempt, operation };
        Ok(Understood { name: domain.name, question, not_exempt: said.filter(|_| !exempt), definition })
    }

    fn report(&self, domain: &Domain, exempt: bool) -> DomainReport {
        let storages = self.storages.of(&domain.disks, self.one_kernel.load(Ordering::Relaxed));
        let answered = storages.iter().filter(|storage| storage.is_known());
        let mut targets: Vec<_> = answered.map(|storage| storage.target.clone()).collect();
        targets.dedup();
        let mut report = domain.report(0, targets);
        report.unanswered = !storages.iter().all(Storage::is_known);
        report.protection.exempt = exempt;
        report
    }
}

#[cfg(test)]
mod tests;
