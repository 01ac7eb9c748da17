//! Checks options when they are given, often before their session has an instance of its own. The rules are the
//! component's. So an instance that all sessions of the process share opens the session, or begins the wait, and drops
//! it again. Nothing is ever sent.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::component::{Guest, SessionOptions};
use crate::environment::Environment;
use crate::error::{CallError, SessionError};
use crate::now::now;
use crate::store::Memory;

/// Each check takes it out, so that nobody ever waits for it: neither another thread nor the child of a fork.
static SCRATCH: Mutex<Option<Box<Guest>>> = Mutex::new(None);

/// Tells if a session is to be checked here. The first of a process, and the only one of many, may as well have its
/// instance at once.
pub(super) fn is_separate() -> bool {
    static ANY: AtomicBool = AtomicBool::new(false);
    ANY.swap(true, Ordering::Relaxed)
}

/// Refuses to open a session so, if an option is not legal.
pub(super) fn check_session(options: &SessionOptions<'_>) -> Result<(), SessionError> {
    with("", |guest| now(guest.check(options)))
}

/// Runs a check in the instance that is for checks.
pub(super) fn with<E: CallError>(about: &str, check: impl FnOnce(&mut Guest) -> Result<(), E>) -> Result<(), E> {
    let kept = SCRATCH.try_lock().ok().and_then(|mut kept| kept.take());
    let mut guest = match kept {
        Some(guest) => guest,
        None => Box::new(open().map_err(|error| E::unopened(about, error))?),
    };
    guest.begin_call();
    let checked = check(&mut guest);
    if !guest.has_trapped()
        && let Ok(mut kept) = SCRATCH.try_lock()
    {
        *kept = Some(guest);
    }
    checked
}

fn open() -> Result<Guest, SessionError> {
    let options = SessionOptions { owner: "scratch", label: "", namespace: "kvlock", quarantine: None };
    now(Guest::open(&Environment::of(Memory::default()), &options))
}
