//! The store `memory:`, a mock: contents in this process, faults on demand, and a log of every call.
//!
//! It is deterministic: with a [`VirtualClock`](crate::clock::VirtualClock) nothing in it depends on real time, and
//! eras and versions are small round numbers that only depend on the calls made.
//!
//! ```
//! use kvlock::clock::VirtualClock;
//! use kvlock::store::{Fault, KvStore, Memory, StoreError, Ttl};
//! use std::sync::Arc;
//!
//! let store = Memory::new(Arc::new(VirtualClock::new()));
//! store.script(Fault::LostReply);
//! assert!(matches!(store.add("k", b"v", Ttl::Forever), Err(StoreError::UnknownOutcome(_))));
//! assert_eq!(store.get("k").unwrap().unwrap().value, b"v");
//!
//! let log: Vec<String> = store.take_calls().iter().map(ToString::to_string).collect();
//! assert_eq!(log, ["add k -> unknown-outcome (lost reply)", "get k -> found"]);
//! ```

mod calls;
mod contents;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub use calls::{Answer, Call, Fault, Op};
use contents::{Contents, Request};

use super::{
    DeleteOutcome, Entry, EraInfo, Finding, Keys, KvStore, OnGone, Severity, StoreError, Ttl, Version, Watch, Watches,
    WriteOutcome,
};
use crate::clock::{BootClock, Clock};

/// The mock store. A clone is another handle to the same contents, script and log.
///
/// A new one is an empty store in era 1 000 000 000 000 that cannot have lost anything, so locks are granted at once.
/// An entry is absent from the very nanosecond at which its ttl is over.
#[derive(Clone)]
pub struct Memory {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
    watches: Watches,
}

/// What the handles of one store share.
struct State {
    contents: Contents,
    script: VecDeque<(Option<Op>, Fault)>,
    late: Vec<Request>,
    down: bool,
    calls: Vec<Call>,
}

impl Memory {
    /// Returns an empty store that tells the time by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State {
            contents: Contents::new(),
            script: VecDeque::new(),
            late: Vec::new(),
            down: false,
            calls: Vec::new(),
        };
        Memory { clock, state: Arc::new(Mutex::new(state)), watches: Watches::default() }
    }

    /// Lets `fault` happen to the next call that no earlier line of the script takes.
    pub fn script(&self, fault: Fault) {
        self.lock().script.push_back((None, fault));
    }

    /// Lets `fault` happen to the next call of this operation; calls of other operations leave it in the script.
    pub fn script_for(&self, op: Op, fault: Fault) {
        self.lock().script.push_back((Some(op), fault));
    }

    /// Returns the number of scripted faults that have not happened yet: zero at the end of a test that meant them all.
    pub fn scripted(&self) -> usize {
        self.lock().script.len()
    }

    /// Executes the requests that [`Fault::Late`] held back, in the order in which they were made.
    pub fn deliver_late(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        for request in std::mem::take(&mut state.late) {
            let reply = state.contents.execute(&request, now);
            state.calls.push(request.call(reply.answer(), Some(Fault::Late)));
        }
    }

    /// Makes every call answer [`StoreError::Unavailable`] until [`up`](Self::up); the script waits meanwhile.
    pub fn down(&self) {
        self.lock().down = true;
    }

    /// Ends [`down`](Self::down). The contents are as they were: for a restart that empties them see
    /// [`new_era`](Self::new_era).
    pub fn up(&self) {
        self.lock().down = false;
    }

    /// Loses everything, as a restart of a server does: the era is larger, and nothing older than `lossless_for` is
    /// known to have survived. Zero is a server that began just now.
    pub fn new_era(&self, lossless_for: Duration) {
        let now = self.clock.now();
        self.lock().contents.begin_era(lossless_for, now);
    }

    /// Sets for how long nothing has been lost; from here on it grows with the clock.
    pub fn set_lossless_for(&self, lossless_for: Duration) {
        let now = self.clock.now();
        self.lock().contents.set_lossless_for(lossless_for, now);
    }

    /// Drops one entry without a word, as a full server does; false where there is none.
    pub fn evict(&self, key: &str) -> bool {
        self.lock().contents.evict(key)
    }

    /// Puts a value under a key whatever is there, for ever, as another program could; tells the entry's version.
    ///
    /// This is the blind write that [`KvStore`] leaves out on purpose. It is for tests, and is not logged.
    pub fn put_foreign(&self, key: &str, value: &[u8]) -> Version {
        self.lock().contents.put(key, value, None)
    }

    /// Reads an entry past the script and the log: for a test to look at the outcome.
    pub fn peek(&self, key: &str) -> Option<Entry> {
        let now = self.clock.now();
        self.lock().contents.entry(key, now)
    }

    /// Returns how many [watch](KvStore::watch) a key: for a test to wait until somebody does.
    pub fn watches(&self, key: &str) -> usize {
        self.watches.count(key)
    }

    /// Returns every call since the store was made or [`take_calls`](Self::take_calls), the oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Tells the calls, and forgets them.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock().calls)
    }

    /// Runs one call: arguments, then the script, then the contents, then the log.
    fn call(&self, request: Request) -> Result<contents::Reply, StoreError> {
        let (fault, result) = self.decide(&request);
        if let Some(Fault::Slow(pause)) = fault {
            // Not under the lock: a slow answer holds up its caller and nobody else.
            self.clock.sleep(pause);
        }
        let answer = match &result {
            Ok(reply) => reply.answer(),
            Err(error) => Answer::Failed(error.clone()),
        };
        self.lock().calls.push(request.call(answer, fault));
        if let (Ok(contents::Reply::Delete(DeleteOutcome::Deleted)), Request::Delete(key, _)) = (&result, &request) {
            self.watches.tell(key);
        }
        result
    }

    fn decide(&self, request: &Request) -> (Option<Fault>, Result<contents::Reply, StoreError>) {
        let now = self.clock.now();
        let mut state = self.lock();
        if let Err(error) = request.check() {
            return (None, Err(error));
        }
        if state.down {
            return (None, Err(StoreError::Unavailable("the store is down".into())));
        }
        let fault = state.next_fault(request.op());
        (fault, state.serve(request, fault, now))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked on another thread leaves a state that is whole between calls.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Default for Memory {
    fn default() -> Self {
        Memory::new(Arc::new(BootClock))
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("calls", &self.lock().calls.len()).finish_non_exhaustive()
    }
}

impl State {
    fn next_fault(&mut self, op: Op) -> Option<Fault> {
        let line = self.script.iter().position(|(only, _)| only.is_none_or(|only| only == op))?;
        self.script.remove(line).map(|(_, fault)| fault)
    }

    fn serve(&mut self, request: &Request, fault: Option<Fault>, now: Duration) -> Result<contents::Reply, StoreError> {
        match fault {
            None | Some(Fault::Slow(_)) => Ok(self.contents.execute(request, now)),
            Some(Fault::LostReply) => {
                self.contents.execute(request, now);
                Err(StoreError::UnknownOutcome("the reply was lost".into()))
            }
            Some(Fault::LostRequest) => Err(StoreError::UnknownOutcome("the request was lost".into())),
            Some(Fault::Late) => {
                self.late.push(request.clone());
                Err(StoreError::UnknownOutcome("the request is late".into()))
            }
            Some(Fault::Unavailable) => Err(StoreError::Unavailable("the script says so".into())),
            Some(Fault::Rejected) => Err(StoreError::Rejected("the script says so".into())),
        }
    }
}

impl KvStore for Memory {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.call(Request::Get(key.into())).map(contents::Reply::entry)
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        self.call(Request::GetMany(keys.to_vec())).map(contents::Reply::entries)
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        self.call(Request::Add(key.into(), value.into(), ttl)).map(contents::Reply::write)
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        self.call(Request::Replace(key.into(), value.into(), ttl, if_version)).map(contents::Reply::write)
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        self.call(Request::Delete(key.into(), if_version)).map(contents::Reply::delete)
    }

    fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
        self.call(Request::Era(key.into())).map(contents::Reply::era)
    }

    fn keys(&self, prefix: &str) -> Result<Keys, StoreError> {
        self.call(Request::Keys(prefix.into())).map(contents::Reply::keys).map(Keys::exact)
    }

    fn watch(&self, key: &str, on_gone: OnGone) -> Option<Watch> {
        Some(self.watches.watch(key, on_gone))
    }

    fn diagnose(&self) -> Vec<Finding> {
        let state = self.lock();
        let (severity, text) = match state.down {
            true => (Severity::Unfit, "the mock is down: call `up`"),
            false => (Severity::Warning, "a mock: its locks are seen by this process only"),
        };
        vec![Finding::new("memory:", "scope", severity, text)]
    }
}
