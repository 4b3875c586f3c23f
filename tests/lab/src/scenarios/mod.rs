//! All scenarios, in the order in which they are played: a file for each subject.

mod all_cut;
mod clock;
mod cluster_cut;
mod cut_healed;
mod cut_past_verdict;
mod drill;
mod exempt;
mod export;
mod file_system;
mod flapping;
mod freeze;
mod image_locks;
mod io_hangs;
mod iscsi;
mod lease_file;
mod libvirtd_hung;
mod lvm;
mod maintenance;
mod mapped;
mod mass_power_loss;
mod memory;
mod migrate;
mod one_way;
mod panic;
mod power_off;
mod processes;
mod reset;
mod server;
mod unkillable;
mod upgrade;
mod watchdog;

use crate::scenario::Scenario;

/// All of them.
pub const ALL: &[Scenario] = &[
    power_off::SCENARIO,
    cut_healed::AFTER_0_3,
    cut_healed::AFTER_0_6,
    cut_healed::AFTER_0_9,
    flapping::SCENARIO,
    cluster_cut::SCENARIO,
    server::SLOW,
    server::PAUSED,
    server::RESTARTED,
    server::FAILED_OVER,
    upgrade::SCENARIO,
    processes::AGENT_KILLED,
    processes::FENCER_KILLED,
    libvirtd_hung::SCENARIO,
    clock::SCENARIO,
    export::FULL,
    iscsi::TARGET_RESET,
    maintenance::DISARMED,
    maintenance::UNWATCHED,
    maintenance::REBOOTED,
    maintenance::SAVED,
    processes::AGENT_STOPPED,
    processes::FENCER_STOPPED,
    processes::FENCER_KILLED_CUT,
    memory::SCENARIO,
    panic::SCENARIO,
    panic::HANGS,
    watchdog::FENCER,
    watchdog::SOFTDOG,
    reset::SYSRQ,
    reset::DISABLED,
    maintenance::PLANNED_FENCE,
    drill::SCENARIO,
    migrate::LIVE,
    migrate::POST_COPY,
    migrate::SOURCE_CUT,
    migrate::DESTINATION_CUT,
    cut_past_verdict::SCENARIO,
    cut_past_verdict::NOT_QUIESCED,
    exempt::SCENARIO,
    one_way::DEAF,
    one_way::MUTE,
    iscsi::LOGOUT,
    iscsi::SHORT_TIMEOUT,
    iscsi::LONG_TIMEOUT,
    mapped::PLANNED_FENCE,
    mapped::CUT,
    lvm::CUT,
    file_system::PLANNED_FENCE,
    file_system::CUT,
    unkillable::SCENARIO,
    image_locks::LEASE_TIME_90,
    image_locks::NFS_3,
    image_locks::NFS_3_NOLOCK,
    image_locks::TRAP,
    image_locks::TRAP_NOLOCK,
    image_locks::TRAP_NOT_QUIESCED,
    all_cut::SCENARIO,
    export::READ_ONLY,
    export::GONE,
    iscsi::LUN_GONE,
    io_hangs::WRITES,
    io_hangs::READS,
    lease_file::REPLACED,
    lease_file::RESTORED,
    server::FAILED_OVER_LATE,
    server::RESET,
    mass_power_loss::SCENARIO,
    freeze::SCENARIO,
];
