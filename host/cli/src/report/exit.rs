//! Exit codes: numbers that scripts may rely on, after BSD's sysexits and the shells' habits.

use std::error::Error;
use std::process::ExitCode;

use crate::report::stderr;
use crate::signals;

/// The arguments, or what they name, are wrong.
pub(crate) const USAGE: u8 = 64;
/// The store is unavailable, or unfit to lock on.
pub(crate) const UNAVAILABLE: u8 = 69;
/// A bug.
pub(crate) const INTERNAL: u8 = 70;
/// The system refuses something: memory, a thread, a full disk behind stdout.
pub(crate) const SYSTEM: u8 = 71;
/// The lock was lost while the command ran.
pub(crate) const LOST: u8 = 74;
/// The lock is busy.
pub(crate) const BUSY: u8 = 75;
/// The grant is not the holder's.
pub(crate) const NOT_HOLDER: u8 = 77;
/// The command cannot be run.
pub(crate) const CANNOT_RUN: u8 = 126;
/// The command is not found.
pub(crate) const NOT_FOUND: u8 = 127;

/// What a shell reports for a command that a signal ended.
pub(crate) fn of_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

/// How a command ended, and how kvlock ends in its stead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Exited(u8),
    /// A signal ended it.
    Killed(i32),
    /// A key that was pressed at the terminal did, such as Ctrl-C. The command alone had the terminal: whoever pressed it
    /// meant all who would have been told of it without us.
    KilledByKey(i32),
}

impl Status {
    /// The exit code, as a shell tells it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Status::Exited(code) => code,
            Status::Killed(signal) | Status::KilledByKey(signal) => of_signal(signal),
        }
    }

    /// Ends kvlock by the signal, if it was one: whoever waits for us ends too where it would have, as a shell's script
    /// after Ctrl-C. Else tells the exit code.
    pub(crate) fn end(self) -> ExitCode {
        stderr::flush();
        match self {
            Status::Exited(_) => {}
            Status::Killed(signal) => signals::die_of(signal),
            Status::KilledByKey(signal) => signals::die_with_our_group_of(signal),
        }
        self.code().into()
    }
}

/// An error that says how kvlock ends.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Exit {
    pub(crate) status: Status,
    message: String,
    /// The error that it tells in words of its own, for those who read JSON.
    #[source]
    about: Option<Box<dyn Error + Send + Sync>>,
}

impl Exit {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Exit { status: Status::Exited(code), message: message.into(), about: None }
    }

    /// A signal ended what we did.
    pub(crate) fn interrupted(signal: i32, message: impl Into<String>) -> Self {
        Exit { status: Status::Killed(signal), message: message.into(), about: None }
    }

    /// The same about an error, which is not told as well.
    pub(crate) fn about(self, error: impl Error + Send + Sync + 'static) -> Self {
        Exit { about: Some(Box::new(error)), ..self }
    }

    pub(crate) fn code(&self) -> u8 {
        self.status.code()
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Exit::new(USAGE, message)
    }
}
