//! The state machines of kvlock as a WASI component: WIT exports on one side, WIT imports on the other, and the loop
//! that drives a machine between them. Every rule about locks is in `kvlock-machine`.
//!
//! On other targets than WebAssembly the crate compiles, so that it is linted, but its imports cannot be called.
#![cfg_attr(target_family = "wasm", no_std)]
// wit-bindgen makes the error types. They are moved across the boundary once.
#![allow(clippy::result_large_err)]
extern crate alloc;

mod acquiring;
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings;
mod conflict_retry;
mod convert;
mod driver;
mod held;
mod mutex;
mod semaphore;
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
mod size_classes;

use mutex::Component;

bindings::export!(Component with_types_in bindings);

#[cfg(target_family = "wasm")]
mod runtime {
    use crate::size_classes::SizeClasses;
    use dlmalloc::GlobalDlmalloc;

    #[global_allocator]
    static ALLOCATOR: SizeClasses<GlobalDlmalloc> = SizeClasses::in_front_of(GlobalDlmalloc);

    /// Traps: a panic is a bug. It stops the instance, and the host tells its user.
    #[panic_handler]
    fn trap(_: &core::panic::PanicInfo) -> ! {
        core::arch::wasm32::unreachable()
    }
}
