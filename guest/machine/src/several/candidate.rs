//! The wait for one of the keys.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::acquire::Acquire;
use crate::error::{AcquireError, WaitingFor};
use crate::leave::Leave;
use crate::machine::{Event, Machine, Step};
use crate::records::Nonce;
use crate::session::{Grant, Session};
use crate::shared::AcquireShared;
use crate::values::{Invalid, Key, LockOptions, Mode, Time};

/// A wait for one of the keys: alone, or as a reader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Candidate {
    Alone(Box<Acquire>),
    Shared(Box<AcquireShared>),
}

impl Candidate {
    pub(super) fn new(session: &Session, key: &Key, options: LockOptions, nonce: Nonce) -> Result<Self, Invalid> {
        if options.mode == Mode::Shared {
            let acquire = AcquireShared::new(session, key.clone(), options, nonce)?;
            return Ok(Candidate::Shared(Box::new(acquire)));
        }
        Ok(Candidate::Alone(Box::new(Acquire::new(session, key.clone(), options, nonce))))
    }

    pub(super) fn waiting_for(&self) -> &WaitingFor {
        match self {
            Candidate::Alone(acquire) => acquire.waiting_for(),
            Candidate::Shared(acquire) => acquire.waiting_for(),
        }
    }

    pub(super) fn store_key(&self) -> &Arc<str> {
        match self {
            Candidate::Alone(acquire) => acquire.store_key(),
            Candidate::Shared(acquire) => acquire.store_key(),
        }
    }

    pub(super) fn leave(&mut self) -> Option<Leave> {
        match self {
            Candidate::Alone(acquire) => acquire.leave(),
            Candidate::Shared(acquire) => acquire.leave(),
        }
    }
}

impl Machine for Candidate {
    type Outcome = Result<Grant, AcquireError>;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Self::Outcome> {
        match self {
            Candidate::Alone(acquire) => acquire.step(session, now, event),
            Candidate::Shared(acquire) => acquire.step(session, now, event),
        }
    }
}
