//! What can go wrong, one type per operation. Every message names the key, the cause and the next step.
//!
//! Every error has a [`kind`](AcquireError::kind) and tells by [`retry`](AcquireError::retry) if the same call may help.
//! The error of a store is the [`source`](std::error::Error::source) of the error that it caused: print an error with
//! its causes.

use std::time::Duration;

use crate::holder::{Holder, WaitingFor};
use crate::kind::kinds;
pub use crate::kind::{ErrorKind, Retry};
use crate::status::SemaphoreStatus;
use crate::store::StoreError;
use crate::text::{permits, seconds, shown};

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
    /// The environment names no store, and there is no default.
    #[error("no store is configured, and {reason}: set KVLOCK_STORE to a URL")]
    NotConfigured {
        /// Why there is no default.
        reason: String,
    },
    /// The store could not be opened.
    #[error("cannot open `{}`: {}", url.escape_debug(), error.headline())]
    Store {
        /// The URL as given.
        url: String,
        /// The error of the store.
        #[source]
        error: StoreError,
    },
}

/// Why a call of the component did not return.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentError {
    /// The system has no room for an instance of it: memory, addresses, mappings or threads. No bug.
    #[error("the lock component does not start: {0}")]
    NoRoom(String),
    /// It failed, which is a bug; its session cannot be used any more.
    #[error("the lock component failed: {0}")]
    Failed(String),
}

/// Why a session could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// An option is not legal.
    #[error("{0}")]
    Invalid(String),
    /// The component failed.
    #[error(transparent)]
    Component(ComponentError),
}

/// Defines the error of a call about a key or a name: its own cases with their kinds, and those that all calls have.
macro_rules! call_error {
    (
        $(#[$meta:meta])*
        $name:ident about $about:ident, $whose:literal;
        retry once lost: $lost:expr;
        $(#[$store:meta])+
        Store { $error:ident },
        $($(#[$of_case:meta])* $case:ident $fields:tt => $kind:expr,)+
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$of_case])* $case $fields,)+
            /// An argument is not legal; nothing was sent.
            #[error("{}{reason}", about(.$about))]
            Invalid {
                #[doc = $whose]
                $about: String,
                /// The argument that is not legal, and what is.
                reason: String,
            },
            $(#[$store])+
            Store {
                #[doc = $whose]
                $about: String,
                /// The error of the store.
                #[source]
                $error: StoreError,
            },
            /// The component failed.
            #[error("{}{error}", about(.$about))]
            Component {
                #[doc = $whose]
                $about: String,
                /// How it failed.
                error: ComponentError,
            },
        }

        impl $name {
            #[doc = concat!("Returns what it is about. ", $whose)]
            pub fn about(&self) -> &str {
                match self {
                    $(Self::$case { $about, .. })|+
                    | Self::Invalid { $about, .. }
                    | Self::Store { $about, .. }
                    | Self::Component { $about, .. } => $about,
                }
            }

            /// Returns what kind of error it is.
            pub fn kind(&self) -> ErrorKind {
                match self {
                    $(Self::$case { .. } => $kind,)+
                    Self::Invalid { .. } => ErrorKind::Invalid,
                    Self::Store { $error, .. } => $error.kind(),
                    Self::Component { error, .. } => error.kind(),
                }
            }

            /// Returns if and when the same call may succeed.
            pub fn retry(&self) -> Retry {
                match self.kind() {
                    ErrorKind::Lost => $lost,
                    kind => kind.retry(),
                }
            }
        }

        impl CallError for $name {
            fn component(about: &str, error: ComponentError) -> Self {
                Self::Component { $about: about.to_string(), error }
            }

            fn invalid(about: &str, reason: impl Into<String>) -> Self {
                Self::Invalid { $about: about.to_string(), reason: reason.into() }
            }
        }
    };
}

call_error! {
    /// Why there is no grant.
    AcquireError about key, "The key, or the semaphore's name.";
    retry once lost: Retry::AtOnce;
    /// The store failed.
    #[error("`{}`: {}", shown(.key), error.headline())]
    Store { error },
    /// Not free in the time allowed.
    #[error("`{}` is busy: {waiting_for}; waited {}", shown(.key), seconds(*.waited))]
    Busy {
        /// The key.
        key: String,
        /// How long the wait was.
        waited: Duration,
        /// The obstacle at the last try.
        waiting_for: WaitingFor,
    } => ErrorKind::Busy,
    /// The session holds the lock already, and did not ask for a re-entrant one.
    #[error("`{}` is held by this session already: release it first, or lock it re-entrantly", shown(.key))]
    AlreadyHeld {
        /// The key.
        key: String,
    } => ErrorKind::AlreadyHeld,
    /// The session holds the lock as a reader and asked to have it alone, or the other way round.
    #[error("`{}` is held by this session already, in the other mode: release it first, or downgrade it", shown(.key))]
    HeldInOtherMode {
        /// The key.
        key: String,
    } => ErrorKind::AlreadyHeld,
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
    } => ErrorKind::Busy,
    /// The session held the lock, acquired it once more, and found it lost.
    #[error("`{}` was lost{}: stop what it guards", shown(.key), now_held(.holder))]
    Lost {
        /// The key.
        key: String,
        /// The present holder, if it is known.
        holder: Option<Box<Holder>>,
    } => ErrorKind::Lost,
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
    } => ErrorKind::Corrupt,
    /// There is no semaphore of this name, or it is being destroyed.
    #[error("there is no semaphore `{}`: make it first", shown(.key))]
    UnknownSemaphore {
        /// The semaphore's name.
        key: String,
    } => ErrorKind::UnknownSemaphore,
}

call_error! {
    /// Why a grant could not be renewed, released or written out.
    GrantError about key, "The key, or the semaphore's name.";
    retry once lost: Retry::Never;
    /// The store failed; the grant stands until its validity ends.
    #[error("`{}` ends with its lease unless renewed or released: {}", shown(.key), error.headline())]
    Store { error },
    /// The lock is not ours any more.
    #[error("`{}` was lost{}: what it guarded may have been changed by others", shown(.key), now_held(.holder))]
    Lost {
        /// The key.
        key: String,
        /// The present holder, if it is known.
        holder: Option<Box<Holder>>,
    } => ErrorKind::Lost,
    /// It was released before.
    #[error("`{}` was released already", shown(.key))]
    AlreadyReleased {
        /// The key.
        key: String,
    } => ErrorKind::NotHolder,
}

call_error! {
    /// Why a key could not be looked at or broken.
    StatusError about key, "The key, or the semaphore's name; empty if the call was about several.";
    retry once lost: Retry::Never;
    /// The store failed.
    #[error("{}{}", about(.key), error.headline())]
    Store { error },
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
    } => ErrorKind::Corrupt,
}

call_error! {
    /// Why a semaphore was not made, resized or destroyed.
    ResizeError about name, "The semaphore's name.";
    retry once lost: Retry::Never;
    /// The store failed. After an unknown outcome the size may be the new one; asking again is safe.
    #[error("semaphore `{}`: {}", shown(.name), error.headline())]
    Store { error },
    /// The wait is over, and more permits than the new size are still held. The new size stands: nobody gets in until
    /// they are back.
    #[error("{status}: wait for those by asking again, or make it another size to take this one back")]
    StillHeld {
        /// The semaphore.
        name: String,
        /// How the semaphore stands.
        status: SemaphoreStatus,
    } => ErrorKind::Busy,
    /// Somebody else made it another size, or destroyed it, while this one waited.
    #[error("{}", superseded(.name, *.size))]
    Superseded {
        /// The semaphore.
        name: String,
        /// Its present size; 0 if it was or is being destroyed.
        size: u32,
    } => ErrorKind::Superseded,
    /// There is no semaphore of this name to destroy.
    #[error("there is no semaphore `{}`: nothing to destroy", shown(.name))]
    Unknown {
        /// The semaphore.
        name: String,
    } => ErrorKind::UnknownSemaphore,
    /// What the store has in the semaphore's place is not ours. It was left as it is.
    #[error(
        "what the store has in the place of the semaphore `{}`, of one of its permits or of the list of semaphores is \
         not kvlock's, {excerpt}: remove it with the store's own tools, or use another namespace",
        shown(.name)
    )]
    Corrupt {
        /// The semaphore.
        name: String,
        /// The value's beginning.
        excerpt: String,
    } => ErrorKind::Corrupt,
}

/// Why [`Lock::with_lock`](crate::Lock::with_lock) did not simply give the value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WithLockError<T> {
    /// There was no grant; the function did not run.
    #[error(transparent)]
    Acquire(AcquireError),
    /// The function ran, and the lock was lost before it ended or could not be released.
    #[error("the function ran, but its lock was lost or not released")]
    Release {
        /// The value of the function.
        value: T,
        /// The error of the lock.
        #[source]
        error: GrantError,
    },
}

kinds!(ConnectError {
    ConnectError::BadUrl { .. } | ConnectError::NotConfigured { .. } => ErrorKind::Invalid,
    ConnectError::Store { error, .. } => error.kind(),
});

kinds!(ComponentError {
    ComponentError::NoRoom(_) => ErrorKind::System,
    ComponentError::Failed(_) => ErrorKind::Bug,
});

kinds!(SessionError {
    SessionError::Invalid(_) => ErrorKind::Invalid,
    SessionError::Component(error) => error.kind(),
});

impl<T> WithLockError<T> {
    /// Returns what kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            WithLockError::Acquire(error) => error.kind(),
            WithLockError::Release { error, .. } => error.kind(),
        }
    }

    /// Returns if and when the same call may succeed. A function that ran must not run again.
    pub fn retry(&self) -> Retry {
        match self {
            WithLockError::Acquire(error) => error.retry(),
            WithLockError::Release { .. } => Retry::Never,
        }
    }
}

/// Returns an error with its causes, as one line for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn superseded(name: &str, size: u32) -> String {
    let name = shown(name);
    match size {
        0 => format!("`{name}` was destroyed by somebody else meanwhile"),
        size => format!("`{name}` was given {} by somebody else meanwhile", permits(size)),
    }
}

fn now_held(holder: &Option<Box<Holder>>) -> String {
    holder.as_ref().map(|holder| format!(", it is {holder}")).unwrap_or_default()
}

/// Returns the beginning of a message about a key or a name; nothing if it is about none.
fn about(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("`{}`: ", shown(key)) }
}

/// The error of a call of the component about a key or a name.
pub(crate) trait CallError: Sized {
    /// Returns the error of a call that did not return.
    fn component(about: &str, error: ComponentError) -> Self;

    /// Returns the error of a call with an argument that is not legal.
    fn invalid(about: &str, reason: impl Into<String>) -> Self;

    /// Returns the error of a call for which no session could be opened.
    fn unopened(about: &str, error: SessionError) -> Self {
        match error {
            SessionError::Invalid(reason) => Self::invalid(about, reason),
            SessionError::Component(error) => Self::component(about, error),
        }
    }
}

impl CallError for SessionError {
    fn component(_: &str, error: ComponentError) -> Self {
        SessionError::Component(error)
    }

    fn invalid(_: &str, reason: impl Into<String>) -> Self {
        SessionError::Invalid(reason.into())
    }
}

impl AcquireError {
    /// Returns the error of a wait that had lasted this long before the component was asked.
    pub(crate) fn later_by(self, before: Duration) -> Self {
        match self {
            AcquireError::Busy { key, waited, waiting_for } => {
                AcquireError::Busy { key, waited: waited.saturating_add(before), waiting_for }
            }
            other => other,
        }
    }
}
