//! One hold of a lock, as its user has it.

use alloc::sync::Arc;
use core::time::Duration;

use super::hold::Hold;
use crate::values::{RecordKey, Text};

/// How long a grant is certain to be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Validity {
    /// For this long.
    Valid(Duration),
    /// Until released.
    Unlimited,
    /// Not known until it is renewed: it was written out, or resumed, or a release of it was not answered.
    Unconfirmed,
    /// It is over.
    Lost,
}

/// One hold of a lock. Nested holds are grants of their own. A driver keeps one value for each and gives it up to the
/// release; copies are for state explorers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grant {
    pub(crate) store_key: Arc<str>,
    pub(crate) number: u64,
    pub(crate) place: RecordKey,
    owner: Text,
    pub(crate) token: u64,
}

impl Grant {
    pub(crate) fn of(store_key: &Arc<str>, hold: &Hold) -> Self {
        Grant {
            store_key: store_key.clone(),
            number: hold.number,
            place: hold.record.place.clone(),
            owner: hold.record.owner.clone(),
            token: hold.record.token.unwrap_or(hold.version.token()),
        }
    }

    /// Returns the key as its user wrote it; for a permit, the semaphore's name.
    pub fn key(&self) -> &str {
        self.place.key.as_str()
    }

    /// Returns the permit's number, if it is a permit of a semaphore.
    pub fn permit(&self) -> Option<u32> {
        self.place.permit
    }

    /// Returns the owner's name.
    pub fn owner(&self) -> &str {
        self.owner.as_str()
    }

    /// Returns the fencing token: larger than that of every earlier grant of the key.
    pub fn token(&self) -> u64 {
        self.token
    }
}
