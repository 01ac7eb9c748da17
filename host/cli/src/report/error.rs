//! Errors: their kinds, which decide the exit codes, and their details as JSON.

use anyhow::Error;
use kvlock::error::ErrorKind;
use kvlock::{
    Holder, WaitingFor,
    error::{AcquireError, ConnectError, GrantError, SessionError, StatusError},
    semaphore::ResizeError,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::report::exit::{self, Exit, Status};
use crate::report::output::{self, HolderJson, one_line};
use crate::report::stderr;

/// The kinds of errors. Programs rely on their names, as on the exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// The command line or the environment is wrong.
    Usage,
    /// A value is not legal; nothing was sent.
    Invalid,
    /// The value in the store is not kvlock's.
    Corrupt,
    UnknownSemaphore,
    /// The session holds the lock already.
    AlreadyHeld,
    /// The store does not answer.
    Unavailable,
    /// The store may have received a request, but no answer came.
    UnknownOutcome,
    /// The store refuses, or is unfit for locks.
    Rejected,
    /// A bug.
    Internal,
    /// The system refuses something: memory, a thread, a full disk behind stdout.
    System,
    /// The lock was lost while the command ran.
    Lost,
    Busy,
    /// Another process changed the semaphore meanwhile.
    Superseded,
    NotHolder,
    CannotRun,
    NotFound,
    /// A signal ended the wait.
    Interrupted,
}

/// Returns what a method tells of the first error that is of one of these types.
macro_rules! first_of {
    ($error:ident, $method:ident of $($type:ident),+) => {
        None$(.or_else(|| find($error).map($type::$method)))+
    };
}

impl Kind {
    pub(crate) fn of(error: &Error) -> Kind {
        if let Some(kind) = find(error).map(AcquireError::kind) {
            return of_kind(kind);
        }
        if let Some(exit) = find::<Exit>(error) {
            return of_code(exit.code());
        }
        if let Some(GrantError::Lost { .. }) = find(error) {
            // Nobody holds the lock by this grant; what runs under it is another matter.
            return Kind::NotHolder;
        }
        if let Some(ConnectError::BadUrl { .. } | ConnectError::NotConfigured { .. }) = find(error) {
            return Kind::Usage;
        }
        first_of!(error, kind of GrantError, StatusError, ResizeError, SessionError, ConnectError)
            .map(of_kind)
            .or_else(|| find::<std::io::Error>(error).map(|_| Kind::System))
            .or_else(|| find::<nix::Error>(error).map(|_| Kind::System))
            .unwrap_or(Kind::Internal)
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Kind::Usage | Kind::Invalid | Kind::Corrupt | Kind::UnknownSemaphore | Kind::AlreadyHeld => exit::USAGE,
            Kind::Unavailable | Kind::UnknownOutcome | Kind::Rejected => exit::UNAVAILABLE,
            Kind::Internal | Kind::Interrupted => exit::INTERNAL,
            Kind::System => exit::SYSTEM,
            Kind::Lost => exit::LOST,
            Kind::Busy | Kind::Superseded => exit::BUSY,
            Kind::NotHolder => exit::NOT_HOLDER,
            Kind::CannotRun => exit::CANNOT_RUN,
            Kind::NotFound => exit::NOT_FOUND,
        }
    }
}

/// Finds an error of this type among the error and its causes.
fn find<E: std::error::Error + Send + Sync + 'static>(error: &Error) -> Option<&E> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

fn of_code(code: u8) -> Kind {
    match code {
        exit::USAGE => Kind::Usage,
        exit::UNAVAILABLE => Kind::Unavailable,
        exit::SYSTEM => Kind::System,
        exit::LOST => Kind::Lost,
        exit::BUSY => Kind::Busy,
        exit::NOT_HOLDER => Kind::NotHolder,
        exit::CANNOT_RUN => Kind::CannotRun,
        exit::NOT_FOUND => Kind::NotFound,
        128.. => Kind::Interrupted,
        _ => Kind::Internal,
    }
}

fn of_kind(kind: ErrorKind) -> Kind {
    match kind {
        ErrorKind::Busy => Kind::Busy,
        ErrorKind::AlreadyHeld => Kind::AlreadyHeld,
        ErrorKind::Lost => Kind::Lost,
        ErrorKind::NotHolder => Kind::NotHolder,
        ErrorKind::Unavailable => Kind::Unavailable,
        ErrorKind::UnknownOutcome => Kind::UnknownOutcome,
        ErrorKind::Rejected => Kind::Rejected,
        ErrorKind::Corrupt => Kind::Corrupt,
        ErrorKind::UnknownSemaphore => Kind::UnknownSemaphore,
        ErrorKind::Superseded => Kind::Superseded,
        ErrorKind::Invalid => Kind::Invalid,
        ErrorKind::System => Kind::System,
        _ => Kind::Internal,
    }
}

/// An error, for programs.
#[derive(Serialize)]
struct ErrorJson<'a> {
    kind: Kind,
    message: &'a str,
    exit_code: u8,
    /// The key, or the semaphore.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    waited: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for: Option<Value>,
    /// The holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<HolderJson<'a>>,
}

/// Says on stderr why a subcommand failed.
pub(crate) fn say(error: &Error, exit_code: u8) {
    if stderr::speaks_json() {
        output::write_line(as_json(error, exit_code));
    } else {
        output::write_line(format_args!("kvlock: {}", message(error)));
    }
}

/// Returns how kvlock ends after an error that ended a subcommand.
pub(crate) fn status_of(error: &Error) -> Status {
    match error.downcast_ref::<Exit>() {
        Some(exit) => exit.status,
        None => Status::Exited(Kind::of(error).code()),
    }
}

/// Returns an error with its causes. Some errors name their cause in their own text; it is not repeated.
pub(crate) fn message(error: &Error) -> String {
    if let Some(exit) = error.downcast_ref::<Exit>() {
        return one_line(exit);
    }
    let mut message = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if message.is_empty() {
            message = cause;
        } else if !message.ends_with(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    one_line(message)
}

/// Returns the error as one object.
fn as_json(error: &Error, exit_code: u8) -> Value {
    let (kind, message) = (Kind::of(error), message(error));
    let key = first_of!(error, about of AcquireError, GrantError, StatusError, ResizeError);
    let key = key.filter(|key| !key.is_empty());
    let (mut waited, mut waiting_for) = (None, None);
    let holder = match (find(error), find(error)) {
        (Some(AcquireError::Busy { waited: length, waiting_for: obstacle, .. }), _) => {
            waited = Some(length.as_secs_f64());
            waiting_for = Some(waiting_for_json(obstacle));
            holder_of(obstacle)
        }
        (Some(AcquireError::Lost { holder, .. }), _) | (None, Some(GrantError::Lost { holder, .. })) => {
            holder.as_deref()
        }
        _ => None,
    };
    let holder = holder.map(HolderJson::from);
    let error = ErrorJson { kind, message: &message, exit_code, key, waited, waiting_for, holder };
    stderr::stamped(json!({ "error": error }), "error", &message)
}

fn holder_of(waiting_for: &WaitingFor) -> Option<&Holder> {
    match waiting_for {
        WaitingFor::Holder(holder) => Some(holder),
        WaitingFor::Exhausted { holder, .. } => holder.as_deref(),
        _ => None,
    }
}

/// Returns the reason of a wait. The holder stands in a field of its own.
fn waiting_for_json(waiting_for: &WaitingFor) -> Value {
    match waiting_for {
        WaitingFor::Turn => json!({ "kind": "turn" }),
        WaitingFor::Holder(_) => json!({ "kind": "holder" }),
        WaitingFor::Exhausted { size, held, .. } => json!({ "kind": "permits", "size": size, "held": held }),
        WaitingFor::Quarantine(left) => json!({ "kind": "quarantine", "quarantine": left.as_secs_f64() }),
        WaitingFor::Outage(error) => json!({ "kind": "outage", "message": format!("{error:#}") }),
        _ => json!({ "kind": "other" }),
    }
}
