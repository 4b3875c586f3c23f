//! The metrics, in the text form of Prometheus. Counters and latencies are kept as things happen; what is a state is taken from
//! the status when somebody asks.

use std::time::Duration;

use leasefence_api::{Status, WatchdogInfo};
use leasefence_core::member::Note;
use leasefence_core::storage::{IoDone, IoOp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::convert;

/// From a fast disk's write to a stall that ends the shortest lease.
const LATENCY_BUCKETS: [f64; 12] =
    [0.000_25, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 7.5, 30.0];

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct EventLabels {
    event: &'static str,
    level: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OpLabels {
    op: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct StateLabels {
    state: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct StageLabels {
    stage: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WatchdogLabels {
    class: String,
    device: String,
    identity: String,
    nowayout: String,
}

type Seconds = Gauge<f64, std::sync::atomic::AtomicU64>;

/// All metrics of the agent.
pub(crate) struct Metrics {
    registry: Registry,
    events: Family<EventLabels, Counter>,
    latency: Family<OpLabels, Histogram>,
    errors: Family<OpLabels, Counter>,
    lease_left: Seconds,
    renewal_age: Seconds,
    renewal_latency: Seconds,
    fencer_beat_age: Seconds,
    watchdog_timeout: Seconds,
    watchdog_pet_age: Seconds,
    watchdog: Family<WatchdogLabels, Gauge>,
    unknown_writes: Gauge,
    warnings: Gauge,
    domains_unproven: Gauge,
    hosts: Family<StateLabels, Gauge>,
    recoveries: Family<StageLabels, Gauge>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("leasefence"),
            events: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS)),
            errors: Family::default(),
            lease_left: Seconds::default(),
            renewal_age: Seconds::default(),
            renewal_latency: Seconds::default(),
            fencer_beat_age: Seconds::default(),
            watchdog_timeout: Seconds::default(),
            watchdog_pet_age: Seconds::default(),
            watchdog: Family::default(),
            unknown_writes: Gauge::default(),
            warnings: Gauge::default(),
            domains_unproven: Gauge::default(),
            hosts: Family::default(),
            recoveries: Family::default(),
        };
        metrics.register_counters();
        metrics.register_states();
        metrics
    }

    fn register_counters(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "events",
            "Events by kind and level: the kinds are those of the log",
            self.events.clone(),
        );
        registry.register_with_unit(
            "storage_latency",
            "Reads and writes of the lease file that returned without an error",
            Unit::Seconds,
            self.latency.clone(),
        );
        registry.register(
            "storage_errors",
            "Reads and writes of the lease file that did not succeed; a write's outcome is then unknown",
            self.errors.clone(),
        );
    }

    fn register_states(&mut self) {
        let registry = &mut self.registry;
        let seconds = [
            ("lease_left", "Until the end of this host's lease; 0 without one", &self.lease_left),
            ("renewal_age", "Since before the last renewal that was read back", &self.renewal_age),
            ("renewal_latency", "The last renewal with its read-back", &self.renewal_latency),
            ("fencer_beat_age", "Since the fencer last went round its loop", &self.fencer_beat_age),
            ("watchdog_timeout", "What the watchdog is set to; 0 without one", &self.watchdog_timeout),
            ("watchdog_pet_age", "Since the watchdog was last petted; 0 without one", &self.watchdog_pet_age),
        ];
        for (name, help, gauge) in seconds {
            registry.register_with_unit(name, help, Unit::Seconds, gauge.clone());
        }
        registry.register("watchdog", "Always 1: the watchdog that is open", self.watchdog.clone());
        registry.register("unknown_writes", "Writes that may still land", self.unknown_writes.clone());
        registry.register("warnings", "What an operator should know or mend", self.warnings.clone());
        registry.register(
            "domains_unproven",
            "Running protected domains with a storage that cannot be shown quiet at a fence",
            self.domains_unproven.clone(),
        );
        registry.register("hosts", "Hosts of the cluster by what is said of them", self.hosts.clone());
        registry.register("recoveries", "Recoveries by this host, by stage", self.recoveries.clone());
    }

    /// Counts an event.
    pub(crate) fn note(&self, note: &Note) {
        let labels = EventLabels { event: note.event, level: convert::level(note.level) };
        self.events.get_or_create(&labels).inc();
    }

    /// Counts the end of a storage operation.
    pub(crate) fn io(&self, op: &IoOp, done: &IoDone) {
        let labels = OpLabels { op: if matches!(op, IoOp::Read { .. }) { "read" } else { "write" } };
        if done.result.is_ok() {
            let took = done.ended.instant.since_by_faster(done.issued.instant);
            self.latency.get_or_create(&labels).observe(took.as_secs_f64());
        } else {
            self.errors.get_or_create(&labels).inc();
        }
    }

    /// The text, with the states of `status`.
    pub(crate) fn text(&self, status: &Status) -> String {
        self.take(status);
        let mut text = String::new();
        // Writing to a string cannot fail.
        encode(&mut text, &self.registry).ok();
        text
    }

    fn take(&self, status: &Status) {
        self.lease_left.set(seconds(status.own.lease_left_ms));
        self.renewal_age.set(seconds(status.own.last_renewal_age_ms));
        self.renewal_latency.set(seconds(status.own.renewal_latency_ms));
        self.fencer_beat_age.set(seconds(status.own.fencer.beat_age_ms));
        self.take_watchdog(&status.own.fencer.watchdog);
        self.unknown_writes.set(i64::from(status.own.unknown_writes));
        self.warnings.set(i64::try_from(status.warnings.len()).unwrap_or(i64::MAX));
        let unproven = status.domains.iter().filter(|domain| domain.unproven_storages().next().is_some());
        self.domains_unproven.set(i64::try_from(unproven.count()).unwrap_or(i64::MAX));
        self.hosts.clear();
        for host in &status.hosts {
            self.hosts.get_or_create(&StateLabels { state: host.state.as_str().to_owned() }).inc();
        }
        self.recoveries.clear();
        for recovery in &status.recoveries {
            self.recoveries.get_or_create(&StageLabels { stage: recovery.stage.clone() }).inc();
        }
    }

    fn take_watchdog(&self, watchdog: &WatchdogInfo) {
        self.watchdog_timeout.set(seconds(watchdog.timeout_ms));
        self.watchdog_pet_age.set(seconds(watchdog.last_pet_age_ms));
        self.watchdog.clear();
        let labels = WatchdogLabels {
            class: watchdog.class.clone(),
            device: watchdog.device.clone().unwrap_or_default(),
            identity: watchdog.identity.clone().unwrap_or_default(),
            nowayout: watchdog.nowayout.to_string(),
        };
        self.watchdog.get_or_create(&labels).set(1);
    }
}

fn seconds(ms: Option<u64>) -> f64 {
    Duration::from_millis(ms.unwrap_or(0)).as_secs_f64()
}
