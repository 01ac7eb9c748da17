//! The component's imports for a wasmtime host of your own, which runs it composed with other components, or by itself.
//!
//! A program that only wants a lock needs none of this: see [`Client`]. The types of wasmtime here are those of the
//! version that this crate is built with.
//!
//! ```
//! use kvlock::{Client, embed};
//! use wasmtime::component::Linker;
//! use wasmtime::{Engine, Store};
//!
//! struct Host {
//!     lock: embed::Imports, // and what else your components reach
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("memory:")?;
//! let engine = Engine::default();
//! let mut linker = Linker::new(&engine);
//! embed::add_to_linker::<Host>(&mut linker, |host| &mut host.lock)?;
//! let store = Store::new(&engine, Host { lock: embed::Imports::new(&client) });
//! // Load a component that has `kvlock::COMPONENT` in it, and instantiate it with the linker and the store.
//! # let _ = (linker, store);
//! # Ok(())
//! # }
//! ```
//!
//! # On tokio
//!
//! In an async host, neither a wait nor a call of the store may keep the thread. [`add_store_to_linker_async`] links the
//! store so, beside the async WASI of the crate `wasmtime-wasi`, and [`add_to_linker_async`] links all that the component
//! imports. Both take [`AsyncImports`]. Instantiate and call with wasmtime's `…_async` functions then.
//!
//! ```
//! use kvlock::{asynch, embed};
//! use wasmtime::component::Linker;
//! use wasmtime::{Engine, Store};
//!
//! struct Host {
//!     lock: embed::AsyncImports, // and what else your components reach
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = asynch::Client::connect("memory:")?;
//! let engine = Engine::default();
//! let mut linker = Linker::new(&engine);
//! // wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
//! embed::add_store_to_linker_async::<Host>(&mut linker, |host| &mut host.lock)?;
//! let store = Store::new(&engine, Host { lock: embed::AsyncImports::new(&client) });
//! // linker.instantiate_async(&mut store, &component).await?;
//! # let _ = (linker, store);
//! # Ok(())
//! # }
//! ```
//!
//! The clock of `wasmtime-wasi` does not count the time while the machine is suspended, and has a zero of its own in
//! each store. So sessions of two stores must not hand locks over to each other, if it is linked.

use wasmtime::component::Linker;

use crate::client::Client;
use crate::component;
pub use crate::component::Imports;
use crate::{asynch, debug::debug_fields};

/// What the component imports, in an async host.
pub struct AsyncImports(Imports);

debug_fields!(AsyncImports, |_|);

impl AsyncImports {
    /// Takes the store and the clock of a client. Calls of the store are awaited, on whatever executor the host has.
    pub fn new(client: &asynch::Client) -> Self {
        AsyncImports(Imports::of(client.environment().clone()))
    }
}

impl Imports {
    /// Takes the store and the clock of a client.
    pub fn new(client: &Client) -> Self {
        Imports::of(client.core.environment.clone())
    }
}

/// Links all that the component imports: `kvlock:lock/kv-store`, and of WASI 0.2 the monotonic clock, poll and random
/// numbers. A wait blocks the thread that runs the component: in an async runtime use [`add_to_linker_async`].
pub fn add_to_linker<T: 'static>(linker: &mut Linker<T>, imports: fn(&mut T) -> &mut Imports) -> wasmtime::Result<()> {
    component::link_all(linker, imports)
}

/// Links only `kvlock:lock/kv-store`, for a host that has a WASI of its own. A call of the store blocks the thread: in an
/// async runtime use [`add_store_to_linker_async`].
pub fn add_store_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    imports: fn(&mut T) -> &mut Imports,
) -> wasmtime::Result<()> {
    component::link_store(linker, imports)
}

/// Links all that the component imports, for an async host: a wait, or a call of the store, suspends its task. The
/// linker's components are then called by wasmtime's `…_async` functions only.
pub fn add_to_linker_async<T: Send + 'static>(
    linker: &mut Linker<T>,
    imports: fn(&mut T) -> &mut AsyncImports,
) -> wasmtime::Result<()> {
    component::link_all_async(linker, move |host: &mut T| &mut imports(host).0)
}

/// Links only `kvlock:lock/kv-store`, for an async host that has a WASI of its own, such as that of `wasmtime-wasi`.
pub fn add_store_to_linker_async<T: Send + 'static>(
    linker: &mut Linker<T>,
    imports: fn(&mut T) -> &mut AsyncImports,
) -> wasmtime::Result<()> {
    component::link_store_async(linker, move |host: &mut T| &mut imports(host).0)
}

/// Returns what the component says about itself: its `version`, `description`, `licenses` or `source`, as
/// `wasm-tools metadata show` prints them. None if it does not say.
pub fn component_metadata(field: &str) -> Option<&'static str> {
    // A header of eight bytes, then sections: a byte that tells the kind, the length, and the contents.
    let mut rest = component::COMPONENT.get(8..)?;
    while let Some((kind, after)) = rest.split_first() {
        let section;
        (section, rest) = sized(after)?;
        if *kind == 0 {
            let (name, text) = sized(section)?;
            if name == field.as_bytes() {
                return std::str::from_utf8(text).ok();
            }
        }
    }
    None
}

/// Splits off as many bytes as the length in front of them says, in LEB128.
fn sized(bytes: &'static [u8]) -> Option<(&'static [u8], &'static [u8])> {
    let mut length = 0;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes.get(at + 1..)?.split_at_checked(length);
        }
    }
    None
}
