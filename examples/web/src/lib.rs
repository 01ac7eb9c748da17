//! A web service that holds a lock over several requests. Each request is an instance of its own, and knows nothing of the
//! others: the grant goes to the client and back, written out as text.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /acquire` | the key | the grant; 409 if somebody else has the lock |
//! | `POST /renew` | the grant | the grant, whose lease begins anew; 410 if it was lost |
//! | `POST /release` | the grant | 200; 410 if it was lost |
//!
//! The text of a grant is a secret: whoever has it can release the lock. The component is composed with
//! `kvlock-memcached.wasm`, which finds its store in `KVLOCK_STORE`:
//!
//! ```sh
//! wac plug web.wasm --plug kvlock-memcached-0.1.0.wasm -o web-with-lock.wasm
//! wasmtime serve -S cli,inherit-network --env KVLOCK_STORE=memcached://10.0.0.5:11211 web-with-lock.wasm
//! ```
//!
//! On other targets than WebAssembly the crate compiles, so that it is linted, but its imports cannot be called.
#![cfg_attr(target_family = "wasm", no_std)]
// The error types are those that wit-bindgen makes; they are moved across the boundary once.
#![allow(clippy::result_large_err)]
extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bindings::exports::wasi::http::incoming_handler::{Guest, IncomingRequest, ResponseOutparam};
use bindings::kvlock::lock::mutex::{AcquireError, Grant, GrantError, LockOptions, Mode, Session, SessionOptions};
use bindings::kvlock::lock::types::Ttl;
use bindings::wasi::http::types::{Fields, Method, OutgoingBody, OutgoingResponse};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "web", generate_all });
    export!(Web with_types_in self);
    use super::Web;
}

const SECOND: u64 = 1_000_000_000;

/// How long a client has until its next request.
const LEASE: u64 = 5 * SECOND;

/// The longest body that is read: a key, or a grant.
const LONGEST: usize = 64 * 1024;

/// What an HTTP server calls.
struct Web;

/// A status code and a body.
type Answer = (u16, String);

impl Guest for Web {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let is_post = matches!(request.method(), Method::Post);
        let answer = match (is_post, path.as_str(), read(&request)) {
            (_, _, None) => Err((400, "the body is no text of 64 KiB".to_string())),
            (true, "/acquire", Some(key)) => acquire(&key),
            (true, "/renew", Some(grant)) => renew(&grant),
            (true, "/release", Some(grant)) => release(&grant),
            _ => Err((404, "POST /acquire, /renew or /release".to_string())),
        };
        let (status, body) = match answer {
            Ok(body) => (200, body),
            Err(answer) => answer,
        };
        write(response, status, &body);
    }
}

fn session() -> Result<Session, Answer> {
    let options = SessionOptions {
        owner: "web".to_string(),
        label: String::new(),
        namespace: "example".to_string(),
        // As long as the longest lease in use: after a restart of the store, an earlier holder may still be at work.
        quarantine: Some(LEASE),
        unix_time: None,
    };
    Session::open(&options).map_err(|why| (500, why))
}

fn acquire(key: &str) -> Result<String, Answer> {
    let options = LockOptions {
        mode: Mode::Plain,
        lease: Ttl::After(LEASE),
        // A little longer than the quarantine. A server with better things to do answers "busy" at once, by 0.
        wait: Some(LEASE + SECOND),
        interval: SECOND / 20,
        adopt: false,
        at_least: 0,
        note: None,
    };
    let session = session()?;
    let granted = session.lock(key, &options).and_then(|acquisition| acquisition.block());
    let grant = granted.map_err(|error| match error {
        AcquireError::Busy(_) => (409, "somebody else has the lock".to_string()),
        error => (503, format!("{error:?}")),
    })?;
    written(&grant)
}

/// Renews a grant, and writes it out again: the text that it came as is of no use any more.
fn renew(text: &str) -> Result<String, Answer> {
    let session = session()?;
    let grant = session.resume(text).map_err(|why| (400, why))?;
    grant.renew(Some(Ttl::After(LEASE))).map_err(|error| lost(&error))?;
    written(&grant)
}

fn release(text: &str) -> Result<String, Answer> {
    let session = session()?;
    let grant = session.resume(text).map_err(|why| (400, why))?;
    grant.release().map_err(|error| lost(&error))?;
    Ok("released".to_string())
}

fn written(grant: &Grant) -> Result<String, Answer> {
    grant.write_out().map_err(|error| lost(&error))
}

fn lost(error: &GrantError) -> Answer {
    match error {
        GrantError::Lost(_) => (410, "the lock was lost".to_string()),
        error => (503, format!("{error:?}")),
    }
}

/// Reads the body of a request.
fn read(request: &IncomingRequest) -> Option<String> {
    let body = request.consume().ok()?;
    let stream = body.stream().ok()?;
    let mut bytes = Vec::new();
    // Its end is an error, too.
    while let Ok(piece) = stream.blocking_read(LONGEST as u64) {
        bytes.extend_from_slice(&piece);
        if bytes.len() > LONGEST {
            return None;
        }
    }
    String::from_utf8(bytes).ok()
}

fn write(response: ResponseOutparam, status: u16, text: &str) {
    let outgoing = OutgoingResponse::new(Fields::new());
    // A client that has gone does not mind.
    let _ = outgoing.set_status_code(status);
    let body = outgoing.body();
    ResponseOutparam::set(response, Ok(outgoing));
    if let Ok(body) = body {
        if let Ok(stream) = body.write() {
            // As much as WASI takes at once.
            for piece in text.as_bytes().chunks(4096) {
                let _ = stream.blocking_write_and_flush(piece);
            }
        }
        let _ = OutgoingBody::finish(body, None);
    }
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
