//! Handing a lock over: the write that gives it back is the write that takes it, for a successor that is known.
//!
//! The holder writes the record that its successor would have written, under the version that is the holder's own. So
//! there is one write, no moment at which the lock is free, and nobody is asked who might not be there. Who the
//! successor is, is for whoever runs both to say: sessions that wait in one process stand in line there.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::records::record::{Nonce, Record};
use crate::records::wait_list::Ticket;
use crate::values::invalid::Invalid;
use crate::values::kv::Version;
use crate::values::time::Time;

/// How often in a row a lock is handed over before it is looked whether others wait for it elsewhere. If so, it is given
/// back, and the successor stands behind them in the key's line.
pub const MAX_CHAIN_LENGTH: u32 = 8;

/// What is to be written for a successor: [`Acquire::claim`](crate::Acquire::claim) makes it,
/// [`Release::to`](crate::Release::to) writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    pub(crate) store_key: Arc<str>,
    pub(crate) record: Record,
}

impl Claim {
    /// Reads a claim that went from one session to another as text.
    pub fn new(store_key: &str, value: &[u8]) -> Result<Self, Invalid> {
        let record = Record::decode(value).ok().filter(|record| record.depth == 1 && record.token.is_none());
        let record = record.ok_or_else(|| Invalid::new("not a claim: give it as the acquisition made it"))?;
        Ok(Claim { store_key: store_key.into(), record })
    }

    /// The key in the store that it is to be written under.
    pub fn store_key(&self) -> &str {
        &self.store_key
    }

    /// What is to be written.
    pub fn value(&self) -> Vec<u8> {
        self.record.encode()
    }
}

/// A lock that was handed over, as its successor needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HandedOver {
    /// The version of the record that was written for it.
    pub version: Version,
    /// When the request left: from then on the lease runs.
    pub sent: Time,
    /// How often in a row the lock was handed over by now.
    pub chain_length: u32,
    /// The ticket of who had it first of those in a row: it may still stand in the key's line.
    pub first: u64,
}

/// How a hold came about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct HandOverChain {
    /// How often in a row the lock was handed over.
    pub(crate) length: u32,
    /// Who had it first; none: whoever holds it.
    pub(crate) first: Option<Ticket>,
}

impl HandOverChain {
    /// The next in it.
    pub(crate) fn next(self, holder: Nonce) -> Self {
        HandOverChain { length: self.length.saturating_add(1), first: Some(self.first.unwrap_or(Ticket::of(holder))) }
    }
}
