//! A wait for a share of a lock: what it knows, and the state that it is in.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::acquire::{Respected, Waiting};
use crate::error::{AcquireError, WaitingFor};
use crate::leave::Leave;
use crate::records::{Nonce, Readers, Record, Ticket};
use crate::session::{Grant, Reading, Session};
use crate::turn::{AfterPause, CurrentHolder, Member};
use crate::values::{Invalid, Key, LockOptions, Mode, RecordKey, StoreError, Time, Version};
use crate::write::ReadersWrite;

pub(super) type Outcome = Result<Grant, AcquireError>;

/// How many times other readers may be faster than one that does not wait. Each of them made progress.
pub(super) const MOST_RACES: u32 = 16;

/// A wait for a share of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AcquireShared {
    pub(super) place: RecordKey,
    pub(super) store_key: Arc<str>,
    pub(super) options: LockOptions,
    pub(super) waiting: Waiting,
    /// Its part in the wait list; none: it has not looked, or was served.
    pub(super) member: Option<Box<Member>>,
    pub(super) nonce: Nonce,
    /// Its writes, and what it has seen of other readers.
    pub(super) reading: Reading,
    /// The record of one that has the lock alone, if the last look found one.
    pub(super) respected: Option<Respected>,
    /// Whether a write of unknown outcome may have happened, or may still happen.
    pub(super) in_doubt: bool,
    /// Whether it tried since the last pause. It does so once, so that a wait that never pauses ends.
    pub(super) tried: bool,
    /// How many times somebody else was faster at writing the record.
    pub(super) conflicts: u32,
    pub(super) state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum State {
    Fresh,
    Looking {
        /// Whether to try whatever the place in the list: those before it had time.
        insists: bool,
    },
    /// Writing its ticket into the wait list.
    Joining,
    /// Taking away a wait list in which nobody is left.
    Clearing,
    Entering(Box<Entered>),
    AskingEra(Box<Entered>, Version),
    /// Leaving the record again, because its entry must not become a grant.
    Withdrawing {
        write: Box<ReadersWrite>,
        then: WithdrawReason,
    },
    Pausing {
        until: Time,
        then: AfterPause,
    },
    /// Leaving the wait list, because it ends without the lock.
    Leaving {
        leave: Box<Leave>,
        outcome: Box<Outcome>,
    },
    Ended,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum WithdrawReason {
    TooLate,
    Quarantine(Time),
    Outage(StoreError),
}

/// A record with an entry of ours that is written, or was, and is not a grant so far.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Entered {
    pub(super) own: Record,
    pub(super) readers: Readers,
    pub(super) sent: Time,
    /// Whether it was written before, and the reply came after the lease.
    pub(super) late: bool,
}

/// What a look found, in the way of a reader.
pub(super) enum Found {
    /// The lock is free, or its record stands though its time is over.
    Free,
    /// Readers have it, and more may come in.
    Open(Readers, Version),
    /// Somebody has it alone, or waits for that.
    Taken(CurrentHolder, Vec<Ticket>),
}

impl AcquireShared {
    /// Waits for a share of the lock of `key`. The nonce must be 128 bits from a secure generator, new for each
    /// acquisition. Fails if the options ask for what readers cannot have.
    pub fn new(session: &Session, key: Key, options: LockOptions, nonce: Nonce) -> Result<Self, Invalid> {
        if options.adopt {
            return Err(Invalid::new("a shared lock cannot be adopted"));
        }
        if !options.at_least.is_zero() {
            return Err(Invalid::new("a shared lock has no minimum hold"));
        }
        let place = RecordKey::lock(&key);
        Ok(AcquireShared {
            store_key: session.store_key(&place),
            waiting: Waiting::new(&options, nonce),
            place,
            options: options.mode(Mode::Shared),
            member: None,
            nonce,
            reading: Reading::new(nonce),
            respected: None,
            in_doubt: false,
            tried: false,
            conflicts: 0,
            state: State::Fresh,
        })
    }

    /// Returns what it waits for at present.
    pub fn waiting_for(&self) -> &WaitingFor {
        &self.waiting.waiting_for
    }

    /// Returns the key as its user wrote it.
    pub fn key(&self) -> &str {
        self.place.key.as_str()
    }

    /// Returns the key in the store whose deletion frees the lock.
    pub fn store_key(&self) -> &Arc<str> {
        &self.store_key
    }
}
