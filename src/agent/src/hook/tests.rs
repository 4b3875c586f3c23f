use std::io::Cursor;
use std::path::Path;

use leasefence_core::ids::DomainId;
use leasefence_core::member::HookOperation;
use leasefence_hook::{Arguments, Decision, decide};
use leasefence_hypervisor::FakeHypervisor;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

const DOMAIN: DomainId = DomainId([7; 16]);

fn reader(exempt: &[&str]) -> Reader {
    Reader {
        exemptions: Arc::new(Exemptions::new(exempt.iter().map(|word| (*word).to_owned()).collect())),
        storages: Arc::new(Storages::new()),
        one_kernel: Arc::default(),
    }
}

fn question(operation: Operation, name: &str) -> Question {
    let definition = FakeHypervisor::sample_xml(DOMAIN, "web-1", "/nowhere/disk").into_bytes();
    Question { operation, name: name.as_bytes().to_vec(), definition }
}

#[test]
fn what_is_exempt_is_known_by_name_by_uuid_and_from_its_metadata() {
    let uuid = DOMAIN.to_string();
    for (exempt, expected) in [(vec![], false), (vec!["web-1"], true), (vec![uuid.as_str()], true)] {
        for operation in [Operation::Prepare, Operation::Start, Operation::Started, Operation::Migrate] {
            let read = reader(&exempt).read(&question(operation, "web-1")).expect("it is one");
            let asked = (read.name.as_str(), read.question.domain, read.question.exempt, read.not_exempt);
            assert_eq!(asked, ("web-1", DOMAIN, expected, None));
        }
    }
    let guard = format!(
        "<metadata><a:guard xmlns:a='{}' exempt='yes'/></metadata>",
        leasefence_hypervisor::GUARD_NAMESPACE
    );
    let xml = String::from_utf8(question(Operation::Prepare, "web-1").definition).expect("text");
    let definition = xml.replace("<devices>", &format!("{guard}<devices>")).into_bytes();
    let own = Question { definition, ..question(Operation::Prepare, "web-1") };
    let read = reader(&[]).read(&own).expect("it is one");
    assert!(read.question.exempt);
}

/// Catches: a domain that others can write, and that starts without its lease since somebody declared it exempt.
#[test]
fn what_is_declared_exempt_and_writes_what_others_reach_is_not_and_why_is_said() {
    const RBD: &str = "<disk type='network'><source protocol='rbd' name='a'/><target dev='vdb'/></disk>";
    for (more, expected) in [(RBD.to_owned(), false), (RBD.replace("<target", "<readonly/><target"), true)] {
        let ask = question(Operation::Prepare, "web-1");
        let xml = String::from_utf8(ask.definition.clone()).expect("text");
        let definition = xml.replace("</devices>", &format!("{more}</devices>")).into_bytes();
        let read = reader(&["web-1"]).read(&Question { definition, ..ask }).expect("it is one");
        let HookOperation::Prepare(report) = read.question.operation else { panic!("it was that") };
        assert_eq!((read.question.exempt, report.protection.exempt), (expected, expected), "{more}");
        assert_eq!(read.not_exempt.is_some_and(|why| why.contains("network rbd a")), !expected);
    }
}

/// Catches: a protected domain that is let through under an exempt one's name.
#[test]
fn a_definition_of_another_domain_than_the_arguments_name_is_refused() {
    let why =
        reader(&["web-2"]).read(&question(Operation::Prepare, "web-2")).expect_err("web-1 is not exempt");
    assert!(why.contains("web-1"), "{why}");
    for definition in [&b""[..], b"<domain>", b"\xff", b"<network/>"] {
        let question = Question { definition: definition.to_vec(), ..question(Operation::Prepare, "web-1") };
        assert!(reader(&[]).read(&question).is_err(), "{definition:?}");
    }
}

#[test]
fn a_start_is_told_with_what_its_definition_says_and_a_storage_that_is_not_known_as_such() {
    let read = reader(&[]).read(&question(Operation::Prepare, "web-1")).expect("it is one");
    let (asked, definition) = (read.question, read.definition);
    let HookOperation::Prepare(report) = asked.operation else { panic!("{asked:?}") };
    let hash = definition.expect("it can be stored").chain_hash;
    assert_eq!((report.memory_mib, report.vcpus, report.definition_hash), (16, 1, hash));
    assert!(!report.running && report.unanswered && report.storages.is_empty());
}

struct Agent {
    directory: tempfile::TempDir,
    inbox: UnboundedReceiver<Event>,
}

impl Agent {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let text =
            format!("lease = \"/x\"\nrun_dir = \"{0}\"\nstate_dir = \"{0}\"\n", directory.path().display());
        std::fs::write(directory.path().join("leasefence.toml"), text).expect("it is written");
        let (events, inbox) = unbounded_channel();
        let listener = bind(directory.path()).expect("a socket");
        tokio::spawn(serve(listener, Arc::new(reader(&[])), events));
        Self { directory, inbox }
    }

    /// The hook's own program code, on a thread.
    fn libvirt_asks(&self) -> thread::JoinHandle<Decision> {
        let config = self.directory.path().join("leasefence.toml");
        let definition = Cursor::new(question(Operation::Prepare, "web-1").definition);
        let words = ["web-1", "prepare", "begin", "-"].map(Into::into);
        thread::spawn(move || decide(Path::new(&config), Arguments::new(words), definition))
    }

    async fn asked(&mut self) -> Asked {
        match self.inbox.recv().await {
            Some(Event::Hook(asked)) => asked,
            other => panic!("{other:?}"),
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

#[test]
fn the_hook_is_answered_over_the_socket() {
    run(async {
        let mut agent = Agent::start();
        let mode = std::fs::metadata(agent.directory.path().join(SOCKET_NAME)).expect("it is there");
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
        for (answer, decision) in [
            (Answer::Allow, Decision::Allow),
            (
                Answer::Deny("busy: host-2 owns it".into()),
                Decision::Deny("leasefence: busy: host-2 owns it".into()),
            ),
        ] {
            let hook = agent.libvirt_asks();
            let asked = agent.asked().await;
            assert_eq!((asked.name.as_str(), asked.question.domain), ("web-1", DOMAIN));
            asked.answer.send(answer).expect("it waits");
            let said =
                tokio::task::spawn_blocking(move || hook.join().expect("no panic")).await.expect("no panic");
            assert_eq!(said, decision);
        }
    });
}

/// Catches: a start that is permitted to a hook which has told libvirt no already.
#[test]
fn a_hook_that_has_gone_shows_before_it_is_answered() {
    run(async {
        let mut agent = Agent::start();
        let socket = agent.directory.path().join(SOCKET_NAME);
        let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("it listens");
        question(Operation::Prepare, "web-1").write(&mut stream).expect("it reads");
        let mut asked = agent.asked().await;
        assert!(!asked.answer.is_closed());
        drop(stream);
        timeout(PATIENCE, asked.answer.closed()).await.expect("at once");
    });
}

#[test]
fn a_question_of_another_version_is_denied_in_words() {
    run(async {
        let agent = Agent::start();
        let socket = agent.directory.path().join(SOCKET_NAME);
        let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("it listens");
        let said = tokio::task::spawn_blocking(move || {
            io::Write::write_all(&mut stream, b"leasefence-hook 2\n\x01\0\0\0\0\0\0\0\0").expect("it reads");
            Answer::read(&mut stream)
        });
        let said = said.await.expect("no panic").expect("an answer");
        assert!(matches!(&said, Answer::Deny(why) if why.contains("another version")), "{said:?}");
    });
}
