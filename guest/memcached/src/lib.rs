//! A store on memcached as a WASI component: `kvlock:lock/kv-store` on one side, `wasi:sockets` on the other. What is
//! said on the sockets is up to `kvlock-protocol`.
//!
//! On other targets than WebAssembly the crate compiles, so that it is linted, but its imports cannot be called.
#![cfg_attr(target_family = "wasm", no_std)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]
extern crate alloc;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::expect_used, clippy::arithmetic_side_effects)]
mod bindings;
mod convert;
mod dial;
mod names;
mod server;
mod settings;
mod socket;
mod store;

use alloc::string::String;
use alloc::vec::Vec;

use bindings::exports::kvlock::lock::kv_store::{
    DeleteOutcome, Entry, EraInfo, Guest, StoreError, Ttl, Version, Write, WriteAnswer, WriteOutcome,
};
use kvlock_protocol::Error;
use spin::Mutex;

use store::Store;

/// The store of this instance: made by the first call, and kept.
static STORE: Mutex<Option<Store>> = Mutex::new(None);

/// What the component exports.
struct Component;

bindings::export!(Component with_types_in bindings);

/// Calls the store.
fn with<T>(call: impl FnOnce(&mut Store) -> Result<T, Error>) -> Result<T, StoreError> {
    // A component is entered by one caller at a time.
    let Some(mut store) = STORE.try_lock() else {
        return Err(StoreError::Unavailable(String::from("another call of this instance is under way")));
    };
    opened(&mut store).and_then(call).map_err(convert::error)
}

/// Returns the store, which the first call makes.
fn opened(store: &mut Option<Store>) -> Result<&mut Store, Error> {
    let opened = match store.take() {
        Some(opened) => opened,
        None => Store::open()?,
    };
    Ok(store.insert(opened))
}

impl Guest for Component {
    fn get_many(keys: Vec<String>) -> Result<Vec<Option<Entry>>, StoreError> {
        let entries = with(|store| store.get_many(&keys))?;
        Ok(entries.into_iter().map(|entry| entry.map(convert::entry)).collect())
    }

    fn add(key: String, value: Vec<u8>, ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        with(|store| store.add(&key, &value, convert::ttl_in(ttl))).map(convert::written)
    }

    fn replace(key: String, value: Vec<u8>, ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        with(|store| store.replace(&key, &value, convert::ttl_in(ttl), convert::version_in(if_version)))
            .map(convert::written)
    }

    fn delete(key: String, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        with(|store| store.delete(&key, convert::version_in(if_version))).map(convert::deleted)
    }

    fn write_many(writes: Vec<Write>) -> Vec<Result<WriteAnswer, StoreError>> {
        let one = |write| match write {
            Write::Add(add) => Self::add(add.key, add.value, add.ttl).map(WriteAnswer::Written),
            Write::Replace(new) => Self::replace(new.key, new.value, new.ttl, new.if_version).map(WriteAnswer::Written),
            Write::Delete(old) => Self::delete(old.key, old.if_version).map(WriteAnswer::Deleted),
        };
        writes.into_iter().map(one).collect()
    }

    fn era(key: String) -> Result<EraInfo, StoreError> {
        with(|store| store.era(&key)).map(convert::era)
    }
}

#[cfg(target_family = "wasm")]
mod runtime {
    #[global_allocator]
    static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

    /// Traps: a panic is a bug. It stops the instance, and the host tells its user.
    #[panic_handler]
    fn trap(_: &core::panic::PanicInfo) -> ! {
        core::arch::wasm32::unreachable()
    }
}
