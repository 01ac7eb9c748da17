//! What can go wrong, one type per operation. Every message names the key, the cause and the next step.

use std::time::Duration;

use crate::component::bindings::exports::kvlock::lock::mutex as wit;
use crate::component::{NoInstance, convert};
use crate::holder::{Holder, WaitingFor};
use crate::store::StoreError;
use crate::text::{seconds, shown};

/// Why a client could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The store's URL is not one of ours.
    #[error("bad store URL `{}`: {reason}", url.escape_debug())]
    BadUrl {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store could not be opened.
    #[error("cannot open `{}`: {error}", url.escape_debug())]
    Store {
        /// The URL as given.
        url: String,
        /// What the store says.
        error: StoreError,
    },
}

/// Why a session could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// An option is not legal.
    #[error("{0}")]
    Invalid(String),
    /// The system has no room for an instance of the component: memory, addresses, mappings or threads. No bug.
    #[error("the lock component does not start: {0}")]
    NoRoom(String),
    /// The component failed, which is a bug.
    #[error("the lock component failed: {0}")]
    Component(String),
}

/// Why there is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// Not free in the time allowed.
    #[error("`{}` is busy: {waiting_for}; waited {}", shown(.key), seconds(*.waited))]
    Busy {
        /// The key.
        key: String,
        /// How long it was waited.
        waited: Duration,
        /// What stood in the way at the last try.
        waiting_for: WaitingFor,
    },
    /// The session holds the lock already, and did not ask for a re-entrant one.
    #[error("`{}` is held by this session already: release it first, or lock it re-entrantly", shown(.key))]
    AlreadyHeld {
        /// The key.
        key: String,
    },
    /// It would have to be waited for while the session keeps another key reserved for a conflict retry.
    #[error(
        "`{}` is not free, and nobody waits while `{}` is reserved: take that up or give it up first",
        shown(.key),
        shown(.other)
    )]
    ReservesAnother {
        /// The key that is not free.
        key: String,
        /// The key that is reserved.
        other: String,
    },
    /// The session held the lock, acquired it once more, and found it lost.
    #[error("`{}` was lost{}: stop what it guards", shown(.key), now_held(.holder))]
    Lost {
        /// The key.
        key: String,
        /// Who has it now, where known.
        holder: Option<Box<Holder>>,
    },
    /// The key has a value that is not a kvlock record. It was left as it is.
    #[error(
        "`{}` has a value in the store that is not a kvlock record, {excerpt}: remove it with the store's own tools, \
         or use another namespace",
        shown(.key)
    )]
    Corrupt {
        /// The key.
        key: String,
        /// The value's beginning.
        excerpt: String,
    },
    /// There is no semaphore of this name, or it is being destroyed.
    #[error("there is no semaphore `{}`: make it first", shown(.name))]
    UnknownSemaphore {
        /// The name.
        name: String,
    },
    /// An argument is not legal; nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// The store failed.
    #[error("`{}`: {error}", shown(.key))]
    Store {
        /// The key.
        key: String,
        /// What the store says.
        error: StoreError,
    },
    /// The component failed, which is a bug; the session cannot be used any more.
    #[error("`{}`: the lock component failed: {text}", shown(.key))]
    Component {
        /// The key.
        key: String,
        /// What wasmtime says.
        text: String,
    },
}

/// Why a grant could not be renewed, released or written out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The lock is not ours any more.
    #[error("`{}` was lost{}: what it guarded may have been changed by others", shown(.key), now_held(.holder))]
    Lost {
        /// The key.
        key: String,
        /// Who has it now, where known.
        holder: Option<Box<Holder>>,
    },
    /// It was released before.
    #[error("`{}` was released already", shown(.key))]
    AlreadyReleased {
        /// The key.
        key: String,
    },
    /// An argument is not legal; nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// The store failed; the grant stands until its validity ends.
    #[error("`{}`: {error}; unless released it ends with its lease", shown(.key))]
    Store {
        /// The key.
        key: String,
        /// What the store says.
        error: StoreError,
    },
    /// The component failed, which is a bug; the session cannot be used any more.
    #[error("`{}`: the lock component failed: {text}", shown(.key))]
    Component {
        /// The key.
        key: String,
        /// What wasmtime says.
        text: String,
    },
}

/// Why a key could not be looked at or broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The value is not a kvlock record, and was left as it is.
    #[error(
        "`{}` has a value in the store that is not a kvlock record, {excerpt}: remove it with the store's own tools",
        shown(.key)
    )]
    Corrupt {
        /// The key.
        key: String,
        /// The value's beginning.
        excerpt: String,
    },
    /// A key is not legal; nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The component failed, which is a bug; the session cannot be used any more.
    #[error("the lock component failed: {0}")]
    Component(String),
}

/// Why [`Lock::with_lock`](crate::Lock::with_lock) did not simply give the value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WithLockError<T> {
    /// There was no grant; the function did not run.
    #[error(transparent)]
    Acquire(AcquireError),
    /// The function ran, and the lock was lost before it ended or could not be released.
    #[error("{error}")]
    Release {
        /// What the function answered.
        value: T,
        /// What became of the lock.
        error: GrantError,
    },
}

fn now_held(holder: &Option<Box<Holder>>) -> String {
    holder.as_ref().map(|holder| format!(", it is {holder}")).unwrap_or_default()
}

/// The error of a call whose component trapped: its whole chain, on one line.
pub(crate) fn trap(error: &wasmtime::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}

impl SessionError {
    pub(crate) fn of(error: &wasmtime::Error) -> Self {
        match error.downcast_ref::<NoInstance>() {
            Some(_) => SessionError::NoRoom(trap(error)),
            None => SessionError::Component(trap(error)),
        }
    }
}

impl AcquireError {
    pub(crate) fn of(key: &str, error: wit::AcquireError) -> Self {
        let key = key.to_string();
        match error {
            wit::AcquireError::Busy(wit::Busy { waited, waiting_for }) => {
                AcquireError::Busy { key, waited: Duration::from_nanos(waited), waiting_for: waiting_for.into() }
            }
            wit::AcquireError::AlreadyHeld => AcquireError::AlreadyHeld { key },
            wit::AcquireError::ReservesAnother(other) => AcquireError::ReservesAnother { key, other },
            wit::AcquireError::Lost(holder) => AcquireError::Lost { key, holder: boxed(holder) },
            wit::AcquireError::Corrupt(excerpt) => AcquireError::Corrupt { key, excerpt },
            wit::AcquireError::Unknown => AcquireError::UnknownSemaphore { name: key },
            wit::AcquireError::Invalid(text) => AcquireError::Invalid(text),
            wit::AcquireError::Store(error) => AcquireError::Store { key, error: convert::error_in(error) },
        }
    }

    /// The same of a wait that had lasted so long before the component was asked.
    pub(crate) fn later_by(self, before: Duration) -> Self {
        match self {
            AcquireError::Busy { key, waited, waiting_for } => {
                AcquireError::Busy { key, waited: waited.saturating_add(before), waiting_for }
            }
            other => other,
        }
    }
}

impl GrantError {
    pub(crate) fn of(key: &str, error: wit::GrantError) -> Self {
        let key = key.to_string();
        match error {
            wit::GrantError::Lost(holder) => GrantError::Lost { key, holder: boxed(holder) },
            wit::GrantError::AlreadyReleased => GrantError::AlreadyReleased { key },
            wit::GrantError::Invalid(text) => GrantError::Invalid(text),
            wit::GrantError::Store(error) => GrantError::Store { key, error: convert::error_in(error) },
        }
    }
}

impl KeyError {
    pub(crate) fn of(key: &str, error: wit::KeyError) -> Self {
        match error {
            wit::KeyError::Corrupt(excerpt) => KeyError::Corrupt { key: key.to_string(), excerpt },
            wit::KeyError::Invalid(text) => KeyError::Invalid(text),
            wit::KeyError::Store(error) => KeyError::Store(convert::error_in(error)),
        }
    }
}

fn boxed(holder: Option<wit::Holder>) -> Option<Box<Holder>> {
    holder.map(|holder| Box::new(holder.into()))
}
