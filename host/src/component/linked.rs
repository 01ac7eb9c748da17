//! The component linked with what it imports, ready to be instantiated.

use std::sync::OnceLock;

use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

use super::awaited::link_all_async;
use super::bindings::{self, Kvlock, KvlockPre};
use super::bounds::{self, HostState};
use super::imports::Imports;
use super::precompiled;
use crate::environment::Callers;
use crate::error::ComponentError;

/// Why there may be no instance, and what to do. Its code was checked when it was compiled: what fails is the system.
#[derive(Debug, thiserror::Error)]
#[error(
    "no instance of it can be made; each takes 4 GiB of addresses (ulimit -v) and four mappings (vm.max_map_count)"
)]
pub(super) struct NoInstance;

/// Returns the whole chain of a trap, on one line.
pub(super) fn trap(error: &wasmtime::Error) -> ComponentError {
    let text = format!("{error:#}").replace('\n', " ");
    match error.downcast_ref::<NoInstance>() {
        Some(NoInstance) => ComponentError::NoRoom(text),
        None => ComponentError::Failed(text),
    }
}

/// Returns the component as these callers need it.
pub(super) fn instance_pre(callers: Callers) -> wasmtime::Result<&'static KvlockPre<HostState>> {
    static FOR_THREADS: OnceLock<Result<KvlockPre<HostState>, String>> = OnceLock::new();
    static FOR_TASKS: OnceLock<Result<KvlockPre<HostState>, String>> = OnceLock::new();
    let linked = match callers {
        Callers::Threads => &FOR_THREADS,
        Callers::Tasks => &FOR_TASKS,
    };
    let linked = linked.get_or_init(|| link(callers).map_err(|error| format!("{error:#}")));
    linked.as_ref().map_err(|text| wasmtime::Error::msg(text.clone()).context(NoInstance))
}

fn link(callers: Callers) -> wasmtime::Result<KvlockPre<HostState>> {
    let (engine, component) = loaded()?;
    let mut linker = Linker::new(engine);
    match callers {
        Callers::Threads => link_all::<HostState>(&mut linker, |host| &mut host.imports)?,
        Callers::Tasks => link_all_async(&mut linker, |host: &mut HostState| &mut host.imports)?,
    }
    KvlockPre::new(linker.instantiate_pre(component)?)
}

/// Loads the component once: two threads cannot give the program's code to wasmtime.
fn loaded() -> wasmtime::Result<&'static (Engine, Component)> {
    static LOADED: OnceLock<Result<(Engine, Component), String>> = OnceLock::new();
    let load = || {
        let loaded = precompiled::load()?;
        bounds::tick(&loaded.0)?;
        Ok(loaded)
    };
    let loaded = LOADED.get_or_init(|| load().map_err(|error: wasmtime::Error| format!("{error:#}")));
    loaded.as_ref().map_err(|text| wasmtime::Error::msg(text.clone()))
}

/// Links all that the component imports.
pub(crate) fn link_all<T: 'static>(
    linker: &mut Linker<T>,
    imports: fn(&mut T) -> &mut Imports,
) -> wasmtime::Result<()> {
    Kvlock::add_to_linker::<T, HasSelf<Imports>>(linker, imports)
}

/// Links the store alone.
pub(crate) fn link_store<T: 'static>(
    linker: &mut Linker<T>,
    imports: fn(&mut T) -> &mut Imports,
) -> wasmtime::Result<()> {
    bindings::kvlock::lock::kv_store::add_to_linker::<T, HasSelf<Imports>>(linker, imports)
}
