//! From libvirt's arguments to allow or deny: what was never configured is allowed, everything else asked of the agent, within a
//! deadline. No answer is a denial (R9), but of what was exempt when an agent looked last.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::wire::LONGEST_DEFINITION_BYTES;
use crate::{Answer, Configured, ExemptFile, Operation, Question, SOCKET_NAME, note_later, uuid_of};

/// From the hook's beginning to its answer. Below the 5 s that the agent gives libvirt's answers, which wait for this one.
pub const DEADLINE: Duration = Duration::from_secs(4);
/// The fencer's marker: whether this host guards a lease.
const MARKER: &str = "/run/leasefence/state";
/// The same for a domain that starts without an answer too: libvirt asks three times in a start.
const EXEMPT_DEADLINE: Duration = Duration::from_secs(2);
/// The same where nothing hangs on the answer.
const SHORT_DEADLINE: Duration = Duration::from_secs(1);

/// What becomes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Exit status 0.
    Allow,
    /// Exit status 1, and this sentence on stderr, which libvirt puts into its error.
    Deny(String),
}

/// Libvirt's arguments: domain, operation, phase, and one more that nothing hangs on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arguments {
    name: OsString,
    operation: Option<Operation>,
}

impl Arguments {
    /// What follows the program's name. Operations that are not asked about, also those of tomorrow, are allowed.
    #[must_use]
    pub fn new(arguments: impl IntoIterator<Item = OsString>) -> Self {
        let mut arguments = arguments.into_iter();
        let name = arguments.next().unwrap_or_default();
        let mut word = || arguments.next().and_then(|word| word.into_string().ok()).unwrap_or_default();
        let (operation, phase) = (word(), word());
        Self { name, operation: Operation::of(&operation, &phase) }
    }
}

/// Decides. `stdin` is read only where the definition is needed.
#[must_use]
pub fn decide(config: &Path, arguments: Arguments, stdin: impl Read + Send + 'static) -> Decision {
    let Some(operation) = arguments.operation else { return Decision::Allow };
    let Some(configured) = Configured::read_or_armed(config, Path::new(MARKER)) else {
        return Decision::Allow;
    };
    let deadline = if operation.can_be_denied() { DEADLINE } else { SHORT_DEADLINE };
    let (answer, answered) = mpsc::channel();
    let (begun, mut exempt) = (Instant::now(), false);
    // On a thread: neither connecting to an agent that takes no connections nor libvirt's pipe has a deadline of its own.
    let work = move || {
        let decision = ask(&configured, arguments.name, operation, stdin, &answer);
        drop(answer.send(Word::Decision(decision)));
    };
    let asking = thread::Builder::new().spawn(work);
    let decision = loop {
        if let Err(error) = &asking {
            break deny(&format!("no thread could be started to ask the agent ({error})"));
        }
        let deadline = if exempt { deadline.min(EXEMPT_DEADLINE) } else { deadline };
        match answered.recv_timeout(deadline.saturating_sub(begun.elapsed())) {
            Ok(Word::Exempt) => exempt = true,
            Ok(Word::Decision(decision)) => break decision,
            // An agent that hangs is as good as none.
            Err(RecvTimeoutError::Timeout) if exempt => break Decision::Allow,
            Err(RecvTimeoutError::Timeout) => {
                break deny(&format!(
                    "this host's agent has not answered within {} s: its storage may be slow, or it hangs; see `leasefence status`, and start the domain again",
                    deadline.as_secs()
                ));
            }
            Err(RecvTimeoutError::Disconnected) => break deny("the question to this host's agent broke off"),
        }
    };
    if operation.can_be_denied() { decision } else { Decision::Allow }
}

/// What the thread that asks has to say.
enum Word {
    /// The list of exempt domains, as an agent wrote it last, names this one.
    Exempt,
    Decision(Decision),
}

fn ask(
    configured: &Configured,
    name: OsString,
    operation: Operation,
    stdin: impl Read,
    tell: &Sender<Word>,
) -> Decision {
    let mut definition = Vec::new();
    if let Err(error) = stdin.take(u64::from(LONGEST_DEFINITION_BYTES) + 1).read_to_end(&mut definition) {
        return deny(&format!("its definition could not be read from libvirt ({error})"));
    }
    let uuid = uuid_of(&definition).map(str::to_owned);
    // The list is what the last look found. An agent that runs looks at the definition of now, so it is asked first.
    let exempt = uuid.as_deref().is_some_and(|uuid| ExemptFile::of(configured).names(uuid));
    if exempt {
        drop(tell.send(Word::Exempt));
    }
    let question = Question { operation, name: name.into_vec(), definition };
    let later = || {
        if let Some(uuid) = uuid.as_deref().filter(|_| operation == Operation::Prepare) {
            // Without the note it is not started again by itself, and denied all the same.
            note_later(&configured.run_dir, uuid).ok();
        }
    };
    match put(&configured.run_dir, &question) {
        Ok(Answer::Allow) => Decision::Allow,
        Ok(Answer::Deny(why)) => deny(&why),
        Ok(Answer::DenyForNow(why)) => {
            later();
            deny(&why)
        }
        Err(_) if exempt => Decision::Allow,
        Err(why) => {
            later();
            deny(&format!(
                "this host's agent does not answer ({why}), and without it no protected domain starts: `systemctl start leasefence-agent`, or exempt the domain in leasefence.toml"
            ))
        }
    }
}

fn put(run_dir: &Path, question: &Question) -> Result<Answer, String> {
    let socket = run_dir.join(SOCKET_NAME);
    let mut stream =
        UnixStream::connect(&socket).map_err(|error| format!("{}: {error}", socket.display()))?;
    // An agent that refuses to read on has answered already.
    let written = question.write(&mut stream).map_err(|error| format!("asking it: {error}"));
    Answer::read(&mut stream).map_err(|error| written.err().unwrap_or_else(|| format!("its answer: {error}")))
}

fn deny(why: &str) -> Decision {
    Decision::Deny(format!("leasefence: {why}"))
}

#[cfg(test)]
mod tests;
