//! A program for `wasmtime run` that works under a lock: no two of its runs work at the same time, on whatever machines.
//!
//! It imports `kvlock:lock/mutex` and knows nothing of memcached. `kvlock-memcached.wasm` is composed with it, and finds
//! the store in `KVLOCK_STORE`:
//!
//! ```sh
//! wac plug job.wasm --plug kvlock-memcached-0.1.0.wasm -o job-with-lock.wasm
//! wasmtime run -S inherit-network --env KVLOCK_STORE=memcached://10.0.0.5:11211 job-with-lock.wasm
//! ```
//!
//! On other targets than WebAssembly the crate compiles, so that it is linted, but its imports cannot be called.
#![cfg_attr(target_family = "wasm", no_std)]
// The error types are those that wit-bindgen makes; they are moved across the boundary once.
#![allow(clippy::result_large_err)]
extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};

use bindings::exports::wasi::cli::run::Guest;
use bindings::kvlock::lock::mutex::{Grant, LockOptions, Mode, Session, SessionOptions};
use bindings::kvlock::lock::types::Ttl;
use bindings::wasi::cli::stdout::get_stdout;

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "job", generate_all });
    export!(Job with_types_in self);
    use super::Job;
}

const SECOND: u64 = 1_000_000_000;

/// Longer than the work takes. Longer work renews its grant now and then.
const LEASE: u64 = 5 * SECOND;

/// What `wasmtime run` runs.
struct Job;

impl Guest for Job {
    fn run() -> Result<(), ()> {
        match work() {
            Ok(done) => {
                say(&done);
                Ok(())
            }
            Err(why) => {
                say(&why);
                Err(())
            }
        }
    }
}

fn work() -> Result<String, String> {
    let grant = lock()?;
    // Here is the work. Send the token along with each change: who keeps the data can then refuse an older one.
    let done = format!("done under token {}", grant.token());
    grant.release().map_err(|error| format!("the lock was lost: {error:?}"))?;
    Ok(done)
}

/// Waits for the lock, for a minute at most.
fn lock() -> Result<Grant, String> {
    let session = Session::open(&SessionOptions {
        owner: "job".to_string(),
        label: String::new(),
        namespace: "example".to_string(),
        // As long as the longest lease in use: after a restart of the store, an earlier holder may still be at work.
        quarantine: Some(LEASE),
        unix_time: None,
    })?;
    let options = LockOptions {
        mode: Mode::Plain,
        lease: Ttl::After(LEASE),
        wait: Some(60 * SECOND),
        interval: SECOND / 20,
        adopt: false,
        at_least: 0,
        note: None,
    };
    let acquisition = session.lock("report", &options);
    let granted = acquisition.and_then(|acquisition| acquisition.block());
    granted.map_err(|error| format!("no lock: {error:?}"))
}

fn say(line: &str) {
    // Where nobody reads it, nobody misses it.
    let _ = get_stdout().blocking_write_and_flush(format!("{line}\n").as_bytes());
}

#[cfg(target_family = "wasm")]
mod runtime {
    #[global_allocator]
    static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

    /// A panic is a bug; a trap stops the instance, and the host tells its user.
    #[panic_handler]
    fn trap(_: &core::panic::PanicInfo) -> ! {
        core::arch::wasm32::unreachable()
    }
}
