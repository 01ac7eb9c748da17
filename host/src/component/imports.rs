//! What an instance reaches: a store, a clock, random numbers. Nothing else is linked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::{Resource, ResourceTable};

use super::bindings::kvlock::lock::{kv_store, types};
use super::bindings::{Pollable, wasi};
use super::convert;
use crate::clock::Clock;
use crate::debug::debug_fields;
use crate::environment::{Callers, Environment};
use crate::events::{CallEnd, Operation};
use crate::store::{
    AwaitedStore, DeleteOutcome, Entry, EraInfo, KvStore, StoreError, Write, WriteAnswer, WriteOutcome,
};

/// Most calls of the store in one call of the component. To tell of all permits of the largest semaphore takes four
/// thousand; a component that makes more than this goes round in a circle.
pub(super) const MAX_CALLS: u32 = 1_000_000;

/// What the component imports: a store, a clock, random numbers.
pub struct Imports {
    environment: Environment,
    pollables: ResourceTable,
    /// How many calls of the store are left to the component; none: no end of them.
    pub(super) calls_left: Option<u32>,
    /// Whether the component's call under way left a write behind that may be in the store, or could not take it out.
    pub(super) in_doubt: bool,
    /// Whether the store has ever answered.
    pub(super) reached: bool,
    /// When the call of the store under way began, if anybody is to know.
    call_began: Option<Instant>,
}

debug_fields!(Imports, |_|);

impl Imports {
    pub(crate) fn of(environment: Environment) -> Self {
        Imports {
            environment,
            pollables: ResourceTable::new(),
            calls_left: None,
            in_doubt: false,
            reached: false,
            call_began: None,
        }
    }

    /// Tells who calls the instance.
    pub(super) fn callers(&self) -> Callers {
        self.environment.callers()
    }

    fn store(&mut self) -> wasmtime::Result<&dyn KvStore> {
        self.begin_call()?;
        Ok(self.environment.store.as_ref())
    }

    /// Returns the store for tasks.
    pub(super) fn awaited_store(&mut self) -> wasmtime::Result<Arc<dyn AwaitedStore>> {
        self.begin_call()?;
        // Only an environment for tasks is linked so.
        self.environment.awaited.clone().ok_or_else(|| wasmtime::format_err!("its store is for threads"))
    }

    pub(super) fn time(&self) -> Duration {
        self.environment.clock.now()
    }

    pub(super) fn random_u64(&mut self) -> wasmtime::Result<u64> {
        if let Some(random) = &self.environment.random {
            // A panic of the function left nothing half done.
            return Ok(random.lock().unwrap_or_else(|poisoned| poisoned.into_inner())());
        }
        Ok(getrandom::u64()?)
    }

    /// Makes a pollable that is ready after this time.
    pub(super) fn subscribe(&mut self, pause: Duration) -> wasmtime::Result<Resource<Pollable>> {
        let due = self.time().saturating_add(pause);
        Ok(self.pollables.push(Pollable { due })?)
    }

    /// Drops a pollable.
    pub(super) fn forget(&mut self, pollable: Resource<Pollable>) -> wasmtime::Result<()> {
        self.pollables.delete(pollable)?;
        Ok(())
    }

    /// Returns how much longer to wait for a pollable, and the clock to wait by.
    pub(super) fn time_left(&mut self, pollable: &Resource<Pollable>) -> wasmtime::Result<(Duration, Arc<dyn Clock>)> {
        let due = self.pollables.get(pollable)?.due;
        let clock = self.environment.clock.clone();
        Ok((due.saturating_sub(clock.now()), clock))
    }

    fn begin_call(&mut self) -> wasmtime::Result<()> {
        self.call_began = self.environment.events.call_begins();
        self.take_call()
    }

    /// Tells how the call of the store ended; `is_done` tells if the store did what it was asked to do.
    fn note_call<T>(&self, operation: Operation, outcome: &Result<T, StoreError>, is_done: impl FnOnce(&T) -> bool) {
        let end = match outcome {
            Ok(told) if is_done(told) => CallEnd::Ok,
            Ok(_) => CallEnd::Conflict,
            Err(error) => CallEnd::Failed(error.kind()),
        };
        let Environment { events, clock, .. } = &self.environment;
        events.called(operation, end, self.call_began, &**clock);
    }

    /// Takes one off the calls that are left.
    pub(super) fn take_call(&mut self) -> wasmtime::Result<()> {
        if let Some(left) = &mut self.calls_left {
            let fewer = left.checked_sub(1);
            *left = fewer.ok_or_else(|| wasmtime::format_err!("more than {MAX_CALLS} calls of the store in a row"))?;
        }
        Ok(())
    }

    pub(super) fn written(
        &mut self,
        operation: Operation,
        outcome: Result<WriteOutcome, StoreError>,
    ) -> Result<kv_store::WriteOutcome, types::StoreError> {
        self.note_call(operation, &outcome, |outcome| matches!(outcome, WriteOutcome::Written(_)));
        self.in_doubt |= matches!(outcome, Err(StoreError::UnknownOutcome(_)));
        self.reached |= outcome.is_ok();
        outcome.map(convert::write_outcome).map_err(convert::error)
    }

    pub(super) fn read(
        &mut self,
        entries: Result<Vec<Option<Entry>>, StoreError>,
    ) -> Result<Vec<Option<kv_store::Entry>>, types::StoreError> {
        self.note_call(Operation::Get, &entries, |_| true);
        self.reached |= entries.is_ok();
        let entries = entries.map_err(convert::error)?;
        Ok(entries.into_iter().map(|entry| entry.map(convert::entry)).collect())
    }

    pub(super) fn deleted(
        &mut self,
        outcome: Result<DeleteOutcome, StoreError>,
    ) -> Result<kv_store::DeleteOutcome, types::StoreError> {
        self.note_call(Operation::Delete, &outcome, |outcome| matches!(outcome, DeleteOutcome::Deleted));
        self.in_doubt |= outcome.is_err();
        self.reached |= outcome.is_ok();
        outcome.map(convert::delete_outcome).map_err(convert::error)
    }

    pub(super) fn all_written(
        &mut self,
        operations: Vec<Operation>,
        answers: Vec<Result<WriteAnswer, StoreError>>,
    ) -> Vec<Result<kv_store::WriteAnswer, types::StoreError>> {
        let answer = |(operation, answer)| match answer {
            Ok(WriteAnswer::Written(outcome)) => {
                self.written(operation, Ok(outcome)).map(kv_store::WriteAnswer::Written)
            }
            Ok(WriteAnswer::Deleted(outcome)) => self.deleted(Ok(outcome)).map(kv_store::WriteAnswer::Deleted),
            Err(error) if operation == Operation::Delete => {
                self.deleted(Err(error)).map(kv_store::WriteAnswer::Deleted)
            }
            Err(error) => self.written(operation, Err(error)).map(kv_store::WriteAnswer::Written),
        };
        operations.into_iter().zip(answers).map(answer).collect()
    }

    pub(super) fn era_told(
        &mut self,
        era: Result<EraInfo, StoreError>,
    ) -> Result<kv_store::EraInfo, types::StoreError> {
        self.note_call(Operation::Era, &era, |_| true);
        self.reached |= era.is_ok();
        era.map(convert::era).map_err(convert::error)
    }
}

/// Returns what each of several writes counts as.
pub(super) fn operations(writes: &[Write]) -> Vec<Operation> {
    let operation = |write: &Write| match write {
        Write::Add { .. } => Operation::Add,
        Write::Replace { .. } => Operation::Replace,
        Write::Delete { .. } => Operation::Delete,
    };
    writes.iter().map(operation).collect()
}

impl types::Host for Imports {}

impl kv_store::Host for Imports {
    fn get_many(
        &mut self,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<Option<kv_store::Entry>>, types::StoreError>> {
        let store = self.store()?;
        let entries = match keys.as_slice() {
            [key] => store.get(key).map(|entry| vec![entry]),
            keys => store.get_many(keys),
        };
        Ok(self.read(entries))
    }

    fn add(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl: types::Ttl,
    ) -> wasmtime::Result<Result<kv_store::WriteOutcome, types::StoreError>> {
        let outcome = self.store()?.add(&key, &value, convert::ttl(ttl));
        Ok(self.written(Operation::Add, outcome))
    }

    fn replace(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl: types::Ttl,
        if_version: types::Version,
    ) -> wasmtime::Result<Result<kv_store::WriteOutcome, types::StoreError>> {
        let outcome = self.store()?.replace(&key, &value, convert::ttl(ttl), convert::version(if_version));
        Ok(self.written(Operation::Replace, outcome))
    }

    fn delete(
        &mut self,
        key: String,
        if_version: types::Version,
    ) -> wasmtime::Result<Result<kv_store::DeleteOutcome, types::StoreError>> {
        let outcome = self.store()?.delete(&key, convert::version(if_version));
        Ok(self.deleted(outcome))
    }

    fn write_many(
        &mut self,
        writes: Vec<kv_store::Write>,
    ) -> wasmtime::Result<Vec<Result<kv_store::WriteAnswer, types::StoreError>>> {
        let writes: Vec<_> = writes.into_iter().map(convert::write).collect();
        let operations = operations(&writes);
        let answers = self.store()?.write_many(&writes);
        Ok(self.all_written(operations, answers))
    }

    fn era(&mut self, key: String) -> wasmtime::Result<Result<kv_store::EraInfo, types::StoreError>> {
        let era = self.store()?.era(&key);
        Ok(self.era_told(era))
    }
}

impl wasi::clocks::monotonic_clock::Host for Imports {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(convert::nanos(self.time()))
    }

    fn subscribe_duration(&mut self, pause: u64) -> wasmtime::Result<Resource<Pollable>> {
        self.subscribe(Duration::from_nanos(pause))
    }
}

impl wasi::io::poll::Host for Imports {}

impl wasi::io::poll::HostPollable for Imports {
    fn block(&mut self, pollable: Resource<Pollable>) -> wasmtime::Result<()> {
        let (left, clock) = self.time_left(&pollable)?;
        if !left.is_zero() {
            clock.sleep(left);
        }
        Ok(())
    }

    fn drop(&mut self, pollable: Resource<Pollable>) -> wasmtime::Result<()> {
        self.forget(pollable)
    }
}

impl wasi::random::random::Host for Imports {
    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.random_u64()
    }
}
