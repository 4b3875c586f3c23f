//! `leasefence verdict` and the waiting part of `leasefence fence`: one question, one sentence, one exit code.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use leasefence_api::{Client, HostState, MAX_WAIT, VerdictAnswer, VerdictClass};
use leasefence_say::say;

use crate::args::{FenceArgs, VerdictArgs};
use crate::outcome::{CliError, Exit, Outcome};
use crate::text::{clock_time, duration_ms};

/// Between two lines of progress where nobody looks at a terminal.
const QUIET_PROGRESS: Duration = Duration::from_secs(10);

/// Asks once, or waits.
pub(crate) async fn run(client: &Client, args: &VerdictArgs) -> Outcome {
    let answer = if args.wait {
        wait(client, &args.host, None, args.timeout).await?
    } else {
        client.verdict(&args.host).await?
    };
    show(&answer, args.json)?;
    Ok(Exit::Verdict(answer.class))
}

/// Asks a host to fence itself, and with `--wait` waits for the proof. The proof is about the incarnation that was
/// there before the request.
pub(crate) async fn fence(client: &Client, args: &FenceArgs) -> Outcome {
    let before = client.verdict(&args.host).await?;
    let answer = client.fence(&args.host).await?;
    say!("{}", answer.text);
    if !answer.ok {
        return Ok(Exit::Failed);
    }
    if !args.wait {
        return Ok(Exit::Done);
    }
    let answer = wait(client, &args.host, Some(before.incarnation), Some(args.timeout)).await?;
    show(&answer, false)?;
    Ok(Exit::Verdict(answer.class))
}

/// Prints the sentence, or the JSON.
pub(crate) fn show(answer: &VerdictAnswer, json: bool) -> Result<(), CliError> {
    if json {
        say!("{}", serde_json::to_string(answer).map_err(CliError::from_display)?);
    } else {
        say!("{}", sentence(answer));
    }
    Ok(())
}

async fn wait(
    client: &Client,
    host: &str,
    incarnation: Option<String>,
    timeout: Option<Duration>,
) -> Result<VerdictAnswer, CliError> {
    let started = Instant::now();
    let mut bound = incarnation;
    let mut shown = Progress::default();
    loop {
        let left = timeout.map_or(MAX_WAIT, |timeout| timeout.saturating_sub(started.elapsed()));
        // Short polls, so that a person sees the seconds go by; the agent still answers the moment it can prove.
        let answer = client.wait_verdict(host, bound.as_deref(), left.min(Duration::from_secs(1))).await?;
        if answer.class == VerdictClass::MayStart || left.is_zero() {
            shown.end();
            return Ok(answer);
        }
        bound.get_or_insert_with(|| answer.incarnation.clone());
        shown.line(&answer);
    }
}

/// What is told while waiting: on a terminal one line that changes, else a line now and then.
#[derive(Default)]
struct Progress {
    last: Option<Instant>,
}

impl Progress {
    fn line(&mut self, answer: &VerdictAnswer) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{}", sentence(answer));
        } else if self.last.is_none_or(|last| last.elapsed() >= QUIET_PROGRESS) {
            eprintln!("waiting: {}", sentence(answer));
        } else {
            return;
        }
        self.last = Some(Instant::now());
    }

    fn end(&self) {
        if self.last.is_some() && std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}

/// The product: one sentence about one incarnation.
fn sentence(answer: &VerdictAnswer) -> String {
    let VerdictAnswer { host, reason, .. } = answer;
    match (answer.state, &answer.evidence, answer.since_unix_ms) {
        (HostState::Gone, Some(evidence), Some(since)) => {
            format!(
                "{host} is {evidence}, since {}, because {reason}: its domains may be started",
                clock_time(since)
            )
        }
        (HostState::Stalled | HostState::Fencing, ..) => {
            let when = answer
                .verdict_left_ms
                .filter(|left| *left > 0)
                .map_or_else(String::new, |left| format!("; a verdict is possible in {}", duration_ms(left)));
            format!("{host} is {}: {reason}{when}", answer.state.as_str())
        }
        (state, ..) => format!("{host} is {}: {reason}", state.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(state: HostState) -> VerdictAnswer {
        VerdictAnswer {
            host: "host-3".to_owned(),
            slot: 3,
            generation: 7,
            incarnation: "3.7".to_owned(),
            state,
            class: VerdictClass::NotProvable,
            evidence: None,
            since_unix_ms: None,
            reason: "its record does not advance".to_owned(),
            verdict_left_ms: Some(4200),
        }
    }

    #[test]
    fn only_a_gone_host_s_sentence_says_that_its_domains_may_be_started() {
        for state in [
            HostState::Joining,
            HostState::Alive,
            HostState::Fencing,
            HostState::Stalled,
            HostState::Disarmed,
            HostState::Unknown,
        ] {
            assert!(!sentence(&answer(state)).contains("may be started"), "{state:?}");
        }
        let gone = VerdictAnswer {
            evidence: Some("fenced".to_owned()),
            since_unix_ms: Some(0),
            class: VerdictClass::MayStart,
            ..answer(HostState::Gone)
        };
        assert!(sentence(&gone).ends_with("its domains may be started"));
    }

    #[test]
    fn a_stalled_host_s_sentence_says_when_a_verdict_is_possible() {
        assert_eq!(
            sentence(&answer(HostState::Stalled)),
            "host-3 is stalled: its record does not advance; a verdict is possible in 4.2 s"
        );
    }
}
