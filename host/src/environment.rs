//! What an instance of the component reaches: a store, a clock, random numbers.

use std::sync::{Arc, Mutex};

use crate::clock::{BootClock, Clock};
use crate::store::{AwaitedStore, KvStore};

/// A store, a clock and, if not the system's, random numbers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) store: Arc<dyn KvStore>,
    /// The same store for tasks; none where threads call.
    pub(crate) awaited: Option<Arc<dyn AwaitedStore>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Option<Random>,
}

/// Who calls. All that a call does is the same for both, but for what it does where it has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callers {
    /// It blocks its thread, and is never suspended.
    Threads,
    /// It is suspended, and blocks no thread.
    Tasks,
}

/// The source of random numbers, if it is not the system.
pub(crate) type Random = Arc<Mutex<dyn FnMut() -> u64 + Send>>;

impl Environment {
    /// Takes a store, with the clock and the random numbers of the system.
    pub(crate) fn of(store: impl KvStore) -> Self {
        Environment { store: Arc::new(store), awaited: None, clock: Arc::new(BootClock), random: None }
    }

    /// Tells who calls.
    pub(crate) fn callers(&self) -> Callers {
        if self.awaited.is_some() { Callers::Tasks } else { Callers::Threads }
    }
}
