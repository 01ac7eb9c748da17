//! Options are checked where they are given, by the component as everything is, often before their session has an
//! instance of its own: by one that all sessions of the process share. It opens and begins, and drops what came of it;
//! nothing is ever sent.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Guest, Owner};
use crate::component::bindings::exports::kvlock::lock::mutex as wit;
use crate::environment::Environment;
use crate::error::{AcquireError, SessionError, trap};
use crate::store::Memory;
use crate::wanted::Wanted;

/// Who uses it takes it out, so that nobody ever waits for it: neither another thread nor the child of a fork.
static SCRATCH: Mutex<Option<Box<Guest>>> = Mutex::new(None);

/// Whether a session is to be checked here. The first of a process, and the only one of many, may as well have its
/// instance at once.
pub(crate) fn is_separate() -> bool {
    static ANY: AtomicBool = AtomicBool::new(false);
    ANY.swap(true, Ordering::Relaxed)
}

/// Tells whether a session can be opened so.
pub(crate) fn check_session(options: &wit::SessionOptions) -> Result<(), SessionError> {
    let opened = with(|guest| {
        let resource = guest.instance.exports.kvlock_lock_mutex().session();
        match resource.call_open(&mut guest.instance.store, options)? {
            Ok(session) => session.resource_drop(&mut guest.instance.store).map(Ok),
            Err(text) => Ok(Err(text)),
        }
    });
    opened.map_err(|error| SessionError::of(&error))?.map_err(SessionError::Invalid)
}

/// Tells whether a session's wait can begin so.
pub(crate) fn check_wanted(shared: &Owner, wanted: &Wanted, key: &str) -> Result<(), AcquireError> {
    let check = |guest: &mut Guest| match wanted.begin(guest, key)? {
        Ok(resource) => resource.resource_drop(&mut guest.instance.store).map(Ok),
        Err(error) => Ok(Err(error)),
    };
    let begun = shared.call_at_hand(check).unwrap_or_else(|| with(check));
    begun.map_err(|error| AcquireError::Component { text: trap(&error), key: key.to_string() })?
}

fn with<T>(check: impl FnOnce(&mut Guest) -> wasmtime::Result<T>) -> wasmtime::Result<T> {
    let kept = SCRATCH.try_lock().ok().and_then(|mut kept| kept.take());
    let mut guest = match kept {
        Some(guest) => guest,
        None => Box::new(open()?),
    };
    guest.instance.begin_call();
    // One that fails is not kept: it cannot be entered any more.
    let checked = check(&mut guest)?;
    if let Ok(mut kept) = SCRATCH.try_lock() {
        *kept = Some(guest);
    }
    Ok(checked)
}

fn open() -> wasmtime::Result<Guest> {
    let options = || wit::SessionOptions {
        owner: "scratch".to_string(),
        label: String::new(),
        namespace: "kvlock".to_string(),
        quarantine: None,
        unix_time: None,
    };
    Guest::open(&Environment::of(Memory::default()), options)?.map_err(wasmtime::Error::msg)
}
