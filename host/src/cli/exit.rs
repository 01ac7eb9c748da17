//! Exit codes: numbers that scripts may rely on, after BSD's sysexits and the shells' habits.

use std::error::Error;

use super::error::Kind;

/// The arguments, or what they name, are wrong.
pub(super) const USAGE: u8 = 64;
/// The store is unavailable, or unfit to lock on.
pub(super) const UNAVAILABLE: u8 = 69;
/// A bug.
pub(super) const INTERNAL: u8 = 70;
/// The system refuses something: memory, a thread, a full disk behind stdout.
pub(super) const SYSTEM: u8 = 71;
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
    code: u8,
    message: String,
    /// The error that it tells in words of its own, for those who read JSON.
    #[source]
    about: Option<Box<dyn Error + Send + Sync>>,
}

impl Exit {
    pub(super) fn new(code: u8, message: impl Into<String>) -> Self {
        Exit { code, message: message.into(), about: None }
    }

    /// The same about an error, which is not told as well.
    pub(super) fn about(self, error: impl Error + Send + Sync + 'static) -> Self {
        Exit { about: Some(Box::new(error)), ..self }
    }

    pub(super) fn code(&self) -> u8 {
        self.code
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Exit::new(USAGE, message)
    }
}

/// The exit code for an error that ended a subcommand.
pub(super) fn code_of(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Exit>() {
        Some(exit) => exit.code,
        None => Kind::of(error).code(),
    }
}
