//! Live migrations that somebody asks libvirt for: how long each part takes, and how it ends.

use super::draw::pick;
use crate::time::{MS, S};

/// A live migration, asked for on its destination. Durations are nanoseconds of the world's time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Move {
    /// How long the guest's memory is copied while it runs on.
    pub copies: u64,
    /// From its CPUs' stop until they may run on the destination; and between what follows then.
    pub hands_over: u64,
    /// How it ends.
    pub end: MoveEnd,
}

/// How it ends, unless a host, a process or libvirt fails it before. What libvirt makes of each is its own code's
/// (`virDomainMigrateVersion3Full`, `qemuMigrationSrcConfirmPhase`, `qemuMigrationSrcCleanup`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MoveEnd {
    /// It has moved.
    Done,
    /// The connection breaks while its memory is copied: the source just runs on.
    FailsCopying,
    /// It fails once its CPUs are stopped: the destination gives up, then the source is resumed.
    FailsStopped,
    /// The destination is lost to libvirt once its CPUs are stopped: the source is resumed, and the destination gives up later.
    ResumedFirst,
    /// The destination lets it run, and its last reply is lost: libvirt resumes the source beside it.
    ReplyLost,
    /// The same, and the destination is slow: it lets it run only after the source was resumed.
    RunsLate,
    /// Whoever asked for it is gone when the destination runs it: libvirt leaves the source paused, until somebody resumes it.
    LeftPaused,
    /// It comes in paused (`--suspend`), and is resumed by hand later.
    ComesInPaused,
    /// It runs on the destination before its memory is there, which the source goes on sending (post-copy).
    PostCopy,
}

impl Move {
    /// One of all.
    pub(super) fn draw(rng: &mut fastrand::Rng) -> Self {
        use MoveEnd as E;
        let end = match rng.u8(..12) {
            0..=2 => E::Done,
            3 => E::FailsCopying,
            4 => E::FailsStopped,
            5 => E::ResumedFirst,
            6 | 7 => E::ReplyLost,
            8 => E::RunsLate,
            9 => E::LeftPaused,
            10 => E::ComesInPaused,
            _ => E::PostCopy,
        };
        let copies = pick(rng, [200 * MS, 2 * S, 8 * S]);
        let hands_over = pick(rng, [20 * MS, 300 * MS, 2 * S, 30 * S]);
        Self { copies: MS + rng.u64(..copies), hands_over: MS + rng.u64(..hands_over), end }
    }
}
