//! A part of a state that many states have in common: copied when it changes, hashed once.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use ahash::RandomState;

/// A value that states share. [`edit`](Self::edit) makes it this state's own.
#[derive(Clone)]
pub(crate) struct Shared<T>(Arc<Part<T>>);

#[derive(Clone)]
struct Part<T> {
    value: T,
    hash: OnceLock<u64>,
}

impl<T: Clone> Shared<T> {
    /// Takes a value.
    pub(crate) fn new(value: T) -> Self {
        Shared(Arc::new(Part { value, hash: OnceLock::new() }))
    }

    /// The value, to be changed.
    pub(crate) fn edit(&mut self) -> &mut T {
        let part = Arc::make_mut(&mut self.0);
        part.hash = OnceLock::new();
        &mut part.value
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.value == other.0.value
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: Hash> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Fixed seeds: a state has the same hash in every thread and run.
        let hash = || RandomState::with_seeds(1, 2, 3, 4).hash_one(&self.0.value);
        self.0.hash.get_or_init(hash).hash(state);
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(f)
    }
}
