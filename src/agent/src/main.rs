//! `leasefence-agent`: holds this host's lease, watches the other hosts, and restarts the domains of those that are provably
//! gone. What it decides is decided in the core; here are the threads, sockets and files that the core has none of.

mod args;
mod ask;
mod connection;
mod convert;
mod decisions;
mod definitions;
mod domains;
mod drill;
mod engine;
mod event;
mod exempt_list;
mod exemptions;
mod fencer;
mod hook;
mod kill;
mod ladder;
mod leases;
mod link;
mod logging;
mod metrics;
mod notify;
mod remount;
mod report;
mod reset;
mod run;
mod server;
mod setup;
mod shared_gate;
mod start;
mod storages;
mod watchdog;
mod writers;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use clap::{CommandFactory, Parser};
use leasefence_api::SOCKET_NAME;
use leasefence_config::{Config, Libvirt};
use leasefence_disk::{Disk, DiskOptions};
use leasefence_hook::{Configured, ExemptFile};
use leasefence_hypervisor::{Hypervisor, HypervisorEvent, LibvirtConfig, Storages};
use nix::sys::signal::SigSet;
use tokio::sync::{mpsc, watch};
use tracing::{error, info};

use crate::args::Args;
use crate::ask::Asker;
use crate::connection::Connection;
use crate::engine::{Engine, Parts};
use crate::event::{Event, Events, send};
use crate::exempt_list::ExemptList;
use crate::notify::Notify;
use crate::remount::Remount;
use crate::run::{End, Inbox};
use crate::setup::Setup;

/// The fencer's socket within the run directory.
const FENCER_SOCKET: &str = "fencer.sock";
/// Questions that may wait for the main loop; then their askers wait.
const ASKS: usize = 64;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args = Args::parse();
    if args.generate_man {
        return generate_man();
    }
    // Whoever started this process may have blocked signals: then nobody could end it but by force.
    if let Err(error) = SigSet::empty().thread_set_mask() {
        eprintln!("leasefence-agent: unblocking signals: {error}");
    }
    let code = match start(&args) {
        Ok(End::Stopped(signal)) => {
            info!("ended by {signal}: nothing is given back, the lease runs on in the fencer's page");
            0
        }
        Ok(End::Fatal(_)) => 1,
        Err(failure) => {
            error!("{}", link::chain(failure.as_ref()));
            if !logging::is_started() {
                eprintln!("leasefence-agent: {}", link::chain(failure.as_ref()));
            }
            1
        }
    };
    logging::flush();
    // Not by returning: a thread that is stuck behind dead storage must not hold up the end.
    std::process::exit(code)
}

fn generate_man() -> ExitCode {
    match clap_mangen::Man::new(Args::command()).section("8").render(&mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn start(args: &Args) -> Result<End, Failure> {
    // Before the configuration is: what is exempt by an older text than the one in force counts for nothing.
    let exempt_file = Configured::read(&args.config).as_ref().map(ExemptFile::of);
    let config = Config::load(&args.config)?;
    logging::start(&config.log.level)?;
    let setup = Setup::new(&config)?;
    info!(
        "leasefence-agent {} on {} in cluster {}",
        env!("CARGO_PKG_VERSION"),
        setup.host_name,
        config.cluster
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(config, setup, exempt_file))
}

async fn serve(config: Config, setup: Setup, exempt_file: Option<ExemptFile>) -> Result<End, Failure> {
    let listener = server::bind(&config.run_dir.join(SOCKET_NAME))?;
    let hooks = hook::bind(&config.run_dir)?;
    let notify = Notify::start();
    let (events, inbox_events) = mpsc::unbounded_channel();
    let (asks, inbox_asks) = mpsc::channel(ASKS);
    let (revision, changed) = watch::channel(0);
    let remount = Remount::start(&config.run_dir, &events)?;
    let (parts, reader) = parts(config, setup, exempt_file, &remount, &events)?;
    let mut engine = Engine::new(parts, remount);
    let serving = tokio::spawn(server::serve(listener, Asker { asks, revision: changed }));
    let answering = tokio::spawn(hook::serve(hooks, Arc::new(reader), events));
    notify.ready();
    let inbox = Inbox { events: inbox_events, asks: inbox_asks, revision };
    let end = run::run(&mut engine, inbox, &notify).await?;
    notify.stopping();
    serving.abort();
    answering.abort();
    Ok(end)
}

/// Starts every thread. From here on the lease file may be written, once the fencer has handed out its page.
fn parts(
    config: Config,
    setup: Setup,
    exempt_file: Option<ExemptFile>,
    remount: &Remount,
    events: &Events,
) -> Result<(Parts, hook::Reader), Failure> {
    let connection = Connection::start(&config, &setup.terms, events)?;
    let disk = start_disk(&config, &setup, events)?;
    link::start(config.run_dir.join(FENCER_SOCKET), setup.facts.boot_id, events.clone())?;
    let nudge = domains::Nudge::default();
    let one_kernel = Arc::default();
    let storages = Arc::new(Storages::new());
    let exemptions = Arc::new(exemptions::Exemptions::new(config.protect.exempt.clone()));
    let reader = hook::Reader {
        exemptions: Arc::clone(&exemptions),
        storages: Arc::clone(&storages),
        one_kernel: Arc::clone(&one_kernel),
    };
    let (hypervisor, changes) = connect(&config.libvirt)?;
    let store = definitions::DefinitionStore::start(
        config.clone(),
        setup.host_name.clone(),
        Arc::clone(&hypervisor),
        nudge.clone(),
        events.clone(),
    )?;
    let lister = domains::Lister {
        hypervisor: Arc::clone(&hypervisor),
        store: store.clone(),
        exemptions: Arc::clone(&exemptions),
        one_kernel: Arc::clone(&one_kernel),
        nudge: nudge.clone(),
        events: events.clone(),
        storages,
        set_up: storages::SetUp::new(&config.lease, &config.run_dir),
        host_is_stopping: leasefence_hypervisor::host_is_stopping,
    };
    lister.start(changes)?;
    let starter = start::Starter {
        hypervisor: Arc::clone(&hypervisor),
        store: store.clone(),
        host: setup.host_name.clone(),
        gate: shared_gate::SharedGate::default(),
        barriers: Arc::default(),
        given: Arc::default(),
        disks_are_away: remount.pending(),
        events: events.clone(),
    };
    let exempt_list = ExemptList::start(exempt_file, events)?;
    let parts = Parts {
        config,
        setup,
        connection,
        disk,
        hypervisor,
        store,
        starter,
        nudge,
        one_kernel,
        exempt_list,
        exemptions,
        events: events.clone(),
    };
    Ok((parts, reader))
}

fn start_disk(config: &Config, setup: &Setup, events: &Events) -> Result<Disk, Failure> {
    let (opened, done) = (events.clone(), events.clone());
    let options = DiskOptions { lock: Some(Arc::clone(&setup.lock)), ..DiskOptions::default() };
    let disk = Disk::start(
        &config.lease,
        options,
        move |result| send(&opened, Event::Opened(result)),
        move |io_done| send(&done, Event::Io(io_done)),
    )?;
    Ok(disk)
}

/// Begins to connect; whether there is a libvirt shows later, and the agent does without until then.
fn connect(config: &Libvirt) -> Result<(Arc<dyn Hypervisor>, Receiver<HypervisorEvent>), Failure> {
    let (libvirt, changes) = leasefence_hypervisor::Libvirt::connect(LibvirtConfig {
        uri: config.uri.clone(),
        question_deadline: config.call_timeout,
        start_deadline: config.start_timeout,
        ..LibvirtConfig::default()
    })?;
    Ok((Arc::new(libvirt), changes))
}
