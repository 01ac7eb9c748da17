//! The component linked with what it imports, ready to be instantiated.

use std::sync::OnceLock;

use wasmtime::component::{HasSelf, Linker};

use super::bindings::{self, Kvlock, KvlockPre};
use super::bounds::{self, HostState};
use super::imports::Imports;
use super::precompiled;
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

/// Loads the component once: two threads cannot give the program's code to wasmtime.
pub(super) fn instance_pre() -> wasmtime::Result<&'static KvlockPre<HostState>> {
    static PRE: OnceLock<Result<KvlockPre<HostState>, String>> = OnceLock::new();
    let loaded = PRE.get_or_init(|| load().map_err(|error| format!("{error:#}")));
    loaded.as_ref().map_err(|text| wasmtime::Error::msg(text.clone()).context(NoInstance))
}

fn load() -> wasmtime::Result<KvlockPre<HostState>> {
    let (engine, component) = precompiled::load()?;
    bounds::tick(&engine)?;
    let mut linker = Linker::new(&engine);
    link_all::<HostState>(&mut linker, |host| &mut host.imports)?;
    KvlockPre::new(linker.instantiate_pre(&component)?)
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
