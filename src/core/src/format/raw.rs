//! Little-endian integers at byte offsets, and durations in the units of the format.
//!
//! Offsets are constants of a record whose length is asserted at compile time; a slice that is too short would be a
//! bug of this crate, never of the medium, since lengths are checked before any field is read.

use std::time::Duration;

/// True when all bytes are zero. Most of a lease file is, and each scan looks at all of it: a block of bytes at a time, which
/// the compiler turns into a few wide loads, is many times as fast as stopping at the first byte that is not.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let any = |block: &[u8]| block.iter().fold(0, |any, byte| any | byte);
    blocks.iter().all(|block| any(block) == 0) && any(rest) == 0
}

pub(super) fn get<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

pub(super) fn get_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(get(bytes, at))
}

pub(super) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(get(bytes, at))
}

pub(super) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(get(bytes, at))
}

pub(super) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    put(bytes, at, &value.to_le_bytes());
}

pub(super) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    put(bytes, at, &value.to_le_bytes());
}

pub(super) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    put(bytes, at, &value.to_le_bytes());
}

pub(super) fn get_ms(bytes: &[u8], at: usize) -> Duration {
    Duration::from_millis(u64::from(get_u32(bytes, at)))
}

/// Writes a duration in whole milliseconds, rounded up: a reader must never take a promise for shorter than it is.
pub(super) fn put_ms(bytes: &mut [u8], at: usize, value: Duration) {
    put_u32(bytes, at, u32::try_from(value.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX));
}
