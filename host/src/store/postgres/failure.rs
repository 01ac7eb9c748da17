//! Why a statement has no answer, by PostgreSQL's error codes.
//!
//! | what happened | codes | to a caller who writes |
//! |---|---|---|
//! | no connection, or it was closed before anything was sent | `57P03`, `53300`, … at login | unavailable |
//! | the server gave it up and rolled it back | `25006`, `40001`, `40P01`, `53200`, `55P03`, `57014` | unavailable |
//! | the connection ended, or no answer came in time | `08…`, `57P01`, `57P02`, every FATAL | outcome unknown |
//! | the wait for a synchronous standby was cancelled: a warning, and success | | outcome unknown |
//! | no right, no room, no tables, wrong data | `28…`, `42501`, `53100`, `42P01`, `22…`, … | rejected |

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity};

use super::super::StoreError;

/// Why a statement has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing was sent: the connection had ended.
    Closed(String),
    /// The server did not do it, and may do it later.
    NotDone(String),
    /// It was sent, and nobody knows what became of it.
    NoAnswer(String),
    /// The server refuses.
    Refused(String),
    /// Others were faster; the server did not do it, and may do it at once.
    Overtaken(String),
    /// The role has no right to do that.
    NoRight(String),
    /// The tables are not there.
    NoSchema(String),
    /// The connection does not know a statement that was prepared on it: it is a pooler's.
    Unprepared(String),
}

impl Failure {
    /// Returns what an error of a statement means.
    pub(super) fn of_statement(error: &Error) -> Failure {
        let Some(answer) = error.as_db_error() else { return Failure::NoAnswer(text_of(error)) };
        let text = told(answer);
        match answer.code().code() {
            "40001" | "40P01" => Failure::Overtaken(text),
            "26000" | "42P05" => Failure::Unprepared(text),
            "42P01" | "3F000" => Failure::NoSchema(text),
            "53200" | "55P03" | "57014" if !is_fatal(answer) => Failure::NotDone(text),
            "25006" => Failure::NotDone(format!("{text}: is it a standby?")),
            code if is_fatal(answer) || code.starts_with("08") || code.starts_with("57P") => Failure::NoAnswer(text),
            "53100" => Failure::Refused(format!("{text}: make room on its disk")),
            "42501" => Failure::NoRight(text),
            _ => Failure::Refused(text),
        }
    }

    /// Returns what an error of connecting and logging in means.
    pub(super) fn of_login(error: &Error, note: Option<&str>) -> Failure {
        let note = note.map(|note| format!("; {note}")).unwrap_or_default();
        if let Some(answer) = error.as_db_error() {
            let text = format!("{}{note}", told(answer));
            let code = answer.code().code();
            return match code {
                "3D000" | "42501" => Failure::Refused(text),
                _ if code.starts_with("28") => Failure::Refused(text),
                _ => Failure::NotDone(text),
            };
        }
        let text = format!("{}{note}", text_of(error));
        // The crate keeps the kind to itself; its text is what there is.
        match error.to_string().as_str() {
            "invalid configuration" if text.contains("password missing") => Failure::Refused(format!(
                "it wants a password, and none is given: put it into ~/.pgpass or PGPASSWORD{note}"
            )),
            "authentication error" => Failure::Refused(text),
            "error performing TLS handshake" if is_refusal(error) => Failure::Refused(text),
            _ => Failure::NotDone(text),
        }
    }

    /// Returns the same failure, where nothing was to be changed yet.
    pub(super) fn before_a_write(self) -> Failure {
        match self {
            Failure::NoAnswer(why) => Failure::NotDone(why),
            other => other,
        }
    }

    /// Returns what happened, for a person.
    pub(super) fn into_text(self) -> String {
        let (Failure::Closed(why)
        | Failure::NotDone(why)
        | Failure::NoAnswer(why)
        | Failure::Refused(why)
        | Failure::Overtaken(why)
        | Failure::NoRight(why)
        | Failure::NoSchema(why)
        | Failure::Unprepared(why)) = self;
        why
    }

    /// Returns what it means to the caller.
    pub(super) fn explain(self, server: &str) -> StoreError {
        let about = |why: String| format!("PostgreSQL {server}: {why}");
        match self {
            Failure::Closed(why) | Failure::NotDone(why) | Failure::Overtaken(why) => {
                StoreError::Unavailable(about(why))
            }
            Failure::NoAnswer(why) => StoreError::UnknownOutcome(about(why)),
            Failure::NoRight(why) => StoreError::Rejected(about(format!(
                "{why}: let the owner of the schema `kvlock` run `kvlock migrate ROLE` for this role"
            ))),
            Failure::Refused(why) | Failure::NoSchema(why) | Failure::Unprepared(why) => {
                StoreError::Rejected(about(why))
            }
        }
    }
}

/// Returns true if a pooler refuses a startup parameter.
pub(super) fn is_of_a_pooler(error: &Error) -> bool {
    error.as_db_error().is_some_and(|answer| {
        answer.code().code() == "08P01" || answer.message().to_lowercase().contains("startup parameter")
    })
}

/// Returns true if a notice tells that a commit did not wait for its standby, whatever the answer says.
pub(super) fn is_cancelled_wait(notice: &DbError) -> bool {
    // By its place in the server, because its text may be in any language.
    let is_there = notice.routine() == Some("SyncRepWaitForLSN")
        || notice.file().is_some_and(|file| file.ends_with("syncrep.c"))
        || notice.message().contains("synchronous replication");
    is_there && notice.parsed_severity() != Some(Severity::Log)
}

fn is_fatal(answer: &DbError) -> bool {
    match answer.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        None => matches!(answer.severity(), "FATAL" | "PANIC"),
    }
}

/// Returns true if TLS will fail again: the server has none, or a wrong certificate.
fn is_refusal(error: &Error) -> bool {
    let Some(cause) = error.source() else { return false };
    let of_rustls = |cause: &(dyn std::error::Error + 'static)| {
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        inner.is_some_and(|inner| {
            matches!(
                inner.downcast_ref::<rustls::Error>(),
                Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))
            )
        })
    };
    of_rustls(cause) || cause.to_string().contains("does not support TLS")
}

/// Returns what the server says. It leaves out details, which may have parts of a record.
fn told(answer: &DbError) -> String {
    format!("{} ({})", one_line(answer.message()), answer.code().code())
}

/// Returns an error of the client with its causes.
fn text_of(error: &Error) -> String {
    let mut text = one_line(&error.to_string());
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {}", one_line(&next.to_string()));
        cause = next.source();
    }
    text
}

fn one_line(text: &str) -> String {
    const MOST: usize = 300;
    let cut: String = text.trim().chars().take(MOST).collect();
    cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
