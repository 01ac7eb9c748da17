//! The components of kvlock on platforms that take components and no host code.
//!
//! It has such a platform: the crate `wasmtime-wasi`, linked as the wasmtime command links it.

#[path = "../../../xtask/src/compose.rs"]
mod compose;
mod platform;

pub use platform::{GuestStore, Platform};

/// The store on memcached as a component.
pub const ADAPTER: &[u8] = include_bytes!("../../../guest/memcached/memcached.wasm");

/// The example that `wasmtime run` runs; without a lock yet.
pub const JOB: &[u8] = include_bytes!("../../../examples/job/job.wasm");

/// The example on the web, that `wasmtime serve` and `jco serve` serve; without a lock yet.
pub const WEB: &[u8] = include_bytes!("../../../examples/web/web.wasm");

/// Returns the lock with the store on memcached plugged into it.
///
/// # Errors
/// Why the two do not fit together.
pub fn composed() -> anyhow::Result<Vec<u8>> {
    compose::compose(&[ADAPTER], kvlock::COMPONENT)
}

/// Returns a component that imports locks with [`composed`] plugged into it.
///
/// # Errors
/// Why the two do not fit together.
pub fn composed_with(app: &[u8]) -> anyhow::Result<Vec<u8>> {
    compose::compose(&[&composed()?], app)
}
