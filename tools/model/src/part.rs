//! A part of a state that is shared between the many states that differ elsewhere: hashed once, and asked for its
//! sequences once.

use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

use leasefence_core::marks::Marks;

use crate::fingerprint::fingerprint;
use crate::relative::{Renumbered, Sequences};

/// The part.
pub(crate) struct Part<T>(Rc<Inner<T>>);

struct Inner<T> {
    value: T,
    print: u128,
    sequences: Sequences,
}

impl<T: Clone + Hash + Marks> Part<T> {
    /// A part with this value.
    pub(crate) fn new(mut value: T) -> Self {
        let sequences = Sequences::of(&mut value);
        let print = fingerprint(&value);
        Self(Rc::new(Inner { value, print, sequences }))
    }

    /// The same part after `change`.
    pub(crate) fn changed(&self, change: impl FnOnce(&mut T)) -> Self {
        let mut value = self.0.value.clone();
        change(&mut value);
        Self::new(value)
    }

    /// The sequences in it.
    pub(crate) fn sequences(&self) -> &Sequences {
        &self.0.sequences
    }

    /// The same part with other numbers.
    pub(crate) fn renumbered(&self, numbers: &Renumbered) -> Self {
        if numbers.changes(self.sequences()) {
            self.changed(|value| numbers.apply(value))
        } else {
            self.clone()
        }
    }
}

impl<T> Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Clone for Part<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Hash for Part<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.0.print);
    }
}
