//! Counts what the heap is asked for, in builds with debug assertions only: between arming and CLEAN the fencing thread must
//! not ask for anything (R7), neither for memory nor to give some back, since both take the heap's lock.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use leasefence_core::fencing::Event;

thread_local! {
    static OWN: Cell<u64> = const { Cell::new(0) };
}
static ALL: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counted.
pub(crate) struct Counting;

fn count() {
    ALL.fetch_add(1, Ordering::Relaxed);
    // A thread that ends has no count any more.
    OWN.try_with(|own| own.set(own.get() + 1)).ok();
}

// SAFETY: every call is handed on to the system's allocator as it came; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count();
        // SAFETY: as above; `ptr` came from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as above; `ptr` came from `System`.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

/// Counts from an arming to CLEAN.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    armed: Option<Counts>,
}

/// Calls of this thread, and of all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    own: u64,
    all: u64,
}

impl Watch {
    /// Sees an event of the calling thread's; the counts are of the time since it was armed.
    pub(crate) fn sees(&mut self, event: &Event) -> Option<Counts> {
        let now = Counts { own: OWN.get(), all: ALL.load(Ordering::Relaxed) };
        match event {
            Event::Armed(..) => self.armed = Some(now),
            Event::Clean(..) => {
                return self.armed.map(|then| Counts { own: now.own - then.own, all: now.all - then.all });
            }
            _ => {}
        }
        None
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = self.all - self.own;
        write!(f, "calls of the heap since arming: {} by the fencing thread, {others} by others", self.own)
    }
}
