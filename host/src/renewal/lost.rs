//! Why a lock that was kept is held no more.

use std::fmt;

use crate::error::ComponentError;
use crate::holder::Holder;
use crate::store::StoreError;

/// Why a kept grant is over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostReason {
    /// The store tells that the lock is not ours any more: it was broken, adopted, or the store lost its contents.
    Gone(Option<Box<Holder>>),
    /// It could not be renewed in time; what the store said last.
    Expired(Option<StoreError>),
    /// It was held as long as it may be, and is renewed no more.
    MaxHold,
    /// The component failed.
    Component(ComponentError),
    /// This process was forked from the one that holds it.
    Forked,
}

impl LostReason {
    /// Returns the outage of the store that the lock was lost by, if it was.
    pub fn outage(&self) -> Option<&StoreError> {
        match self {
            LostReason::Expired(error) => error.as_ref().filter(|error| error.is_outage()),
            LostReason::Gone(_) | LostReason::MaxHold | LostReason::Component(_) | LostReason::Forked => None,
        }
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LostReason::Gone(Some(holder)) => write!(f, "it is {holder}"),
            LostReason::Gone(None) => {
                write!(f, "its record is gone from the store: broken, or the store lost its contents")
            }
            LostReason::Expired(Some(error)) => write!(f, "it could not be renewed: {error:#}"),
            LostReason::Expired(None) => write!(f, "its lease ended before it could be renewed"),
            LostReason::MaxHold => write!(f, "it was held for the longest time allowed"),
            LostReason::Component(error) => write!(f, "{error}"),
            LostReason::Forked => write!(f, "it is held by the process that this one was forked from"),
        }
    }
}
