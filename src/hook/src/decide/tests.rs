use std::fs;
use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use super::*;

const UUID: &str = "6c656173-6566-4e63-a000-000000000003";

struct Host {
    directory: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let this = Self { directory };
        let place = this.directory.path().display();
        let config = format!("lease = \"/x\"\nrun_dir = \"{place}\"\nstate_dir = \"{place}\"\n");
        fs::write(this.config(), config).expect("it is written");
        this
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("leasefence.toml")
    }

    fn listen(&self) -> UnixListener {
        UnixListener::bind(self.directory.path().join(SOCKET_NAME)).expect("a socket")
    }

    /// An agent that answers each question like this, and the questions that it got.
    fn answering(&self, answer: Answer) -> mpsc::Receiver<Question> {
        let (listener, (questions, asked)) = (self.listen(), mpsc::channel());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let question = Question::read(&mut stream).expect("a question");
                stream.write_all(&answer.to_bytes()).expect("the hook waits");
                questions.send(question).ok();
            }
        });
        asked
    }

    fn decide(&self, operation: &str, phase: &str) -> Decision {
        decide(&self.config(), arguments(&["web-1", operation, phase, "-"]), definition())
    }

    fn noted(&self) -> Vec<String> {
        crate::take_later(self.directory.path()).expect("it can be read")
    }
}

fn arguments(words: &[&str]) -> Arguments {
    Arguments::new(words.iter().map(OsString::from))
}

fn definition() -> io::Cursor<Vec<u8>> {
    io::Cursor::new(
        format!("<domain type='kvm'>\n  <name>web-1</name>\n  <uuid>{UUID}</uuid>\n</domain>").into_bytes(),
    )
}

/// Libvirt's pipe, which nobody closes.
struct Endless;

impl Read for Endless {
    fn read(&mut self, _into: &mut [u8]) -> io::Result<usize> {
        thread::sleep(Duration::from_secs(60));
        Ok(0)
    }
}

fn why(decision: Decision) -> String {
    match decision {
        Decision::Deny(why) => why,
        Decision::Allow => panic!("it was allowed"),
    }
}

#[test]
fn the_agents_answer_counts_at_each_gate_and_the_question_is_libvirts() {
    for (answer, allowed) in [(Answer::Allow, true), (Answer::Deny("busy: host-2 owns it".to_owned()), false)]
    {
        let host = Host::new();
        let asked = host.answering(answer);
        for (word, operation) in [
            ("prepare", Operation::Prepare),
            ("start", Operation::Start),
            ("started", Operation::Started),
            ("migrate", Operation::Migrate),
            ("restore", Operation::Restore),
        ] {
            let decision = host.decide(word, "begin");
            assert_eq!(decision == Decision::Allow, allowed, "{word}");
            if !allowed {
                assert_eq!(why(decision), "leasefence: busy: host-2 owns it");
            }
            let question = asked.recv().expect("it was asked");
            assert_eq!((question.operation, question.name.as_slice()), (operation, &b"web-1"[..]));
            assert_eq!(question.definition, definition().into_inner());
        }
        assert_eq!(host.noted(), [""; 0], "neither is started again by the agent");
    }
}

#[test]
fn what_nobody_needs_to_be_asked_about_is_allowed_with_nobody_there() {
    let host = Host::new();
    for (operation, phase) in [
        ("reconnect", "begin"),
        ("restore", "end"),
        ("stopped", "end"),
        ("attach", "begin"),
        ("prepare", "end"),
        ("an operation of tomorrow", "begin"),
        ("", ""),
    ] {
        assert_eq!(
            decide(&host.config(), arguments(&["a", operation, phase, "-"]), Endless),
            Decision::Allow
        );
    }
    assert_eq!(decide(&host.config(), arguments(&[]), Endless), Decision::Allow);
}

#[test]
fn a_release_is_told_and_never_denied() {
    let host = Host::new();
    assert_eq!(host.decide("release", "end"), Decision::Allow);
    let asked = host.answering(Answer::Deny("what for?".to_owned()));
    assert_eq!(host.decide("release", "end"), Decision::Allow);
    assert_eq!(asked.recv().expect("it was told").operation, Operation::Release);
}

/// Catches: a host that is guarded lets a domain start because its agent is away.
#[test]
fn an_agent_that_is_away_denies_and_the_start_is_noted() {
    let host = Host::new();
    let denied = why(host.decide("prepare", "begin"));
    assert!(denied.contains("systemctl start leasefence-agent") && denied.contains("hook.sock"), "{denied}");
    assert_eq!(host.noted(), [UUID]);
    assert!(matches!(host.decide("start", "begin"), Decision::Deny(_)));
    assert_eq!(host.noted(), [""; 0], "libvirt asks about a start once");
}

/// Catches: an agent that is stopped in the middle of an answer counts as one that allows.
#[test]
fn an_agent_that_dies_before_it_answers_denies() {
    let host = Host::new();
    let listener = host.listen();
    thread::spawn(move || listener.incoming().for_each(drop));
    assert!(matches!(host.decide("prepare", "begin"), Decision::Deny(_)));
}

#[test]
fn an_agent_that_is_stopped_denies_at_the_deadline_also_while_libvirt_keeps_its_pipe_open() {
    let host = Host::new();
    let _stopped = host.listen();
    let begun = Instant::now();
    let denied = why(host.decide("prepare", "begin"));
    assert!(denied.contains("within 4 s"), "{denied}");
    assert!(begun.elapsed() >= DEADLINE);
    let decision = decide(&host.config(), arguments(&["web-1", "start", "begin", "-"]), Endless);
    assert!(matches!(decision, Decision::Deny(_)));
}

#[test]
fn a_host_that_was_never_configured_denies_nothing_and_asks_nobody() {
    let host = Host::new();
    fs::write(host.config(), "watchdog = \"auto\"\n#lease = \"/mnt/a.lease\"\n").expect("it is written");
    assert_eq!(host.decide("prepare", "begin"), Decision::Allow);
    fs::remove_file(host.config()).expect("it is there");
    assert_eq!(host.decide("prepare", "begin"), Decision::Allow);
    assert_eq!(host.noted(), [""; 0]);
}

#[test]
fn what_is_denied_for_now_is_noted_for_the_agent() {
    let host = Host::new();
    let _asked = host.answering(Answer::DenyForNow("joining".to_owned()));
    assert_eq!(why(host.decide("prepare", "begin")), "leasefence: joining");
    assert_eq!(host.noted(), [UUID]);
}

/// Of the configuration as it is.
fn exempt(host: &Host) {
    let configured = Configured::read(&host.config()).expect("a lease");
    ExemptFile::of(&configured).write(&[UUID.to_owned()]).expect("it is written");
}

/// Catches: a domain that has got a disk on shared storage since the agent's last list, and that the list lets start beside the one
/// that runs on another host.
#[test]
fn an_agent_that_is_there_is_asked_of_an_exempt_domain_too() {
    let host = Host::new();
    exempt(&host);
    let asked = host.answering(Answer::Deny("its exemption does not count".to_owned()));
    for operation in ["prepare", "start", "started", "migrate", "restore"] {
        assert_eq!(why(host.decide(operation, "begin")), "leasefence: its exemption does not count");
        asked.recv().expect("it was asked");
    }
}

/// Catches: a host without an agent on which nothing starts that is exempt: its socket is still there, or it hangs.
#[test]
fn an_agent_that_ends_in_its_answer_or_is_silent_is_away() {
    let host = Host::new();
    exempt(&host);
    let listener = host.listen();
    thread::spawn(move || listener.incoming().take(1).for_each(drop));
    assert_eq!(host.decide("prepare", "begin"), Decision::Allow);
    assert_eq!(host.decide("start", "begin"), Decision::Allow, "nobody listens any more");
    assert_eq!(host.noted(), [""; 0]);
    let host = Host::new();
    exempt(&host);
    let _stopped = host.listen();
    let begun = Instant::now();
    assert_eq!(host.decide("prepare", "begin"), Decision::Allow);
    assert!(begun.elapsed() >= EXEMPT_DEADLINE, "it may have been about to say no");
}

#[test]
fn an_exempt_domain_starts_while_the_agent_is_away_and_no_other() {
    let host = Host::new();
    exempt(&host);
    for operation in ["prepare", "start", "started", "migrate"] {
        assert_eq!(host.decide(operation, "begin"), Decision::Allow, "{operation}");
    }
    let crafted = format!("<domain><name>a</name><metadata><uuid>{UUID}</uuid></metadata></domain>");
    let decision =
        decide(&host.config(), arguments(&["a", "prepare", "begin", "-"]), io::Cursor::new(crafted));
    assert!(matches!(decision, Decision::Deny(_)));
}

#[test]
fn how_long_a_question_takes() {
    let host = Host::new();
    let _asked = host.answering(Answer::Allow);
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(host.decide("prepare", "begin"), Decision::Allow);
    }
    println!("a question and its answer: {:?}", begun.elapsed() / 100);
}
