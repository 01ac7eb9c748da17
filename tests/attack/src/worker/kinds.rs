//! The errors of the library, as the history tells them.

use kvlock::store::StoreError;
use kvlock::{AcquireError, GrantError};

use crate::history::Kind;

pub(super) fn acquire_kind(error: &AcquireError) -> Kind {
    match error {
        AcquireError::Busy { .. } => Kind::Busy,
        AcquireError::AlreadyHeld { .. } => Kind::AlreadyHeld,
        AcquireError::Lost { .. } => Kind::Lost,
        AcquireError::UnknownSemaphore { .. } => Kind::UnknownSemaphore,
        AcquireError::Store { error, .. } => store_kind(error),
        _ => Kind::Bug,
    }
}

pub(super) fn grant_kind(error: &GrantError) -> Kind {
    match error {
        GrantError::Lost { .. } => Kind::Lost,
        GrantError::AlreadyReleased { .. } => Kind::AlreadyReleased,
        GrantError::Store { error, .. } => store_kind(error),
        _ => Kind::Bug,
    }
}

pub(super) fn store_kind(error: &StoreError) -> Kind {
    match error {
        StoreError::Unavailable(_) => Kind::Unavailable,
        StoreError::UnknownOutcome(_) => Kind::UnknownOutcome,
        StoreError::Rejected(_) => Kind::Rejected,
        StoreError::Invalid(_) => Kind::Bug,
    }
}
