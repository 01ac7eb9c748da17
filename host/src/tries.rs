//! The tries of conflict retries that run in a session: a retry of the same key within one is a part of it, if it is of
//! the same thread.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::thread::ThreadId;

/// By their keys.
#[derive(Default)]
pub(crate) struct Tries(Mutex<HashMap<String, Running>>);

struct Running {
    thread: ThreadId,
    /// How many, with those within the outermost.
    depth: u32,
    /// One within the outermost ran into a conflict.
    conflict: bool,
}

impl Tries {
    /// Returns true if a try of this key can begin in this thread. Two threads of one session would both be at work.
    pub(crate) fn is_open(&self, key: &str) -> bool {
        self.lock().get(key).is_none_or(|running| running.thread == std::thread::current().id())
    }

    /// Notes that a try begins. Returns false if one of another thread runs.
    pub(crate) fn begin(&self, key: &str) -> bool {
        let thread = std::thread::current().id();
        let mut tries = self.lock();
        match tries.get_mut(key) {
            Some(running) if running.thread != thread => return false,
            Some(running) => running.depth += 1,
            None => drop(tries.insert(key.to_string(), Running { thread, depth: 1, conflict: false })),
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
