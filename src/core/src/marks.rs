//! What in a state means something only beside other states of the same host: instants, and the numbers of writes. The
//! model check visits them to bring a state to a canonical form, in which two runs that differ by absolute time or by
//! how much was written before are the same. It decides nothing, and only the feature `model-check` compiles it.

use std::collections::BTreeMap;

use crate::ids::{Generation, Nonce, Sequence, Term};
use crate::time::{HolderDeadline, Instant, Now, ObserverDeadline};

/// One of them.
#[derive(Debug)]
pub enum Mark<'a> {
    /// A reading of this host's clocks, or a deadline on them. [`NEVER`](crate::unknown::NEVER) is among them.
    Instant(&'a mut Instant),
    /// An instant of the past of which nothing matters but whether it lies within the longest gap between two reads.
    Recent(&'a mut Instant),
    /// The number of a write of a sector. Compared, stepped on by one, and looked at for its parity.
    Sequence(&'a mut Sequence),
    /// Which life of a slot. Compared, and stepped on by one.
    Generation(&'a mut Generation),
    /// A domain lease's term. Compared, and stepped on by one.
    Term(&'a mut Term),
    /// A random number, compared for equality only.
    Nonce(&'a mut Nonce),
}

/// A state whose marks can be visited. An implementation visits *all* of its type's marks, and sets to a constant what
/// nothing decides by (counters for people, latencies, wall time): it may be called only on a state that is searched.
pub trait Marks {
    /// Calls `f` with each mark, always in the same order.
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>));
}

macro_rules! leaf {
    ($($kind:ident),*) => {
        $(impl Marks for $kind {
            fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
                f(Mark::$kind(self));
            }
        })*
    };
}

leaf!(Instant, Sequence, Generation, Term, Nonce);

impl Marks for HolderDeadline {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.0.each_mark(f);
    }
}

impl Marks for ObserverDeadline {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.0.each_mark(f);
    }
}

impl Marks for Now {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.wall_ns = 0;
        self.instant.each_mark(f);
    }
}

impl<T: Marks> Marks for Option<T> {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.iter_mut().for_each(|inner| inner.each_mark(f));
    }
}

impl<T: Marks, E> Marks for Result<T, E> {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.iter_mut().for_each(|inner| inner.each_mark(f));
    }
}

impl<T: Marks> Marks for Vec<T> {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.iter_mut().for_each(|inner| inner.each_mark(f));
    }
}

impl<T: Marks, const N: usize> Marks for [T; N] {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.iter_mut().for_each(|inner| inner.each_mark(f));
    }
}

impl<K, V: Marks> Marks for BTreeMap<K, V> {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.values_mut().for_each(|inner| inner.each_mark(f));
    }
}

impl<A: Marks, B: Marks> Marks for (A, B) {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.0.each_mark(f);
        self.1.each_mark(f);
    }
}
