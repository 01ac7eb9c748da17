//! The component in wasmtime: one engine for the process, one instance for a session.

use std::sync::OnceLock;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};

use crate::environment::Environment;
use crate::store::{KvStore, StoreError, WriteOutcome};
use bindings::kvlock::lock::kv_store;
use bindings::wasi;
use bounds::Bounds;

mod bounds;
#[path = "../../build/config.rs"]
mod config;
pub(crate) mod convert;
mod precompiled;

/// What wasmtime generates from `wit/`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "kvlock",
        with: { "wasi:io/poll.pollable": super::Pollable },
        imports: { default: trappable },
    });
}

/// The component's binary, as [`crate::COMPONENT`] gives it out.
pub(crate) const COMPONENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kvlock.wasm"));

/// What the component imports: a store, a clock, random numbers.
pub struct Imports {
    environment: Environment,
    pollables: ResourceTable,
    /// How many calls of the store are left to the component; none: no end of them.
    calls_left: Option<u32>,
    /// Whether the component's call under way left a write behind that may be in the store, or could not take it out.
    in_doubt: bool,
    /// Whether the store has ever answered.
    reached: bool,
}

impl Imports {
    pub(crate) fn of(environment: Environment) -> Self {
        Imports { environment, pollables: ResourceTable::new(), calls_left: None, in_doubt: false, reached: false }
    }

    fn store(&mut self) -> wasmtime::Result<&dyn KvStore> {
        bounds::take_call(&mut self.calls_left)?;
        Ok(self.environment.store.as_ref())
    }

    fn written(
        &mut self,
        outcome: Result<WriteOutcome, StoreError>,
    ) -> wasmtime::Result<Result<kv_store::WriteOutcome, kv_store::Error>> {
        self.in_doubt |= matches!(outcome, Err(StoreError::UnknownOutcome(_)));
        self.reached |= outcome.is_ok();
        Ok(outcome.map(convert::write_outcome).map_err(convert::error))
    }
}

/// What an instance of ours can reach. Nothing else is linked.
pub(crate) struct HostState {
    imports: Imports,
    bounds: Bounds,
}

/// The resource `pollable`: a moment to wait for.
#[allow(unreachable_pub)] // named by the generated bindings
pub struct Pollable {
    due: Duration,
}

/// Why there may be no instance, and what to do. Its code was checked when it was compiled: what fails is the system.
#[derive(Debug, thiserror::Error)]
#[error(
    "no instance of it can be made; each takes 4 GiB of addresses (ulimit -v) and four mappings (vm.max_map_count)"
)]
pub(crate) struct NoInstance;

/// An instance of the component.
pub(crate) struct Instance {
    pub(crate) store: Store<HostState>,
    pub(crate) exports: bindings::Kvlock,
}

impl Instance {
    pub(crate) fn new(environment: &Environment) -> wasmtime::Result<Self> {
        let pre = instance_pre()?;
        let reach = HostState { imports: Imports::of(environment.clone()), bounds: Bounds::new() };
        let mut store = Store::new(pre.engine(), reach);
        bounds::impose(&mut store);
        let exports = pre.instantiate(&mut store).map_err(|error| error.context(NoInstance))?;
        Ok(Instance { store, exports })
    }

    /// Before each call of the component.
    pub(crate) fn begin_call(&mut self) {
        bounds::renew(&mut self.store);
        self.store.data_mut().imports.in_doubt = false;
    }

    /// Whether the last call left a write behind that may be in the store, or could not take it out.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.store.data().imports.in_doubt
    }

    /// Whether the store has ever answered it.
    pub(crate) fn has_reached_the_store(&self) -> bool {
        self.store.data().imports.reached
    }
}

/// Loaded once: the program's code cannot be given to wasmtime by two threads.
fn instance_pre() -> wasmtime::Result<&'static bindings::KvlockPre<HostState>> {
    static PRE: OnceLock<Result<bindings::KvlockPre<HostState>, String>> = OnceLock::new();
    let loaded = PRE.get_or_init(|| load().map_err(|error| format!("{error:#}")));
    loaded.as_ref().map_err(|text| wasmtime::Error::msg(text.clone()).context(NoInstance))
}

fn load() -> wasmtime::Result<bindings::KvlockPre<HostState>> {
    let (engine, component) = precompiled::load()?;
    bounds::tick(&engine)?;
    let mut linker = Linker::new(&engine);
    bindings::Kvlock::add_to_linker::<HostState, HasSelf<Imports>>(&mut linker, |reach| &mut reach.imports)?;
    bindings::KvlockPre::new(linker.instantiate_pre(&component)?)
}

impl kv_store::Host for Imports {
    fn get_many(
        &mut self,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<Option<kv_store::Entry>>, kv_store::Error>> {
        let store = self.store()?;
        let entries = match keys.as_slice() {
            [key] => store.get(key).map(|entry| vec![entry]),
            keys => store.get_many(keys),
        };
        self.reached |= entries.is_ok();
        let entries = entries.map_err(convert::error);
        Ok(entries.map(|entries| entries.into_iter().map(|entry| entry.map(convert::entry)).collect()))
    }

    fn add(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl: kv_store::Ttl,
    ) -> wasmtime::Result<Result<kv_store::WriteOutcome, kv_store::Error>> {
        let outcome = self.store()?.add(&key, &value, convert::ttl(ttl));
        self.written(outcome)
    }

    fn replace(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl: kv_store::Ttl,
        if_version: kv_store::Version,
    ) -> wasmtime::Result<Result<kv_store::WriteOutcome, kv_store::Error>> {
        let outcome = self.store()?.replace(&key, &value, convert::ttl(ttl), convert::version(if_version));
        self.written(outcome)
    }

    fn delete(
        &mut self,
        key: String,
        if_version: kv_store::Version,
    ) -> wasmtime::Result<Result<kv_store::DeleteOutcome, kv_store::Error>> {
        let outcome = self.store()?.delete(&key, convert::version(if_version));
        self.in_doubt |= outcome.is_err();
        self.reached |= outcome.is_ok();
        Ok(outcome.map(convert::delete_outcome).map_err(convert::error))
    }

    fn era(&mut self, key: String) -> wasmtime::Result<Result<kv_store::EraInfo, kv_store::Error>> {
        let era = self.store()?.era(&key);
        self.reached |= era.is_ok();
        Ok(era.map(convert::era).map_err(convert::error))
    }
}

impl wasi::clocks::monotonic_clock::Host for Imports {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(convert::nanos(self.environment.clock.now()))
    }

    fn subscribe_duration(&mut self, pause: u64) -> wasmtime::Result<Resource<Pollable>> {
        let due = self.environment.clock.now().saturating_add(Duration::from_nanos(pause));
        Ok(self.pollables.push(Pollable { due })?)
    }
}

impl wasi::io::poll::Host for Imports {}

impl wasi::io::poll::HostPollable for Imports {
    fn block(&mut self, pollable: Resource<Pollable>) -> wasmtime::Result<()> {
        let due = self.pollables.get(&pollable)?.due;
        let left = due.saturating_sub(self.environment.clock.now());
        if !left.is_zero() {
            self.environment.clock.sleep(left);
        }
        Ok(())
    }

    fn drop(&mut self, pollable: Resource<Pollable>) -> wasmtime::Result<()> {
        self.pollables.delete(pollable)?;
        Ok(())
    }
}

impl wasi::random::random::Host for Imports {
    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        if let Some(random) = &self.environment.random {
            // A panic of the function left nothing half done.
            return Ok(random.lock().unwrap_or_else(|poisoned| poisoned.into_inner())());
        }
        Ok(getrandom::u64()?)
    }
}
