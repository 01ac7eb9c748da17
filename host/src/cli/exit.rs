//! Exit codes: numbers that scripts may rely on, after BSD's sysexits and the shells' habits.

use kvlock::store::StoreError;
use kvlock::{AcquireError, ConnectError, GrantError, KeyError, ResizeError, SessionError};

/// The arguments, or what they name, are wrong.
pub(super) const USAGE: u8 = 64;
/// The store is unavailable, or unfit to lock on.
pub(super) const UNAVAILABLE: u8 = 69;
/// A bug, or a system call that should not fail.
pub(super) const INTERNAL: u8 = 70;
/// The lock was lost while the command ran.
pub(super) const LOST: u8 = 74;
/// The lock is busy.
pub(super) const BUSY: u8 = 75;
/// The grant is not the holder's.
pub(super) const NOT_HOLDER: u8 = 77;
/// The command cannot be run.
pub(super) const CANNOT_RUN: u8 = 126;
/// The command is not found.
pub(super) const NOT_FOUND: u8 = 127;

/// What a shell reports for a command that a signal ended.
pub(super) fn of_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

/// An error that has its exit code with it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Exit {
    pub(super) code: u8,
    message: String,
}

impl Exit {
    pub(super) fn new(code: u8, message: impl Into<String>) -> Self {
        Exit { code, message: message.into() }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Exit::new(USAGE, message)
    }
}

/// The exit code for an error that ended a subcommand.
pub(super) fn code_of(error: &anyhow::Error) -> u8 {
    if let Some(exit) = error.downcast_ref::<Exit>() {
        return exit.code;
    }
    let acquire = || {
        error.downcast_ref::<AcquireError>().map(|error| match error {
            AcquireError::Busy { .. } => BUSY,
            AcquireError::AlreadyHeld { .. }
            | AcquireError::Invalid(_)
            | AcquireError::Corrupt { .. }
            | AcquireError::UnknownSemaphore { .. } => USAGE,
            AcquireError::Lost { .. } => LOST,
            AcquireError::Store { error, .. } => of_store(error),
            _ => INTERNAL,
        })
    };
    let grant = || {
        error.downcast_ref::<GrantError>().map(|error| match error {
            GrantError::Lost { .. } | GrantError::AlreadyReleased { .. } => NOT_HOLDER,
            GrantError::Invalid(_) => USAGE,
            GrantError::Store { error, .. } => of_store(error),
            _ => INTERNAL,
        })
    };
    let key = || {
        error.downcast_ref::<KeyError>().map(|error| match error {
            KeyError::Corrupt { .. } | KeyError::Invalid(_) => USAGE,
            KeyError::Store(error) => of_store(error),
            _ => INTERNAL,
        })
    };
    let resize = || {
        error.downcast_ref::<ResizeError>().map(|error| match error {
            ResizeError::StillHeld { .. } | ResizeError::Superseded { .. } => BUSY,
            ResizeError::Unknown { .. } | ResizeError::Corrupt { .. } | ResizeError::Invalid(_) => USAGE,
            ResizeError::Store { error, .. } => of_store(error),
            _ => INTERNAL,
        })
    };
    let session = || {
        error.downcast_ref::<SessionError>().map(|error| match error {
            SessionError::Invalid(_) => USAGE,
            _ => INTERNAL,
        })
    };
    let connect = || {
        error.downcast_ref::<ConnectError>().map(|error| match error {
            ConnectError::BadUrl { .. } => USAGE,
            ConnectError::Store { error, .. } => of_store(error),
            _ => INTERNAL,
        })
    };
    acquire().or_else(grant).or_else(key).or_else(resize).or_else(session).or_else(connect).unwrap_or(INTERNAL)
}

fn of_store(error: &StoreError) -> u8 {
    match error {
        StoreError::Invalid(_) => USAGE,
        StoreError::Unavailable(_) | StoreError::UnknownOutcome(_) | StoreError::Rejected(_) => UNAVAILABLE,
    }
}
