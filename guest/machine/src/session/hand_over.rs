//! Handing a lock over: the write that releases it is the write that grants it to a known successor.
//!
//! The holder writes the record that its successor would have written, under the holder's own version. So there is one
//! write, the lock is never free in between, and nobody is asked that may be gone. The host that runs both chooses the
//! successor: sessions that wait in one process stand in a queue there.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::records::{Nonce, Record, Ticket};
use crate::values::{Invalid, Mode, Time, Version};

/// The number of consecutive hand-overs after which the holder looks for waiters elsewhere. If there are any, it
/// releases the lock, and the successor joins the wait list behind them.
pub const MAX_CHAIN_LENGTH: u32 = 8;

/// The record that is to be written for a successor: [`Acquire::claim`](crate::Acquire::claim) makes it,
/// [`Release::to`](crate::Release::to) writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    pub(crate) store_key: Arc<str>,
    pub(crate) record: Record,
}

impl Claim {
    /// Reads a claim that went from one session to another as text.
    pub fn new(store_key: &str, value: &[u8]) -> Result<Self, Invalid> {
        let is_claim = |record: &Record| record.depth == 1 && record.token.is_none() && record.mode != Mode::Shared;
        let record = Record::decode(value).ok().filter(is_claim);
        let record = record.ok_or_else(|| Invalid::new("not a claim: give it as the acquisition made it"))?;
        Ok(Claim { store_key: store_key.into(), record })
    }

    /// Returns the store key of the record.
    pub fn store_key(&self) -> &str {
        &self.store_key
    }

    /// Returns the record's bytes.
    pub fn value(&self) -> Vec<u8> {
        self.record.encode()
    }
}

/// A lock that was handed over: what its successor needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HandedOver {
    /// The version of the record that was written for it.
    pub version: Version,
    /// When the request left: the lease runs from then on.
    pub sent: Time,
    /// The number of consecutive hand-overs so far.
    pub chain_length: u32,
    /// The ticket of the first holder of the chain: it may still stand in the wait list.
    pub first: u64,
}

/// The hand-overs by which a hold came about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct HandOverChain {
    /// The number of consecutive hand-overs.
    pub(crate) length: u32,
    /// The first holder; none: the present one.
    pub(crate) first: Option<Ticket>,
}

impl HandOverChain {
    /// Returns the chain after one more hand-over.
    pub(crate) fn next(self, holder: Nonce) -> Self {
        HandOverChain { length: self.length.saturating_add(1), first: Some(self.first.unwrap_or(Ticket::of(holder))) }
    }
}
