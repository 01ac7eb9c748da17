//! What an instance of the component reaches: a store, a clock, random numbers.

use std::any::{Any, TypeId};
use std::sync::{Arc, Mutex};

use crate::clock::{BootClock, Clock};
use crate::events::Events;
use crate::runner::Runner;
#[cfg(feature = "memcached")]
use crate::store::{AwaitedMemcached, Memcached};
use crate::store::{AwaitedStore, KvStore, Workers};

/// A store, a clock and, if not the system's, random numbers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) store: Arc<dyn KvStore>,
    /// The same store by its type, of which some have another way to be awaited.
    #[cfg_attr(not(feature = "memcached"), expect(dead_code, reason = "only memcached's has another way"))]
    typed: Arc<dyn Any + Send + Sync>,
    /// The same store for tasks; none where threads call.
    pub(crate) awaited: Option<Arc<dyn AwaitedStore>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Option<Random>,
    /// Who is told of what happens.
    pub(crate) events: Events,
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
    pub(crate) fn of<S: KvStore>(store: S) -> Self {
        let store = Arc::new(store);
        let (clock, events) = (Arc::new(BootClock), Events::of(sort_of::<S>()));
        Environment { store: store.clone(), typed: store, awaited: None, clock, random: None, events }
    }

    /// Returns the same for tasks, whose calls of the store these threads see to.
    pub(crate) fn for_tasks(mut self, runner: &Arc<Runner>) -> Self {
        self.awaited = Some(self.awaited_store(runner));
        self
    }

    #[cfg_attr(not(feature = "memcached"), expect(unused_variables, reason = "every other store is called by threads"))]
    fn awaited_store(&self, runner: &Arc<Runner>) -> Arc<dyn AwaitedStore> {
        #[cfg(feature = "memcached")]
        if let Ok(memcached) = self.typed.clone().downcast::<Memcached>() {
            return Arc::new(AwaitedMemcached::new(memcached, runner.clone()));
        }
        Arc::new(Workers::new(self.store.clone()))
    }

    /// Tells who calls.
    pub(crate) fn callers(&self) -> Callers {
        if self.awaited.is_some() { Callers::Tasks } else { Callers::Threads }
    }
}

/// Returns what sort of store this is: as its URLs begin, or `other`.
fn sort_of<S: KvStore>() -> &'static str {
    let sorts = [
        (TypeId::of::<crate::store::Memory>(), "memory"),
        #[cfg(feature = "memcached")]
        (TypeId::of::<Memcached>(), "memcached"),
        #[cfg(feature = "redis")]
        (TypeId::of::<crate::store::Redis>(), "redis"),
        #[cfg(feature = "etcd")]
        (TypeId::of::<crate::store::Etcd>(), "etcd"),
        #[cfg(feature = "postgres")]
        (TypeId::of::<crate::store::Postgres>(), "postgres"),
        #[cfg(feature = "local")]
        (TypeId::of::<crate::store::Local>(), "local"),
    ];
    sorts.iter().find(|(of, _)| *of == TypeId::of::<S>()).map_or("other", |(_, sort)| sort)
}
