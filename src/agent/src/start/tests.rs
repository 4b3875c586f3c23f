//! Storage that hangs is a fifo in the place of the stored definition: whoever opens it waits until the other end is there.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use leasefence_config::Config;
use leasefence_core::fencing::{AgentHalf, Wish};
use leasefence_core::member::StartGate;
use leasefence_core::time::HolderDeadline;
use leasefence_hypervisor::{Definition, Definitions, FakeHypervisor};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::domains::Nudge;

const DOMAIN: DomainId = DomainId([1; 16]);

struct Host {
    starter: Starter,
    hypervisor: Arc<FakeHypervisor>,
    answers: UnboundedReceiver<Event>,
    chain_hash: u64,
    /// The definition's file, now a fifo, and what stood in it.
    fifo: PathBuf,
    stored: Vec<u8>,
    _directory: TempDir,
}

fn ending_in(left: Duration) -> AgentHalf {
    let end = leasefence_clock::instant().plus(left);
    AgentHalf { wish: Wish::Armed, lease_end: HolderDeadline(end), ..AgentHalf::default() }
}

fn host() -> Host {
    let directory = tempfile::tempdir().expect("a directory");
    let lease = directory.path().join("test.leasefence");
    fs::write(&lease, []).expect("written");
    let disk = directory.path().join("disk.raw");
    fs::write(&disk, []).expect("written");
    let text = format!("cluster = \"test\"\nlease = \"{}\"\n", lease.display());
    let config = Config::parse(&text, Path::new("leasefence.toml")).expect("a configuration");
    let (fifo, stored, chain_hash) = stored_behind_a_fifo(&config, &disk);
    let (events, answers) = unbounded_channel();
    let (hypervisor, _changes) = FakeHypervisor::new();
    let nudge = Nudge::default();
    let store =
        DefinitionStore::start(config, "host-1".to_owned(), hypervisor.clone(), nudge, events.clone());
    let starter = Starter {
        hypervisor: hypervisor.clone(),
        store: store.expect("a thread"),
        host: "host-1".to_owned(),
        gate: SharedGate::default(),
        barriers: Arc::default(),
        given: Arc::default(),
        disks_are_away: Arc::default(),
        events,
    };
    starter.gate.set(StartGate::of(&ending_in(Duration::from_secs(60))));
    Host { starter, hypervisor, answers, chain_hash, fifo, stored, _directory: directory }
}

fn stored_behind_a_fifo(config: &Config, disk: &Path) -> (PathBuf, Vec<u8>, u64) {
    let directory = config.definitions_dir(false).expect("beside the lease file");
    let xml = FakeHypervisor::sample_xml(DOMAIN, "web", &disk.display().to_string());
    let definition = Definition::check(xml).expect("a definition");
    let store = Definitions::open(&directory, "host-1").expect("a store");
    let version = store.store(DOMAIN, &definition).expect("stored");
    let file = directory.join(format!("{DOMAIN}.{version}.xml"));
    let stored = fs::read(&file).expect("read");
    fs::remove_file(&file).expect("removed");
    make_fifo(&file);
    (file, stored, definition.chain_hash)
}

fn make_fifo(path: &Path) {
    mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).expect("a fifo");
}

impl Host {
    /// Waits until somebody reads the definition, does this, and then lets the storage answer. The next one to read it
    /// waits anew.
    fn when_it_is_read(&self, meanwhile: impl FnOnce()) {
        let mut fifo = OpenOptions::new().write(true).open(&self.fifo).expect("a reader");
        fs::remove_file(&self.fifo).expect("removed");
        make_fifo(&self.fifo);
        meanwhile();
        fifo.write_all(&self.stored).expect("written");
    }
}

#[test]
fn a_start_whose_definition_comes_after_the_leases_end_does_not_happen() {
    let mut host = host();
    host.starter.start(DOMAIN, Term(1), host.chain_hash);
    host.when_it_is_read(|| host.starter.gate.set(StartGate::of(&ending_in(Duration::ZERO))));
    let answer = host.answers.blocking_recv();
    assert!(
        matches!(answer, Some(Event::StartEnded(DOMAIN, Term(1), Err(StartFailure::Failed(_))))),
        "{answer:?}"
    );
    assert!(host.hypervisor.starts().is_empty());
}

#[test]
fn a_start_whose_definition_was_slow_goes_on_within_the_lease_and_not_once_starts_are_denied() {
    let mut host = host();
    host.starter.start(DOMAIN, Term(1), host.chain_hash);
    host.when_it_is_read(|| {});
    assert!(matches!(host.answers.blocking_recv(), Some(Event::StartEnded(DOMAIN, Term(1), Ok(())))));
    host.starter.start(DOMAIN, Term(2), host.chain_hash);
    let denied = AgentHalf { wish: Wish::DenyStarts, ..ending_in(Duration::from_secs(60)) };
    host.when_it_is_read(|| host.starter.gate.set(StartGate::of(&denied)));
    assert!(matches!(host.answers.blocking_recv(), Some(Event::StartEnded(DOMAIN, Term(2), Err(_)))));
    assert_eq!(host.hypervisor.starts(), [DOMAIN]);
}

#[test]
fn a_barrier_that_was_issued_before_it_was_asked_for_again_is_no_answer_and_no_second_thread_waits() {
    let mut host = host();
    let (first, second) =
        (leasefence_clock::instant(), leasefence_clock::instant().plus(Duration::from_secs(1)));
    host.starter.barrier(DOMAIN, first, host.chain_hash);
    host.when_it_is_read(|| host.starter.barrier(DOMAIN, second, host.chain_hash));
    host.when_it_is_read(|| {});
    let answer = host.answers.blocking_recv();
    let of = |mark| matches!(&answer, Some(Event::Barrier(DOMAIN, asked, Ok(_))) if *asked == mark);
    assert!(of(second), "{answer:?}");
    assert!(host.answers.try_recv().is_err(), "one answer");
    assert!(lock(&host.starter.barriers).is_empty());
}
