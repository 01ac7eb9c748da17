//! Exit codes. Scripts may rely on the numbers, which follow BSD's sysexits and the habits of shells.

use std::error::Error;
use std::process::ExitCode;

use crate::report::stderr;
use crate::signals;

/// The arguments, or what they name, are wrong.
pub(crate) const USAGE: u8 = 64;
/// The store is unavailable, or unfit for locks.
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

/// Returns the code that a shell reports for a command that a signal ended.
pub(crate) fn of_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

/// How a command ended, and how kvlock ends in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Exited(u8),
    /// A signal ended it.
    Killed(i32),
    /// A key at the terminal ended it, such as Ctrl-C. Only the command had the terminal, but the user meant every
    /// process that would have received the signal without us.
    KilledByKey(i32),
}

impl Status {
    pub(crate) const SUCCESS: Status = Status::Exited(0);

    /// Returns the exit code, as a shell reports it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Status::Exited(code) => code,
            Status::Killed(signal) | Status::KilledByKey(signal) => of_signal(signal),
        }
    }

    /// Ends kvlock by the signal, if one ended the command: a script in a shell then ends after Ctrl-C as it would
    /// without us. Otherwise returns the exit code.
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
    /// The error that the message describes; JSON has its details.
    #[source]
    about: Option<Box<dyn Error + Send + Sync>>,
}

impl Exit {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Exit { status: Status::Exited(code), message: message.into(), about: None }
    }

    /// Returns the error of a subcommand that a signal ended.
    pub(crate) fn interrupted(signal: i32, message: impl Into<String>) -> Self {
        Exit { status: Status::Killed(signal), message: message.into(), about: None }
    }

    /// Adds the error that the message describes.
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
