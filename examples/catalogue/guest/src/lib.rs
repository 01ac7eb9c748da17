//! A component that adds entries to a shared catalogue. It reads the catalogue, adds a line and writes it back; what
//! keeps two of its instances from losing each other's entries is the lock that it imports.
//!
//! On other targets than WebAssembly the crate compiles, so that it is linted, but its imports cannot be called.
#![cfg_attr(target_family = "wasm", no_std)]
// The error types are those that wit-bindgen makes; they are moved across the boundary once.
#![allow(clippy::result_large_err)]
extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};

use bindings::example::catalogue::documents;
use bindings::exports::example::catalogue::indexer::Guest;
use bindings::kvlock::lock::mutex::{Grant, LockOptions, Mode, Session, SessionOptions};
use bindings::kvlock::lock::types::Ttl;

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "../wit"],
        world: "example:catalogue/guarded",
        generate_all,
    });
    export!(Component with_types_in self);
    use super::Component;
}

const SECOND: u64 = 1_000_000_000;

/// What the component exports.
struct Component;

impl Guest for Component {
    fn index(catalogue: String, entry: String, careless: bool) -> Result<(), String> {
        if careless {
            add(&catalogue, &entry);
            return Ok(());
        }
        let grant = lock(&catalogue)?;
        // A moment's work, for a lease of half a minute. Longer work would renew the grant now and then.
        add(&catalogue, &entry);
        grant.release().map(drop).map_err(|error| format!("the lock of `{catalogue}` was lost: {error:?}"))
    }
}

fn add(catalogue: &str, entry: &str) {
    let mut document = documents::read(catalogue);
    document.push_str(entry);
    document.push('\n');
    documents::write(catalogue, &document);
}

/// Waits for the lock of a catalogue.
fn lock(catalogue: &str) -> Result<Grant, String> {
    let session = Session::open(&SessionOptions {
        owner: "indexer".to_string(),
        label: String::new(),
        namespace: "catalogue".to_string(),
        quarantine: None,
        unix_time: None,
    })?;
    let options = LockOptions {
        mode: Mode::Plain,
        lease: Ttl::After(30 * SECOND),
        wait: Some(60 * SECOND),
        interval: SECOND / 100,
        adopt: false,
        at_least: 0,
        note: None,
    };
    let acquisition = session.lock(catalogue, &options);
    let granted = acquisition.and_then(|acquisition| acquisition.block());
    granted.map_err(|error| format!("no lock of `{catalogue}`: {error:?}"))
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
