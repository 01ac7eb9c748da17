//! What is waited for: a lock, a permit, or the next try of work that may conflict. One wait serves all three.

use std::time::Duration;

use wasmtime::component::ResourceAny;

use crate::component::bindings::exports::kvlock::lock::{conflict_retry, mutex, semaphore};
use crate::component::convert;
use crate::error::AcquireError;
use crate::owner::Guest;
use crate::store::Ttl;

/// How to acquire, as the component takes it.
#[derive(Clone)]
pub(crate) enum Wanted {
    Lock(mutex::LockOptions),
    Permit(semaphore::PermitOptions),
    Try(conflict_retry::RetryOptions),
}

impl Wanted {
    /// Begins in the component. Nothing is sent.
    pub(crate) fn begin(&self, guest: &mut Guest, key: &str) -> wasmtime::Result<Result<ResourceAny, AcquireError>> {
        let Guest { instance, session, .. } = guest;
        let (exports, store) = (&instance.exports, &mut instance.store);
        Ok(match self {
            Wanted::Lock(options) => {
                let begun = exports.kvlock_lock_mutex().session().call_lock(store, *session, key, *options)?;
                begun.map_err(|error| AcquireError::of(key, error))
            }
            Wanted::Permit(options) => {
                let begun = exports.kvlock_lock_semaphore().call_acquire(store, *session, key, *options)?;
                begun.map_err(AcquireError::Invalid)
            }
            Wanted::Try(options) => {
                let begun = exports.kvlock_lock_conflict_retry().call_begin(store, *session, key, options)?;
                begun.map_err(AcquireError::Invalid)
            }
        })
    }

    /// Goes on with what was begun.
    pub(crate) fn poll(&self, guest: &mut Guest, begun: ResourceAny) -> wasmtime::Result<mutex::Progress> {
        let (exports, store) = (&guest.instance.exports, &mut guest.instance.store);
        match self {
            Wanted::Lock(_) | Wanted::Permit(_) => exports.kvlock_lock_mutex().acquisition().call_poll(store, begun),
            Wanted::Try(_) => exports.kvlock_lock_conflict_retry().retry().call_poll(store, begun),
        }
    }

    /// The place in the store that is waited for, within its namespace.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Wanted::Lock(_) | Wanted::Try(_) => Kind::Lock,
            Wanted::Permit(_) => Kind::Permit,
        }
    }

    /// Whether it may take over what is there.
    pub(crate) fn takes_over(&self) -> bool {
        match self {
            Wanted::Lock(options) => options.adopt,
            Wanted::Try(options) => options.reservation.is_some(),
            Wanted::Permit(_) => false,
        }
    }

    pub(crate) fn lease(&self) -> Ttl {
        convert::ttl(match self {
            Wanted::Lock(options) => options.lease,
            Wanted::Permit(options) => options.lease,
            Wanted::Try(options) => options.lease,
        })
    }

    /// How long the key is to stay taken at least.
    pub(crate) fn at_least(&self) -> Duration {
        match self {
            Wanted::Lock(options) => Duration::from_nanos(options.at_least),
            Wanted::Permit(_) | Wanted::Try(_) => Duration::ZERO,
        }
    }

    pub(crate) fn interval(&self) -> Duration {
        Duration::from_nanos(match self {
            Wanted::Lock(options) => options.interval,
            Wanted::Permit(options) => options.interval,
            Wanted::Try(options) => options.interval,
        })
    }

    /// How long to wait in all; none: for ever.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let wait = match self {
            Wanted::Lock(options) => options.wait,
            Wanted::Permit(options) => options.wait,
            Wanted::Try(options) => options.wait,
        };
        wait.map(Duration::from_nanos)
    }

    /// The same with so much less of the wait left.
    pub(crate) fn after(&self, waited: Duration) -> Self {
        let mut after = self.clone();
        let wait = match &mut after {
            Wanted::Lock(options) => &mut options.wait,
            Wanted::Permit(options) => &mut options.wait,
            Wanted::Try(options) => &mut options.wait,
        };
        *wait = wait.map(|wait| wait.saturating_sub(convert::nanos(waited)));
        after
    }
}

/// What a key is the key of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Lock,
    Permit,
}
