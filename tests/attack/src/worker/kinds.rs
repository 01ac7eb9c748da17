//! The errors of the library, as the history tells them.

use kvlock::error::ErrorKind;

use crate::history::Kind;

pub(super) fn kind_of(kind: ErrorKind) -> Kind {
    match kind {
        ErrorKind::Busy => Kind::Busy,
        ErrorKind::AlreadyHeld => Kind::AlreadyHeld,
        ErrorKind::Lost => Kind::Lost,
        ErrorKind::NotHolder => Kind::AlreadyReleased,
        ErrorKind::UnknownSemaphore => Kind::UnknownSemaphore,
        ErrorKind::Unavailable => Kind::Unavailable,
        ErrorKind::UnknownOutcome => Kind::UnknownOutcome,
        ErrorKind::Rejected => Kind::Rejected,
        _ => Kind::Bug,
    }
}
