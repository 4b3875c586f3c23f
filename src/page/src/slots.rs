//! One half of the page: two slots written in turn by one process, read by the other (and by the writer's successor).
//!
//! Shared memory may change under a reader at any instant, so bytes are copied out by atomic words first and judged
//! afterwards. A slot whose CRC is wrong, or that changed while it was read, is never trusted. This module owns the only
//! unsafe code of the crate.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use leasefence_core::fencing::{HalfReading, SlotLook, head_under_way};
use memmap2::MmapRaw;

use crate::codec::{EncodeError, Half};
use crate::layout::{PAGE_BYTES, SLOT_HEAD_BYTES};

/// How often a slot that looks torn is read again, before it counts as bad: its writer needs microseconds.
const TRIES: u32 = 8;

/// No half is written this often: a head beyond it is damage.
const MOST_SEQUENCE: u64 = 1 << 60;

/// Memory that agent and fencer share, seen as words. All offsets are bytes, multiples of 8; each call touches one word, and
/// between any two of them the other process may read, or this one die.
pub trait Words: Clone {
    /// One word, as the number that its bytes are in little endian.
    fn load(&self, offset: usize, order: Ordering) -> u64;
    /// Writes one word.
    fn store(&self, offset: usize, value: u64, order: Ordering);
}

/// The shared mapping, seen as atomic words.
#[derive(Clone)]
pub(crate) struct Shared {
    map: Arc<MmapRaw>,
}

impl Shared {
    /// Takes a mapping of exactly [`PAGE_BYTES`], of a file that is sealed against shrinking.
    pub(crate) fn new(map: MmapRaw) -> Self {
        assert_eq!(map.len(), PAGE_BYTES, "the caller has checked the size");
        Self { map: Arc::new(map) }
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= PAGE_BYTES, "a word lies inside the page");
        let base = self.map.as_mut_ptr();
        // SAFETY: `offset` lies inside the mapping (asserted above; its length is asserted in `new`).
        let word = unsafe { base.add(offset) };
        // SAFETY: the mapping starts on a page boundary and `offset` is a multiple of 8, so the pointer is aligned; it stays
        // valid as long as `self` since the file is sealed against shrinking; and every access to this memory, in this and
        // in the other process, is atomic.
        unsafe { AtomicU64::from_ptr(word.cast()) }
    }
}

impl Words for Shared {
    fn load(&self, offset: usize, order: Ordering) -> u64 {
        u64::from_le(self.word(offset).load(order))
    }

    fn store(&self, offset: usize, value: u64, order: Ordering) {
        self.word(offset).store(value.to_le(), order);
    }
}

fn copy_out(words: &impl Words, offset: usize, to: &mut [u8]) {
    for (index, chunk) in to.chunks_mut(8).enumerate() {
        let word = words.load(offset + index * 8, Ordering::Relaxed).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

fn copy_in(words: &impl Words, offset: usize, from: &[u8]) {
    for (index, chunk) in from.chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        words.store(offset + index * 8, u64::from_le_bytes(word), Ordering::Relaxed);
    }
}

/// Where a half lies.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Byte offset of its slot 0; slot 1 follows.
    pub(crate) offset: usize,
    /// Size of one slot in bytes.
    pub(crate) slot_bytes: usize,
}

/// One half of the page, for its writer or for its reader.
pub(crate) struct Slots<H, M = Shared> {
    shared: M,
    place: Place,
    /// Big enough for one slot; made once.
    scratch: Box<[u8]>,
    /// The highest sequence read or written by this process.
    newest: u64,
    _half: PhantomData<H>,
}

impl<H: Half, M: Words> Slots<H, M> {
    pub(crate) fn new(shared: M, place: Place) -> Self {
        let scratch = vec![0; place.slot_bytes - SLOT_HEAD_BYTES].into_boxed_slice();
        Self { shared, place, scratch, newest: 0, _half: PhantomData }
    }

    /// Makes ready to write where a predecessor stopped. Where none of its slots is whole, goes on above the sequences that
    /// their heads show: the reader takes no lower one than it has seen.
    pub(crate) fn take_over(mut self) -> Self {
        if self.read(&mut H::default()) == HalfReading::Bad {
            let heads = [0, 1].map(|slot| self.shared.load(self.slot_offset(slot), Ordering::Acquire));
            self.newest = heads.into_iter().filter(|head| *head < MOST_SEQUENCE).max().unwrap_or(0);
        }
        self
    }

    fn slot_offset(&self, slot: usize) -> usize {
        self.place.offset + slot * self.place.slot_bytes
    }

    /// Copies the newest whole slot into `half`. On anything but `Good` the contents of `half` mean nothing.
    pub(crate) fn read(&mut self, half: &mut H) -> HalfReading<u64> {
        for _ in 0..TRIES {
            if self.is_empty() {
                return HalfReading::Empty;
            }
            let heads = [0, 1].map(|slot| self.shared.load(self.slot_offset(slot), Ordering::Acquire));
            let order = if heads[0] >= heads[1] { [0, 1] } else { [1, 0] };
            for slot in order {
                if let Some(sequence) = self.read_slot(slot, half)
                    && sequence >= self.newest
                {
                    self.newest = sequence;
                    return HalfReading::Good(sequence);
                }
            }
            std::hint::spin_loop();
        }
        HalfReading::Bad
    }

    fn is_empty(&self) -> bool {
        let zero = |slot| {
            let at = self.slot_offset(slot);
            self.shared.load(at, Ordering::Acquire) == 0 && self.shared.load(at + 8, Ordering::Acquire) == 0
        };
        self.newest == 0 && zero(0) && zero(1)
    }

    /// Reads one slot; none when it is torn, empty, or not a half.
    fn read_slot(&mut self, slot: usize, half: &mut H) -> Option<u64> {
        let at = self.slot_offset(slot);
        let sequence = self.shared.load(at, Ordering::Acquire);
        let check = self.shared.load(at + 8, Ordering::Acquire);
        let (len, crc) = split(check);
        if sequence == 0 || len > self.scratch.len() {
            return None;
        }
        copy_out(&self.shared, at + SLOT_HEAD_BYTES, &mut self.scratch[..len]);
        // The copy must be over before the head is looked at again.
        fence(Ordering::Acquire);
        let unchanged = self.shared.load(at, Ordering::Relaxed) == sequence
            && self.shared.load(at + 8, Ordering::Relaxed) == check;
        let payload = &self.scratch[..len];
        let look = SlotLook { sequence, unchanged, crc_fits: crc == crc_of(at, sequence, payload) };
        if !look.is_whole() {
            return None;
        }
        half.decode(payload).ok().map(|()| sequence)
    }

    /// Writes `half` into the slot that does not hold the newest, under the next sequence.
    ///
    /// Its writer must have taken the half over first.
    pub(crate) fn write(&mut self, half: &H) -> Result<u64, EncodeError> {
        let len = half.encode(&mut self.scratch)?;
        let sequence = self.newest + 1;
        let slot = usize::from(!sequence.is_multiple_of(2));
        let at = self.slot_offset(slot);
        let payload = &self.scratch[..len];
        let check = join(len, crc_of(at, sequence, payload));
        // It is marked as under way: whoever reads it from here on takes the other one.
        self.shared.store(at, head_under_way(sequence), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        copy_in(&self.shared, at + SLOT_HEAD_BYTES, payload);
        self.shared.store(at + 8, check, Ordering::Relaxed);
        self.shared.store(at, sequence, Ordering::Release);
        // A process that writes its half and then reads the other's must not read first: one of two such processes then
        // sees the other's write (a token against a latch).
        fence(Ordering::SeqCst);
        self.newest = sequence;
        Ok(sequence)
    }
}

fn crc_of(slot_offset: usize, sequence: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&u64::try_from(slot_offset).unwrap_or(u64::MAX).to_le_bytes());
    hasher.update(&sequence.to_le_bytes());
    hasher.update(&u64::try_from(payload.len()).unwrap_or(u64::MAX).to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

fn join(len: usize, crc: u32) -> u64 {
    let len = u32::try_from(len).expect("a slot is smaller than 4 GiB");
    u64::from(len) | u64::from(crc) << 32
}

fn split(check: u64) -> (usize, u32) {
    let bytes = check.to_le_bytes();
    let [l0, l1, l2, l3, c0, c1, c2, c3] = bytes;
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    (usize::try_from(len).unwrap_or(usize::MAX), u32::from_le_bytes([c0, c1, c2, c3]))
}
