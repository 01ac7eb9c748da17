//! What an instance of the component reaches: a store, a clock, random numbers.

use std::sync::{Arc, Mutex};

use crate::clock::{BootClock, Clock};
use crate::store::KvStore;

/// A store, a clock and, if not the system's, random numbers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) store: Arc<dyn KvStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Option<Random>,
}

/// The source of random numbers, if it is not the system.
pub(crate) type Random = Arc<Mutex<dyn FnMut() -> u64 + Send>>;

impl Environment {
    /// Takes a store, with the clock and the random numbers of the system.
    pub(crate) fn of(store: impl KvStore) -> Self {
        Environment { store: Arc::new(store), clock: Arc::new(BootClock), random: None }
    }
}
