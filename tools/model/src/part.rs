//! A part of a state that is shared between the many states that differ elsewhere: hashed once, and asked for its
//! sequences once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

use leasefence_core::marks::Marks;

use crate::fingerprint::{AsIs, fingerprint};
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

    /// Its fingerprint.
    pub(crate) fn print(&self) -> u128 {
        self.0.print
    }

    /// The sequences in it.
    pub(crate) fn sequences(&self) -> &Sequences {
        &self.0.sequences
    }

    /// The same part with other numbers.
    pub(crate) fn renumbered(&self, numbers: &Renumbered, known: &Known<Self>) -> Self {
        if !numbers.changes(self.sequences()) {
            return self.clone();
        }
        known.or_find((self.print(), numbers.print()), || self.changed(|value| numbers.apply(value)))
    }
}

/// What became of parts before: a part goes through the same steps beside many others.
pub(crate) struct Known<T>(RefCell<HashMap<u128, T, BuildHasherDefault<AsIs>>>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T: Clone> Known<T> {
    /// What `key` gave before, or gives now. The key names all that `find` depends on.
    pub(crate) fn or_find(&self, key: impl Hash, find: impl FnOnce() -> T) -> T {
        let key = fingerprint(&key);
        if let Some(known) = self.0.borrow().get(&key) {
            return known.clone();
        }
        let found = find();
        self.0.borrow_mut().insert(key, found.clone());
        found
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
