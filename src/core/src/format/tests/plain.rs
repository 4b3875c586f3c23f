//! The host record that tests of other modules start from.

use std::time::Duration;

use crate::format::{HostName, HostRecord, HostState, RecordFlags, WatchdogClass};
use crate::ids::{BootId, Generation, HostKey, Incarnation, Nonce, Sequence};
use crate::terms::Preset;

/// A host that holds its lease under the fast terms, and promises, asks and says nothing else.
pub(crate) fn plain_record(incarnation: Incarnation, sequence: u64) -> HostRecord {
    let terms = Preset::Fast.timing().terms;
    HostRecord {
        incarnation,
        boot_id: BootId([1; 16]),
        sequence: Sequence(sequence),
        host_key: HostKey([1; 16]),
        process_nonce: Nonce(1),
        freed_generation: Generation(0),
        state: HostState::Held,
        watchdog_class: WatchdogClass::None,
        flags: RecordFlags::default(),
        terms,
        echo: terms,
        issued_ns: 0,
        wall_ns: 0,
        scan_age: None,
        protocol_min: 1,
        protocol_max: 1,
        key_id: 0,
        host_name: HostName::cut("host"),
        api_address: None,
        page_versions: [0; 16],
        fence_requests: [None; 4],
        convictions: [None; 8],
        survival_max: Duration::ZERO,
        survival_set: [0; 32],
        auth_tag: [0; 16],
    }
}
