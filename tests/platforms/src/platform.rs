//! A platform made of `wasmtime-wasi`, and a store that is a component on it.

use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use kvlock::store::{DeleteOutcome, Entry, EraInfo, Finding, KvStore, StoreError, Ttl, Version, WriteOutcome};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Result, Store};
use wasmtime_wasi::p2::bindings::sync::Command;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::ADAPTER;
use bindings::exports::kvlock::lock::kv_store as wit;

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({
        inline: "package kvlock:platform; world store { export kvlock:lock/kv-store@0.1.0; }",
        path: "../../wit",
        world: "kvlock:platform/store",
    });
}

/// What a store answers.
type Answer<T> = std::result::Result<T, StoreError>;

static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::default);

/// What a component may do, and the variables it sees.
#[derive(Debug, Clone)]
pub struct Platform {
    /// The variables of its environment.
    pub variables: Vec<(String, String)>,
    /// Whether it may connect.
    pub network: bool,
    /// Whether it may look names up.
    pub names: bool,
}

/// What a component's instance reaches.
struct Reach {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reach")
    }
}

impl WasiView for Reach {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl Platform {
    /// Gives components a store by its URL, and the network with names.
    pub fn with_store(url: &str) -> Platform {
        let variables = vec![("KVLOCK_STORE".to_string(), url.to_string())];
        Platform { variables, network: true, names: true }
    }

    fn reach(&self, stdout: MemoryOutputPipe) -> Store<Reach> {
        let mut builder = WasiCtxBuilder::new();
        builder.envs(&self.variables).stdout(stdout).inherit_stderr().allow_tcp(self.network);
        if self.network {
            builder.inherit_network();
        }
        builder.allow_ip_name_lookup(self.names);
        Store::new(&ENGINE, Reach { wasi: builder.build(), table: ResourceTable::new() })
    }

    /// Runs a component as `wasmtime run` does, and returns what it writes; an error of it as an error.
    ///
    /// # Errors
    /// Why it cannot be run, or a trap.
    pub fn run(&self, component: &[u8]) -> Result<std::result::Result<String, String>> {
        let component = Component::new(&ENGINE, component)?;
        let stdout = MemoryOutputPipe::new(64 * 1024);
        let mut store = self.reach(stdout.clone());
        let command = Command::instantiate(&mut store, &component, &linker()?)?;
        let outcome = command.wasi_cli_run().call_run(&mut store)?;
        let written = String::from_utf8_lossy(&stdout.contents()).into_owned();
        Ok(outcome.map(|()| written.clone()).map_err(|()| written))
    }
}

fn linker() -> Result<Linker<Reach>> {
    let mut linker = Linker::new(&ENGINE);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    Ok(linker)
}

/// A store that is an instance of the component [`ADAPTER`].
pub struct GuestStore(Mutex<(Store<Reach>, bindings::Store)>);

impl std::fmt::Debug for GuestStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GuestStore")
    }
}

impl GuestStore {
    /// Makes an instance.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub fn new(platform: &Platform) -> Result<GuestStore> {
        static COMPONENT: LazyLock<Component> =
            LazyLock::new(|| Component::new(&ENGINE, ADAPTER).expect("what is checked in compiles"));
        GuestStore::of(&COMPONENT, platform)
    }

    /// Returns the compiled component, for processes that need not compile it once more.
    ///
    /// # Errors
    /// Why it cannot be compiled.
    pub fn compile() -> Result<Vec<u8>> {
        ENGINE.precompile_component(ADAPTER)
    }

    /// Makes an instance of what [`compile`](Self::compile) returned and a test has written to a file.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub fn from_compiled(file: &Path, platform: &Platform) -> Result<GuestStore> {
        // SAFETY: the file is of this very program, in a folder that is its own.
        let component = unsafe { Component::deserialize_file(&ENGINE, file) }?;
        GuestStore::of(&component, platform)
    }

    fn of(component: &Component, platform: &Platform) -> Result<GuestStore> {
        let mut store = platform.reach(MemoryOutputPipe::new(0));
        let instance = bindings::Store::instantiate(&mut store, component, &linker()?)?;
        Ok(GuestStore(Mutex::new((store, instance))))
    }

    /// Calls the instance; a trap fails the test.
    fn call<T>(
        &self,
        call: impl FnOnce(&wit::Guest, &mut Store<Reach>) -> Result<std::result::Result<T, wit::StoreError>>,
    ) -> Answer<T> {
        let mut locked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (store, instance) = &mut *locked;
        let answer = call(instance.kvlock_lock_kv_store(), store).expect("the component does not trap");
        answer.map_err(|error| match error {
            wit::StoreError::Unavailable(why) => StoreError::Unavailable(why),
            wit::StoreError::UnknownOutcome(why) => StoreError::UnknownOutcome(why),
            wit::StoreError::Rejected(why) => StoreError::Rejected(why),
            wit::StoreError::Invalid(why) => StoreError::Invalid(why),
        })
    }
}

impl KvStore for GuestStore {
    fn get(&self, key: &str) -> Answer<Option<Entry>> {
        Ok(self.get_many(&[key.to_string()])?.into_iter().next().flatten())
    }

    fn get_many(&self, keys: &[String]) -> Answer<Vec<Option<Entry>>> {
        let entries = self.call(|guest, store| guest.call_get_many(store, keys))?;
        let entry = |entry: wit::Entry| Entry {
            value: entry.value,
            version: version_in(entry.version),
            time_left: entry.time_left.map(|left| match left {
                wit::Ttl::After(nanos) => Ttl::After(Duration::from_nanos(nanos)),
                wit::Ttl::Forever => Ttl::Forever,
            }),
        };
        Ok(entries.into_iter().map(|found| found.map(entry)).collect())
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Answer<WriteOutcome> {
        self.call(|guest, store| guest.call_add(store, key, value, ttl_out(ttl))).map(written)
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Answer<WriteOutcome> {
        self.call(|guest, store| guest.call_replace(store, key, value, ttl_out(ttl), version_out(if_version)))
            .map(written)
    }

    fn delete(&self, key: &str, if_version: Version) -> Answer<DeleteOutcome> {
        let outcome = self.call(|guest, store| guest.call_delete(store, key, version_out(if_version)))?;
        Ok(match outcome {
            wit::DeleteOutcome::Deleted => DeleteOutcome::Deleted,
            wit::DeleteOutcome::Conflict(version) => DeleteOutcome::Conflict(version.map(version_in)),
            wit::DeleteOutcome::Absent => DeleteOutcome::Absent,
        })
    }

    fn era(&self, key: &str) -> Answer<EraInfo> {
        let info = self.call(|guest, store| guest.call_era(store, key))?;
        Ok(EraInfo { id: info.id, lossless_for: Duration::from_nanos(info.lossless_for) })
    }

    fn diagnose(&self) -> Vec<Finding> {
        Vec::new()
    }
}

fn ttl_out(ttl: Ttl) -> wit::Ttl {
    match ttl {
        Ttl::After(length) => wit::Ttl::After(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)),
        Ttl::Forever => wit::Ttl::Forever,
    }
}

fn version_in(version: wit::Version) -> Version {
    Version { era: version.era, number: version.number }
}

fn version_out(version: Version) -> wit::Version {
    wit::Version { era: version.era, number: version.number }
}

fn written(outcome: wit::WriteOutcome) -> WriteOutcome {
    match outcome {
        wit::WriteOutcome::Written(version) => WriteOutcome::Written(version_in(version)),
        wit::WriteOutcome::Conflict(version) => WriteOutcome::Conflict(version.map(version_in)),
        wit::WriteOutcome::Absent => WriteOutcome::Absent,
    }
}
