//! The world: one lease file, some hosts, one virtual time, and the two things that must never happen.

use std::time::Duration;

use leasefence_core::format::init::InitParameters;
use leasefence_core::format::{Header, HostRecord, Layout, LeasePage, Policy, RecordCopy};
use leasefence_core::ids::{ClusterId, DomainId, FileId, Generation, Incarnation, Slot};
use leasefence_core::member::{
    DomainReport, HookOperation, HookQuestion, Input, Member, MemberStatus, Request, RequestId, StopReason,
};
use leasefence_core::terms::{Preset, Terms};

use crate::disk::{Disk, Path};
use crate::host::{Host, Line, report};

/// All of it.
pub(crate) struct World {
    pub(crate) at: u64,
    pub(crate) disk: Disk,
    pub(crate) hosts: Vec<Host>,
    requests: u64,
    /// Rounds without a step of time.
    rounds: u64,
    /// A test that starts a domain twice by hand.
    pub(crate) tolerates_two_writers: bool,
}

/// The `fast` preset.
pub(crate) fn fast() -> Terms {
    Preset::Fast.timing().terms
}

/// Plants the bug of this name, so that a timeline can be seen to catch it:
/// `LEASEFENCE_PLANT=source-forgets cargo nextest run -p leasefence-core --features planted-bugs migrating`.
#[cfg(feature = "planted-bugs")]
#[expect(clippy::disallowed_methods, reason = "a test's switch, not the core's")]
fn plant_from_environment() {
    use leasefence_core::planted::{Bug, plant};
    let word = std::env::var("LEASEFENCE_PLANT").unwrap_or_default();
    plant(Bug::ALL.iter().copied().find(|bug| bug.word() == word));
}

/// A guest.
pub(crate) fn guest(number: u8) -> DomainId {
    DomainId([number; 16])
}

impl World {
    /// A cluster that accepts hosts without a watchdog, with this many hosts, all off.
    pub(crate) fn new(hosts: u8) -> Self {
        #[cfg(feature = "planted-bugs")]
        plant_from_environment();
        let policy = Policy::ACCEPT_NONE.with(Policy::TEST);
        let header = InitParameters {
            file_id: FileId([9; 16]),
            cluster_id: ClusterId([8; 16]),
            cluster_name: "test".to_owned(),
            sector_size: 4096,
            max_hosts: 4,
            pages: 2,
            policy,
            min_write_drain: Duration::from_secs(1),
            longest_verdict_after: Duration::from_secs(900),
        }
        .header()
        .expect("good parameters");
        let size = usize::try_from(header.layout.total_size()).expect("small");
        let mut disk = Disk(vec![0; size]);
        for place in [header.layout.first_header(), header.layout.last_header()] {
            let start = usize::try_from(place.offset).expect("small");
            disk.0[start..start + place.len].copy_from_slice(&header.encode(&place));
        }
        let hosts = (0..hosts).map(|index| Host::new(index, fast())).collect();
        Self { at: 0, disk, hosts, requests: 0, rounds: 0, tolerates_two_writers: false }
    }

    /// A cluster of hosts that all hold their leases.
    pub(crate) fn held(hosts: u8) -> Self {
        let mut world = Self::new(hosts);
        for index in 0..usize::from(hosts) {
            world.boot(index);
        }
        let all = |world: &Self| (0..world.hosts.len()).all(|index| world.state(index) == "held");
        world.until(60, "all hosts hold their leases", all);
        world.run(2_000);
        world
    }

    /// One host more, off.
    pub(crate) fn add_host(&mut self) -> usize {
        let index = u8::try_from(self.hosts.len()).expect("few hosts");
        self.hosts.push(Host::new(index, fast()));
        usize::from(index)
    }

    /// True when an entry of any lease page names this incarnation as its predecessor.
    pub(crate) fn pred_on_disk(&self, victim: Incarnation) -> bool {
        let layout = self.layout();
        let places = (0..layout.pages()).flat_map(|page| layout.slots().map(move |slot| (page, slot)));
        let mut pages = places.filter_map(|(page, slot)| self.lease_page(page, slot, RecordCopy::A));
        pages.any(|page| page.entries().any(|entry| entry.pred == Some(victim)))
    }

    /// True when a host's record convicts this incarnation.
    pub(crate) fn conviction_on_disk(&self, index: usize, victim: Incarnation) -> bool {
        let records = self.copies(self.slot(index));
        records
            .into_iter()
            .flatten()
            .any(|record| record.convictions.iter().flatten().any(|c| c.target == victim))
    }

    pub(crate) fn boot(&mut self, index: usize) {
        let (at, size) = (self.at, self.disk.0.len() as u64);
        self.hosts[index].boot(at, size);
    }

    pub(crate) fn start_agent(&mut self, index: usize) {
        let (at, size) = (self.at, self.disk.0.len() as u64);
        self.hosts[index].start_agent(at, size);
    }

    pub(crate) fn path(&mut self, index: usize, path: Path) {
        let at = self.at;
        self.hosts[index].set_path(at, path, &self.disk);
    }

    /// A guest that a user starts with virsh, not asking anybody.
    pub(crate) fn user_starts(&mut self, index: usize, number: u8) {
        let incarnation = self.incarnation(index);
        self.hosts[index].guests.insert(guest(number), incarnation);
    }

    /// Libvirt's hook asks; gives the id of the question.
    pub(crate) fn hook(&mut self, index: usize, number: u8, operation: HookOperation) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        let exempt = self.hosts[index].exempts;
        let question = HookQuestion { domain: guest(number), exempt, operation };
        self.hosts[index].tell(self.at, Input::Hook(id, question));
        id
    }

    /// A user asks libvirt for a start, and libvirt's hook this host.
    pub(crate) fn user_asks(&mut self, index: usize, number: u8) -> RequestId {
        let kind = self.hosts[index].storage_kind;
        let report = DomainReport { running: false, ..report(&guest(number), false, Some(kind)) };
        self.hook(index, number, HookOperation::Prepare(Box::new(report)))
    }

    /// The answer to a question, waited for.
    pub(crate) fn answer(&mut self, index: usize, id: RequestId) -> (bool, String) {
        self.until(10, "an answer to the hook", |world| world.reply(index, id).is_some());
        self.reply(index, id).expect("just seen")
    }

    /// A user shuts a guest down; libvirt says so.
    pub(crate) fn user_stops(&mut self, index: usize, number: u8) {
        self.hosts[index].guests.remove(&guest(number));
        let stopped = Input::Stopped { domain: guest(number), reason: StopReason::Shutdown };
        self.hosts[index].tell(self.at, stopped);
    }

    /// A guest's process dies; libvirt says so.
    pub(crate) fn guest_crashes(&mut self, index: usize, number: u8) {
        self.hosts[index].guests.remove(&guest(number));
        let stopped = Input::Stopped { domain: guest(number), reason: StopReason::Crashed };
        self.hosts[index].tell(self.at, stopped);
    }

    /// Asks a host; gives the id of the request.
    pub(crate) fn ask(&mut self, index: usize, request: Request) -> RequestId {
        self.requests += 1;
        self.hosts[index].ask(self.at, self.requests, request);
        RequestId(self.requests)
    }

    pub(crate) fn reply(&self, index: usize, id: RequestId) -> Option<(bool, String)> {
        self.hosts[index].replies.get(&id).cloned()
    }

    pub(crate) fn status(&self, index: usize) -> MemberStatus {
        let host = &self.hosts[index];
        host.member.as_ref().map(|member| member.status(&host.now(self.at))).unwrap_or_default()
    }

    pub(crate) fn state(&self, index: usize) -> &'static str {
        if self.hosts[index].member.is_none() { "off" } else { self.status(index).own.state }
    }

    pub(crate) fn incarnation(&self, index: usize) -> Incarnation {
        self.hosts[index].member.as_ref().and_then(Member::incarnation).unwrap_or_default()
    }

    pub(crate) fn generation(&self, index: usize) -> Generation {
        self.incarnation(index).generation
    }

    pub(crate) fn evidence(&self, index: usize, incarnation: Incarnation) -> Option<&'static str> {
        let member = self.hosts[index].member.as_ref()?;
        member.evidence(incarnation).map(|(evidence, _)| evidence.as_str())
    }

    /// The hosts on which a guest runs.
    pub(crate) fn runs_on(&self, number: u8) -> Vec<usize> {
        let runs = |index: &usize| self.hosts[*index].running().any(|(domain, _)| *domain == guest(number));
        (0..self.hosts.len()).filter(runs).collect()
    }

    /// Lets this many milliseconds pass.
    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.at + ms * 1_000_000;
        while self.step(end) {}
        self.at = end;
    }

    /// Lets time pass until something is so.
    pub(crate) fn until(&mut self, seconds: u64, what: &str, so: impl Fn(&Self) -> bool) -> u64 {
        let start = self.at;
        let end = self.at + seconds * 1_000_000_000;
        while !so(self) {
            assert!(self.step(end), "not within {seconds} s: {what}\n{}", self.story());
        }
        (self.at - start) / 1_000_000
    }

    fn step(&mut self, end: u64) -> bool {
        let next = self.hosts.iter().filter_map(Host::next_event).min();
        let Some(next) = next.filter(|next| *next <= end) else { return false };
        self.rounds = if next <= self.at { self.rounds + 1 } else { 0 };
        assert!(self.rounds < 10_000, "time stands still\n{}", self.story());
        self.at = self.at.max(next);
        for index in 0..self.hosts.len() {
            let due = self.hosts[index].next_event().is_some_and(|at| at <= self.at);
            if due {
                self.hosts[index].run(self.at, &mut self.disk);
                self.check();
            }
        }
        true
    }

    /// No domain runs twice, and nobody is called gone whose domains run.
    fn check(&self) {
        if self.tolerates_two_writers {
            return;
        }
        let mut owners = std::collections::BTreeMap::new();
        for host in &self.hosts {
            for (domain, incarnation) in host.running() {
                if let Some(other) = owners.insert(*domain, &host.name) {
                    panic!("SPLIT BRAIN: {domain} runs on {other} and on {}\n{}", host.name, self.story());
                }
                for observer in &self.hosts {
                    let evidence = observer.member.as_ref().and_then(|member| member.evidence(*incarnation));
                    assert!(
                        evidence.is_none(),
                        "{} calls {incarnation} of {} gone ({evidence:?}), and {domain} runs there\n{}",
                        observer.name,
                        host.name,
                        self.story()
                    );
                }
            }
        }
    }

    /// Every line of all hosts in order, but those of each renewal.
    pub(crate) fn story(&self) -> String {
        let mut lines: Vec<&Line> = self.hosts.iter().flat_map(|host| &host.log).collect();
        lines.retain(|(_, _, event, _)| event != "renewal");
        lines.sort_by_key(|(at, ..)| *at);
        let text = |(at, host, event, text): &&Line| {
            format!("{:>5}.{:03} {host} {event}: {text}", at / 1000, at % 1000)
        };
        lines.iter().map(text).collect::<Vec<_>>().join("\n")
    }

    /// When an event was last told by a host, in ms.
    pub(crate) fn last(&self, index: usize, event: &str) -> Option<u64> {
        let mut told = self.hosts[index].log.iter().filter(|(_, _, told, _)| told == event);
        told.next_back().map(|(at, ..)| *at)
    }

    /// How often an event was told by a host.
    pub(crate) fn count(&self, index: usize, event: &str) -> usize {
        self.hosts[index].log.iter().filter(|(_, _, told, _)| told == event).count()
    }

    /// True when a host has told an event with these words in it.
    pub(crate) fn told(&self, index: usize, event: &str, words: &str) -> bool {
        self.hosts[index].log.iter().any(|(_, _, told, text)| told == event && text.contains(words))
    }

    /// Where everything lies.
    pub(crate) fn layout(&self) -> Layout {
        Header::decode(0, &self.disk.0[..4096]).expect("it was written").layout
    }

    /// The two copies of a slot's record as they lie on storage.
    pub(crate) fn copies(&self, slot: Slot) -> [Option<HostRecord>; 2] {
        RecordCopy::BOTH.map(|copy| {
            let place = self.layout().host_record(slot, copy);
            let start = usize::try_from(place.offset).expect("small");
            HostRecord::decode(&place, &self.disk.0[start..start + place.len]).ok()
        })
    }

    /// One copy of a slot's lease page as it lies on storage.
    pub(crate) fn lease_page(&self, page: u8, slot: Slot, copy: RecordCopy) -> Option<LeasePage> {
        let place = self.layout().lease_page(page, slot, copy);
        let start = usize::try_from(place.offset).expect("small");
        LeasePage::decode(&place, &self.disk.0[start..start + place.len]).ok()
    }

    /// The slot of a host.
    pub(crate) fn slot(&self, index: usize) -> Slot {
        self.incarnation(index).slot
    }
}
