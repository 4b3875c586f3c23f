//! What libvirt knows, told to the main loop: a thread that lists the domains after each event and every few seconds.
//! Its calls have deadlines; while libvirt does not answer it says so, and nothing else waits for it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use leasefence_api as api;
use leasefence_core::ids::DomainId;
use leasefence_core::member::{DomainReport, Listing, MigrationNews, StopReason};
use leasefence_hypervisor::{
    Activity, Disk, Domain, Hypervisor, HypervisorError, HypervisorEvent, StopDetail, Storage, Storages,
};

use crate::definitions::DefinitionStore;
use crate::event::{Event, Events, send};
use crate::exemptions::Exemptions;
use crate::storages::SetUp;

/// How often the thread looks whether somebody else wants a listing.
const NUDGE_INTERVAL: Duration = Duration::from_millis(50);

/// The storages of each domain, for people.
pub(crate) type DomainStorages = BTreeMap<DomainId, Vec<api::Storage>>;

/// Asks for a listing soon, from any thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nudge(Arc<AtomicBool>);

impl Nudge {
    /// Something has changed.
    pub(crate) fn nudge(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

/// The thread's state.
pub(crate) struct Lister {
    /// Libvirt.
    pub(crate) hypervisor: Arc<dyn Hypervisor>,
    /// Stored definitions: their versions go into the reports.
    pub(crate) store: DefinitionStore,
    /// Which exemptions count.
    pub(crate) exemptions: Arc<Exemptions>,
    /// True when local storage counts as one kernel's: configured, and allowed by the header's test bit.
    pub(crate) one_kernel: Arc<AtomicBool>,
    /// Somebody else wants a listing.
    pub(crate) nudge: Nudge,
    /// The main loop.
    pub(crate) events: Events,
    /// Which storage the disks lie on.
    pub(crate) storages: Arc<Storages>,
    /// What of this host's set-up may keep a storage from being shown quiet.
    pub(crate) set_up: SetUp,
    /// Whether this host is shutting down.
    pub(crate) host_is_stopping: fn() -> bool,
}

/// The member's word for an end. Whether the host is stopping takes a moment to find out, so that it is asked only where
/// it matters: of what looks like a user's stop, which libvirt-guests' does too.
fn reason(detail: StopDetail, host_is_stopping: fn() -> bool) -> StopReason {
    detail.reason_on(detail.reason_on(true) != detail.reason_on(false) && host_is_stopping())
}

impl Lister {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(self, changes: Receiver<HypervisorEvent>) -> io::Result<()> {
        thread::Builder::new().name("domains".to_owned()).spawn(move || self.run(&changes)).map(drop)
    }

    fn run(&self, changes: &Receiver<HypervisorEvent>) {
        let mut listing = Listing::default();
        loop {
            match changes.recv_timeout(NUDGE_INTERVAL) {
                Ok(change) => {
                    for change in std::iter::once(change).chain(changes.try_iter()) {
                        match &change {
                            HypervisorEvent::Away(_) => listing.away(),
                            _ => listing.changed(),
                        }
                        self.changed(&change);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => thread::sleep(NUDGE_INTERVAL),
            }
            if self.events.is_closed() {
                return;
            }
            if listing.due(leasefence_clock::instant(), self.nudge.take()) {
                self.list();
            }
        }
    }

    fn changed(&self, change: &HypervisorEvent) {
        match change {
            HypervisorEvent::Stopped { domain, detail } => {
                send(&self.events, Event::Stopped(*domain, reason(*detail, self.host_is_stopping)));
            }
            HypervisorEvent::SuspendedToMigrate(domain) => {
                send(&self.events, Event::Migration(*domain, MigrationNews::Suspended));
            }
            HypervisorEvent::Resumed(domain) => send(&self.events, Event::Resumed(*domain)),
            HypervisorEvent::Away(why) => send(&self.events, Event::LibvirtAway(why.clone())),
            HypervisorEvent::DefinitionChanged(domain) | HypervisorEvent::MetadataChanged(domain) => {
                self.store.refresh(*domain);
            }
            HypervisorEvent::Back
            | HypervisorEvent::Started(_)
            | HypervisorEvent::Paused(_)
            | HypervisorEvent::Defined(_)
            | HypervisorEvent::Undefined(_) => {}
        }
    }

    fn list(&self) {
        match self.hypervisor.domains() {
            Ok(domains) => {
                let (reports, storages) = self.reports(&domains);
                send(&self.events, Event::Domains(reports, storages));
                let cpus_run = |domain: &&Domain| domain.activity == Activity::Running { paused: false };
                send(&self.events, Event::CpusRun(domains.iter().filter(cpus_run).map(|d| d.id).collect()));
            }
            Err(HypervisorError::Away(why)) => send(&self.events, Event::LibvirtAway(why)),
            Err(error) => send(&self.events, Event::LibvirtAway(error.to_string())),
        }
        if let Ok(memory_mib) = self.hypervisor.free_memory_mib() {
            send(&self.events, Event::Capacity(memory_mib));
        }
    }

    /// What the member is told of the domains, and what people are told of their storages.
    fn reports(&self, domains: &[Domain]) -> (Vec<DomainReport>, DomainStorages) {
        let one_kernel = self.one_kernel.load(Ordering::Relaxed);
        let storages: Vec<_> =
            domains.iter().map(|domain| self.storages.of(&domain.disks, one_kernel)).collect();
        let listed = || domains.iter().zip(&storages);
        let reports: Vec<_> = listed().map(|(domain, storages)| self.report(domain, storages)).collect();
        let sight = self.set_up.look().with_held(self.held_by_exempt(domains, &reports));
        // What the page names, for the fencer to show quiet.
        let is_named =
            |report: &&DomainReport| report.running && (!report.protection.exempt || report.doubtful);
        let running = reports.iter().filter(is_named);
        let ended = running.flat_map(|report| &report.storages).map(|target| target.device).collect();
        let describe = |storages: &Vec<Storage>| {
            storages.iter().map(|storage| sight.describe(storage, &ended)).collect()
        };
        let described = listed().map(|(domain, storages)| (domain.id, describe(storages))).collect();
        (reports, described)
    }

    /// What exempt domains that run have open on storages which a fence may have to take away: what they only read voids no exemption.
    fn held_by_exempt(&self, domains: &[Domain], reports: &[DomainReport]) -> BTreeMap<u64, String> {
        let runs_exempt = |report: &DomainReport| report.running && report.protection.exempt;
        let exempt =
            domains.iter().zip(reports).filter(|(_, report)| runs_exempt(report)).map(|(domain, _)| domain);
        let all = |domain: &Domain| {
            let disks = domain.disks.iter().map(|disk| Disk { readonly: false, ..disk.clone() });
            let storages = self.storages.of(&disks.collect::<Vec<_>>(), false);
            storages
                .into_iter()
                .map(|storage| (storage.target.device, domain.name.clone()))
                .collect::<Vec<_>>()
        };
        exempt.flat_map(all).collect()
    }

    fn report(&self, domain: &Domain, storages: &[Storage]) -> DomainReport {
        let version = self.store.version(domain.id, domain.chain_hash());
        let (standing, news) = self.exemptions.look(domain, &self.storages);
        // No fence ends an exempt one: where it is doubted, what is not known of it must stand in the way of the proof.
        let named = storages.iter().filter(|storage| storage.is_known() || standing.doubtful);
        let mut targets: Vec<_> = named.map(|storage| storage.target.clone()).collect();
        // Network disks have no device: they are one target.
        targets.dedup();
        let mut report = domain.report(version, targets);
        report.unanswered = !storages.iter().all(Storage::is_known);
        report.protection.exempt = standing.exempt;
        report.doubtful = standing.doubtful;
        if let Some(text) = news {
            send(&self.events, Event::Trouble("exemption", text));
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use leasefence_config::Config;
    use leasefence_core::fencing::StorageKind;
    use leasefence_hypervisor::FakeHypervisor;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    /// Catches: a storage that the page leaves out since another without a device was named, and one that people are not told of.
    #[test]
    fn the_page_is_told_each_storage_once_and_people_are_told_of_each_disk_without_a_proof() {
        const NETWORK: &str = "<disk type='network'><source protocol='rbd' name='a'/><target dev='vda'/></disk>\
                               <disk type='network'><source protocol='nbd' name='b'/><target dev='vdb'/></disk>";
        let (hypervisor, _changes) = FakeHypervisor::new();
        let (events, _inbox) = unbounded_channel();
        let config = Config::parse("cluster = \"test\"\nlease = \"/nonexistent/lease\"\n", Path::new("toml"));
        let config = config.expect("a configuration");
        let nudge = Nudge::default();
        let store = DefinitionStore::start(
            config.clone(),
            "host-1".to_owned(),
            hypervisor.clone(),
            nudge.clone(),
            events.clone(),
        );
        let lister = Lister {
            hypervisor: hypervisor.clone(),
            store: store.expect("a thread"),
            exemptions: Arc::default(),
            one_kernel: Arc::default(),
            nudge,
            events,
            storages: Arc::new(Storages::new()),
            set_up: SetUp::new(&config.lease, &config.run_dir),
            host_is_stopping: || false,
        };
        let image = tempfile::NamedTempFile::new().expect("a file");
        let id = DomainId([1; 16]);
        let xml = FakeHypervisor::sample_xml(id, "web", &image.path().display().to_string());
        hypervisor.add(&xml.replace("</devices>", &format!("{NETWORK}</devices>")), true).expect("a domain");
        let away = DomainId([2; 16]);
        hypervisor.add(&FakeHypervisor::sample_xml(away, "away", "/nowhere/disk"), true).expect("a domain");
        let (reports, storages) = lister.reports(&hypervisor.domains().expect("it answers"));
        let of = |id| reports.iter().find(|report| report.domain == id).expect("it is listed");
        let targets = &of(id).storages;
        assert!(targets.len() == 2 && targets.iter().all(|target| target.kind == StorageKind::Unprovable));
        let told = storages.get(&id).expect("the domain");
        assert_eq!((told.len(), told.iter().filter(|storage| !storage.provable).count()), (3, 3));
        assert!(told.iter().any(|storage| storage.place == "network rbd a "), "{told:?}");
        // An exempt domain holds what it reads.
        let mut reading = hypervisor.domains().expect("it answers");
        reading.iter_mut().flat_map(|domain| &mut domain.disks).for_each(|disk| disk.readonly = true);
        let (mut exempt, _) = lister.reports(&reading);
        assert_eq!(lister.held_by_exempt(&reading, &exempt), BTreeMap::new());
        exempt.iter_mut().for_each(|report| report.protection.exempt = true);
        let device = std::os::unix::fs::MetadataExt::dev(&image.as_file().metadata().expect("there"));
        assert_eq!(lister.held_by_exempt(&reading, &exempt).get(&device).map(String::as_str), Some("web"));
        assert_eq!((of(id).unanswered, of(away).unanswered, of(away).storages.len()), (false, true, 0));
    }

    #[test]
    fn a_stop_by_libvirt_guests_is_the_hosts_shutdown_and_no_users_stop() {
        assert_eq!(reason(StopDetail::Shutdown, || true), StopReason::HostShutdown);
        assert_eq!(reason(StopDetail::Destroyed, || true), StopReason::HostShutdown);
        assert_eq!(reason(StopDetail::Shutdown, || false), StopReason::Shutdown);
        assert_eq!(reason(StopDetail::Migrated, || true), StopReason::Migrated);
        assert_eq!(
            reason(StopDetail::Crashed, || panic!("not asked: nothing hangs on it")),
            StopReason::Crashed
        );
    }
}
