//! The tries of conflict retries that run in a session: a retry of the same key within one is a part of it, if it is of
//! the same thread. A task has no such name, so that each of its retries is by itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::ThreadId;

/// By their keys.
#[derive(Default)]
pub(crate) struct Tries(Mutex<HashMap<String, Running>>);

/// Who tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worker {
    Thread(ThreadId),
    /// A retry of a task.
    Task(u64),
}

impl Worker {
    /// Returns the calling thread.
    pub(crate) fn this_thread() -> Self {
        Worker::Thread(std::thread::current().id())
    }

    /// Returns a worker unlike all others.
    pub(crate) fn of_a_task() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Worker::Task(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

struct Running {
    worker: Worker,
    /// How many, with those within the outermost.
    depth: u32,
    /// One within the outermost ran into a conflict.
    conflict: bool,
}

impl Tries {
    /// Returns true if a try of this key can begin in this thread. Two threads of one session would both be at work.
    pub(crate) fn is_open(&self, key: &str, worker: Worker) -> bool {
        self.lock().get(key).is_none_or(|running| running.worker == worker)
    }

    /// Notes that a try begins. Returns false if one of another thread runs.
    pub(crate) fn begin(&self, key: &str, worker: Worker) -> bool {
        let mut tries = self.lock();
        match tries.get_mut(key) {
            Some(running) if running.worker != worker => return false,
            Some(running) => running.depth += 1,
            None => drop(tries.insert(key.to_string(), Running { worker, depth: 1, conflict: false })),
        }
        true
    }

    /// Notes that a try within another ran into a conflict, which the outermost is to report.
    pub(crate) fn pass_on_conflict(&self, key: &str) {
        if let Some(running) = self.lock().get_mut(key) {
            running.conflict = true;
        }
    }

    /// Returns true if the only try that still runs is the outermost, and one within it ran into a conflict.
    pub(crate) fn has_conflict_within(&self, key: &str) -> bool {
        self.lock().get(key).is_some_and(|running| running.depth == 1 && running.conflict)
    }

    /// Notes that a try ends.
    pub(crate) fn end(&self, key: &str) {
        let mut tries = self.lock();
        let Some(running) = tries.get_mut(key) else { return };
        running.depth -= 1;
        if running.depth == 0 {
            tries.remove(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
