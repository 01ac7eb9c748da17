//! What wasmtime generates from `wit/`.
#![allow(missing_docs, unreachable_pub, clippy::all)]

use std::time::Duration;

/// The resource `pollable`: a moment to wait for.
pub struct Pollable {
    pub(super) due: Duration,
}

wasmtime::component::bindgen!({
    path: "wit",
    world: "kvlock",
    with: { "wasi:io/poll.pollable": self::Pollable },
    imports: { default: trappable },
});
