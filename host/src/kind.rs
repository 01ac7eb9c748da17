//! What every error has in common: what kind it is, and if the same call may help.

/// What kind of error it is. Each public error tells it by `kind()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Somebody else holds the lock or the permits, for longer than the caller waits.
    Busy,
    /// The session holds the lock already.
    AlreadyHeld,
    /// The lock was held and is lost: others may work under it.
    Lost,
    /// The grant was released before.
    NotHolder,
    /// The store does not answer; nothing happened.
    Unavailable,
    /// The store got a request and its answer did not come: the request may have been executed.
    UnknownOutcome,
    /// The store refuses the request.
    Rejected,
    /// The store's value is not a kvlock record.
    Corrupt,
    /// There is no semaphore of this name.
    UnknownSemaphore,
    /// Somebody else changed the semaphore meanwhile.
    Superseded,
    /// The work ran into a conflict in every try, or within another try.
    Conflict,
    /// The work itself failed.
    WorkFailed,
    /// An argument, an option or a URL is not legal; nothing was sent.
    Invalid,
    /// The system refuses something: memory, address space or a thread.
    System,
    /// The lock component failed, which is a bug.
    Bug,
}

/// If and when the same call may succeed. Each public error tells it by `retry()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// Not before something else has changed: the arguments, the grant or the store.
    Never,
    /// At once.
    AtOnce,
    /// After a pause: somebody else holds the lock, or the store is down.
    AfterPause,
    /// After a look at what became of the call, which may have been executed.
    ReadBack,
}

impl ErrorKind {
    /// Returns if the store failed to answer: the same call may succeed later.
    pub fn is_outage(self) -> bool {
        matches!(self, ErrorKind::Unavailable | ErrorKind::UnknownOutcome)
    }

    /// Returns if and when the same call may succeed.
    pub(crate) fn retry(self) -> Retry {
        match self {
            ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::Conflict | ErrorKind::System => Retry::AfterPause,
            ErrorKind::Lost => Retry::AtOnce,
            ErrorKind::UnknownOutcome | ErrorKind::Superseded => Retry::ReadBack,
            ErrorKind::AlreadyHeld
            | ErrorKind::NotHolder
            | ErrorKind::Rejected
            | ErrorKind::Corrupt
            | ErrorKind::UnknownSemaphore
            | ErrorKind::WorkFailed
            | ErrorKind::Invalid
            | ErrorKind::Bug => Retry::Never,
        }
    }
}

/// Implements `kind` and `retry` for an error whose kind tells both.
macro_rules! kinds {
    ($type:ident { $($case:pat => $kind:expr),+ $(,)? }) => {
        impl $type {
            /// Returns what kind of error it is.
            pub fn kind(&self) -> ErrorKind {
                match self {
                    $($case => $kind,)+
                }
            }

            /// Returns if and when the same call may succeed.
            pub fn retry(&self) -> Retry {
                self.kind().retry()
            }
        }
    };
}

pub(crate) use kinds;
