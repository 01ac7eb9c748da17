//! What the owners of a client's tasks share: threads, and instances.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::options::OwnerOptions;
use super::slots::{Slot, Slots};
use crate::component::Guest;
use crate::queue::Place;
use crate::runner::Runner;

/// How many instances are kept for later, each with a hundred kilobytes or so. A task that holds a lock, or is the first
/// to wait for one, has an instance; to make one takes as long as some acquires.
const MOST_IDLE: usize = 1024;

/// Runs the calls of tasks, and keeps the instances of owners that have gone for those that come.
pub(crate) struct Tasks {
    runner: Arc<Runner>,
    /// Those of each owner whose instance is kept.
    options: OwnerOptions,
    /// With the names of the sessions that are open in them.
    idle: Mutex<Vec<(Arc<str>, Box<Guest>)>>,
    gates: Mutex<BTreeMap<Place, Gate>>,
    slots: Arc<Slots>,
}

type Gate = Arc<async_lock::Mutex<()>>;

/// Lets its owner be the only one of a place whose first poll is under way. Dropping it lets the next one in.
pub(crate) struct FirstPoll<'a> {
    tasks: &'a Tasks,
    place: Place,
    gate: Gate,
    passed: Option<async_lock::MutexGuardArc<()>>,
}

impl Drop for FirstPoll<'_> {
    fn drop(&mut self) {
        self.passed = None;
        let mut gates = self.tasks.gates.lock().unwrap_or_else(PoisonError::into_inner);
        // That of the map, and this one.
        if Arc::strong_count(&self.gate) <= 2 {
            gates.remove(&self.place);
        }
    }
}

impl Tasks {
    pub(crate) fn new(runner: Arc<Runner>, options: OwnerOptions) -> Self {
        Tasks { runner, options, idle: Mutex::default(), gates: Mutex::default(), slots: Arc::default() }
    }

    /// Returns the options of the owners of a single wait.
    pub(crate) fn options(&self) -> &OwnerOptions {
        &self.options
    }

    pub(crate) fn runner(&self) -> &Arc<Runner> {
        &self.runner
    }

    /// Waits until no first poll of a place is under way. Its answer makes a queue, if the place is taken: without that, a
    /// crowd that comes at once would all be in the component.
    pub(crate) async fn first_poll(&self, place: Place) -> FirstPoll<'_> {
        let gate = {
            let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
            gates.entry(place.clone()).or_default().clone()
        };
        let mut first = FirstPoll { tasks: self, place, gate, passed: None };
        first.passed = Some(first.gate.lock_arc().await);
        first
    }

    /// Waits for the slot of an owner that has no instance yet.
    pub(super) async fn slot(&self) -> Slot {
        self.slots.take(&self.runner).await
    }

    /// Takes an instance that an owner with these options has left.
    pub(super) fn take(&self) -> Option<(Arc<str>, Box<Guest>)> {
        self.idle().pop()
    }

    /// Keeps the instance of an owner with these options that has gone. Nothing is held in it.
    pub(super) fn keep(&self, name: Arc<str>, guest: Box<Guest>) {
        let mut idle = self.idle();
        if idle.len() < MOST_IDLE {
            idle.push((name, guest));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Arc<str>, Box<Guest>)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a name for a task, as its thread's is for a thread.
pub(super) fn next_name() -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    format!("task-{}", LAST.fetch_add(1, Ordering::Relaxed) + 1)
}
