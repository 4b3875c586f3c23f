//! Where everything lies in the page. The layout is drawn here once, and checked at compile time.
//!
//! ```text
//! 0        header: magic 8, layout version 4, size 4, zero
//! 512      what the agent wants of the watchdog, slots 0 and 1   (512 bytes each)
//! 1536     what the fencer says of it, slots 0 and 1             (1 KiB each)
//! 3584     what the agent wants of this host's own reset, 0 and 1     (32 bytes each)
//! 3648     what the fencer says of it, slots 0 and 1             (160 bytes each)
//! 3968     what the fencer did at the last end, slots 0 and 1    (64 bytes each)
//! 4096     agent's half, slot 0   (96 KiB)
//! 102400   agent's half, slot 1   (96 KiB)
//! 200704   fencer's half, slot 0  (40 KiB)
//! 241664   fencer's half, slot 1  (40 KiB)
//! 282624   end
//!
//! a slot: sequence 8 | payload length 4 | CRC32 4 | payload
//! ```
//! A page of a release without a watchdog has zeros from 512 on, one of a release without a reset from 3584 on: halves that
//! were never written.
//! The CRC covers which slot it is, the sequence, the length and the payload, so that bytes in the wrong place show.

/// The version of this layout. A process that does not know a page's version refuses it.
pub const LAYOUT_VERSION: u32 = 2;

/// The most domain leases that an agent can note as its own.
pub const MAX_OWN_LEASES: usize = 1024;
/// The most start tokens that can be open at once.
pub const MAX_TOKENS: usize = 1024;
/// The most domains that can be exempt.
pub const MAX_EXEMPT: usize = 1024;
/// The most writes of unknown outcome: one a sector of the own slot is the rule.
pub const MAX_UNKNOWN_WRITES: usize = 128;
/// The most storages that must be shown quiet.
pub const MAX_QUIESCE_TARGETS: usize = 256;
/// The most domains that can be said to have all their storages among these.
pub const MAX_COVERED: usize = 1024;
/// The most domain processes that the fencer's half can show.
pub const MAX_PROCESSES: usize = 1024;

pub(crate) const MAGIC: [u8; 8] = *b"LFPAGE\r\n";
pub(crate) const HEADER_BYTES: usize = 4096;
pub(crate) const WISH_OFFSET: usize = 512;
pub(crate) const WISH_SLOT_BYTES: usize = 512;
pub(crate) const REPORT_OFFSET: usize = WISH_OFFSET + 2 * WISH_SLOT_BYTES;
pub(crate) const REPORT_SLOT_BYTES: usize = 1024;
pub(crate) const RESET_WISH_OFFSET: usize = REPORT_OFFSET + 2 * REPORT_SLOT_BYTES;
pub(crate) const RESET_WISH_SLOT_BYTES: usize = 32;
pub(crate) const RESET_OFFSET: usize = RESET_WISH_OFFSET + 2 * RESET_WISH_SLOT_BYTES;
pub(crate) const RESET_SLOT_BYTES: usize = 160;
pub(crate) const RUNGS_OFFSET: usize = RESET_OFFSET + 2 * RESET_SLOT_BYTES;
pub(crate) const RUNGS_SLOT_BYTES: usize = 64;
pub(crate) const AGENT_SLOT_BYTES: usize = 24 * 4096;
pub(crate) const FENCER_SLOT_BYTES: usize = 10 * 4096;
pub(crate) const AGENT_OFFSET: usize = HEADER_BYTES;
pub(crate) const FENCER_OFFSET: usize = AGENT_OFFSET + 2 * AGENT_SLOT_BYTES;

/// The size of the page in bytes.
pub const PAGE_BYTES: usize = FENCER_OFFSET + 2 * FENCER_SLOT_BYTES;

/// Sequence, payload length and CRC, before each slot's payload.
pub(crate) const SLOT_HEAD_BYTES: usize = 16;

/// Encoded sizes of list entries, in bytes.
pub(crate) const UNKNOWN_WRITE_BYTES: usize = 8 + 16;
pub(crate) const TOKEN_BYTES: usize = 16 + 4 + 16;
pub(crate) const EXEMPT_BYTES: usize = 16;
pub(crate) const QUIESCE_BYTES: usize = 1 + 8;
pub(crate) const COVERED_BYTES: usize = 16;
pub(crate) const OWN_LEASE_BYTES: usize = 16 + 4 + 1;
pub(crate) const PROCESS_BYTES: usize = 16 + 4 + 8 + 8;

/// Encoded sizes of the halves without their lists, counts included, in bytes.
pub(crate) const AGENT_FIXED_BYTES: usize = 16 + 16 + 6 + 4 + 1 + 16 + TERMS_BYTES + 8 + 6 * 4;
pub(crate) const FENCER_FIXED_BYTES: usize =
    16 + TERMS_BYTES + 4 + 1 + 1 + 6 + 16 + (1 + 16) + (1 + 4 + 16 + 1) + 1 + 1 + 8 + 4;
pub(crate) const TERMS_BYTES: usize = 6 * 8 + 2;

/// Encoded sizes of what is said of the watchdog, in bytes.
pub(crate) const WISH_BYTES: usize = 1 + (1 + PATH_BYTES) + 8;
pub(crate) const REPORT_BYTES: usize =
    WISH_BYTES + 1 + 1 + (1 + PATH_BYTES) + (1 + IDENTITY_BYTES) + 8 + 16 + (1 + NOTE_BYTES);
/// The longest path of a device, in bytes.
pub const PATH_BYTES: usize = 128;
pub(crate) const IDENTITY_BYTES: usize = 32;
pub(crate) const NOTE_BYTES: usize = 255;

/// Encoded sizes of what is said of the host's own reset and of the last fence, in bytes.
pub(crate) const RESET_WISH_BYTES: usize = 1;
pub(crate) const RESET_BYTES: usize = 1 + (1 + RESET_NOTE_BYTES);
pub(crate) const RESET_NOTE_BYTES: usize = 128;
pub(crate) const RUNGS_BYTES: usize = 6 + 9 * 4 + 2 * 2;

const AGENT_MOST: usize = SLOT_HEAD_BYTES
    + AGENT_FIXED_BYTES
    + MAX_UNKNOWN_WRITES * UNKNOWN_WRITE_BYTES
    + MAX_TOKENS * TOKEN_BYTES
    + MAX_EXEMPT * EXEMPT_BYTES
    + MAX_QUIESCE_TARGETS * QUIESCE_BYTES
    + MAX_COVERED * COVERED_BYTES
    + MAX_OWN_LEASES * OWN_LEASE_BYTES;

const _: () = {
    assert!(RUNGS_OFFSET + 2 * RUNGS_SLOT_BYTES <= HEADER_BYTES, "all of them lie beside the header");
    assert!(RESET_WISH_OFFSET == 3584 && RESET_OFFSET == 3648 && RUNGS_OFFSET == 3968, "as drawn");
    assert!(SLOT_HEAD_BYTES + RESET_WISH_BYTES <= RESET_WISH_SLOT_BYTES);
    assert!(SLOT_HEAD_BYTES + RESET_BYTES <= RESET_SLOT_BYTES);
    assert!(SLOT_HEAD_BYTES + RUNGS_BYTES <= RUNGS_SLOT_BYTES);
    assert!(
        SLOT_HEAD_BYTES + WISH_BYTES <= WISH_SLOT_BYTES
            && SLOT_HEAD_BYTES + REPORT_BYTES <= REPORT_SLOT_BYTES
    );
    assert!(AGENT_MOST <= AGENT_SLOT_BYTES, "the fullest agent's half fits its slot");
    assert!(SLOT_HEAD_BYTES + FENCER_FIXED_BYTES + MAX_PROCESSES * PROCESS_BYTES <= FENCER_SLOT_BYTES);
    assert!(AGENT_SLOT_BYTES.is_multiple_of(4096) && FENCER_SLOT_BYTES.is_multiple_of(4096));
    assert!(PAGE_BYTES == 282_624 && PAGE_BYTES <= 512 * 1024);
};
