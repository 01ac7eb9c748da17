//! The imports for an instance that is called by tasks: a call of the store, and a pause, suspend the task and no thread.

use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};

use super::bindings::Pollable;
use super::bindings::kvlock::lock::{kv_store, types};
use super::convert;
use super::imports::{Imports, operations};
use crate::events::Operation;

/// Finds the imports in what a store of wasmtime has.
pub(crate) trait Getter<T>: Fn(&mut T) -> &mut Imports + Copy + Send + Sync + 'static {}

impl<T, G: Fn(&mut T) -> &mut Imports + Copy + Send + Sync + 'static> Getter<T> for G {}

/// Links all that the component imports.
pub(crate) fn link_all_async<T: Send + 'static>(
    linker: &mut Linker<T>,
    imports: impl Getter<T>,
) -> wasmtime::Result<()> {
    link_store_async(linker, imports)?;
    let mut random = linker.instance("wasi:random/random@0.2.0")?;
    random.func_wrap("get-random-u64", move |mut context: StoreContextMut<'_, T>, (): ()| {
        Ok((imports(context.data_mut()).random_u64()?,))
    })?;
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.0")?;
    clock.func_wrap("now", move |mut context: StoreContextMut<'_, T>, (): ()| {
        Ok((convert::nanos(imports(context.data_mut()).time()),))
    })?;
    clock.func_wrap("subscribe-duration", move |mut context: StoreContextMut<'_, T>, (pause,): (u64,)| {
        Ok((imports(context.data_mut()).subscribe(Duration::from_nanos(pause))?,))
    })?;
    let mut poll = linker.instance("wasi:io/poll@0.2.0")?;
    poll.resource("pollable", ResourceType::host::<Pollable>(), move |mut context, pollable| {
        imports(context.data_mut()).forget(Resource::new_own(pollable))
    })?;
    poll.func_wrap_async(
        "[method]pollable.block",
        move |mut context: StoreContextMut<'_, T>, (pollable,): (Resource<Pollable>,)| {
            Box::new(async move {
                let (left, clock) = imports(context.data_mut()).time_left(&pollable)?;
                if !left.is_zero() {
                    clock.sleep_async(left).await;
                }
                Ok(())
            })
        },
    )
}

/// Links the store alone.
pub(crate) fn link_store_async<T: Send + 'static>(
    linker: &mut Linker<T>,
    imports: impl Getter<T>,
) -> wasmtime::Result<()> {
    let mut store = linker.instance("kvlock:lock/kv-store@0.1.0")?;
    store.func_wrap_async("get-many", move |mut context: StoreContextMut<'_, T>, (keys,): (Vec<String>,)| {
        Box::new(async move {
            let entries = imports(context.data_mut()).awaited_store()?.get_many(keys).await;
            Ok((imports(context.data_mut()).read(entries),))
        })
    })?;
    store.func_wrap_async(
        "add",
        move |mut context: StoreContextMut<'_, T>, (key, value, ttl): (String, Vec<u8>, types::Ttl)| {
            Box::new(async move {
                let store = imports(context.data_mut()).awaited_store()?;
                let outcome = store.add(key, value, convert::ttl(ttl)).await;
                Ok((imports(context.data_mut()).written(Operation::Add, outcome),))
            })
        },
    )?;
    type Replace = (String, Vec<u8>, types::Ttl, types::Version);
    store.func_wrap_async(
        "replace",
        move |mut context: StoreContextMut<'_, T>, (key, value, ttl, if_version): Replace| {
            Box::new(async move {
                let store = imports(context.data_mut()).awaited_store()?;
                let outcome = store.replace(key, value, convert::ttl(ttl), convert::version(if_version)).await;
                Ok((imports(context.data_mut()).written(Operation::Replace, outcome),))
            })
        },
    )?;
    store.func_wrap_async(
        "delete",
        move |mut context: StoreContextMut<'_, T>, (key, if_version): (String, types::Version)| {
            Box::new(async move {
                let store = imports(context.data_mut()).awaited_store()?;
                let outcome = store.delete(key, convert::version(if_version)).await;
                Ok((imports(context.data_mut()).deleted(outcome),))
            })
        },
    )?;
    type Writes = (Vec<kv_store::Write>,);
    store.func_wrap_async("write-many", move |mut context: StoreContextMut<'_, T>, (writes,): Writes| {
        Box::new(async move {
            let writes: Vec<_> = writes.into_iter().map(convert::write).collect();
            let operations = operations(&writes);
            let answers = imports(context.data_mut()).awaited_store()?.write_many(writes).await;
            Ok((imports(context.data_mut()).all_written(operations, answers),))
        })
    })?;
    store.func_wrap_async("era", move |mut context: StoreContextMut<'_, T>, (key,): (String,)| {
        Box::new(async move {
            let era = imports(context.data_mut()).awaited_store()?.era(key).await;
            Ok((imports(context.data_mut()).era_told(era),))
        })
    })
}
