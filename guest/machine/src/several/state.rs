//! A wait for several keys: what it knows, and the state that it is in.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use super::candidate::Candidate;
use super::together::Together;
use crate::error::{AcquireError, WaitingFor};
use crate::leave::Leave;
use crate::records::Nonce;
use crate::session::{Grant, Session};
use crate::values::{Invalid, Key, LockOptions, Mode, RecordKey, Time};
use crate::wait::Wait;

/// The most keys that are taken at once: their renewal is to fit into one exchange with a store.
pub const MAX_KEYS: usize = 100;

pub(super) type Outcome = Result<Vec<Grant>, AcquireError>;

/// A wait for several keys, which ends with a grant of each or with none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AcquireAll {
    pub(super) options: LockOptions,
    pub(super) wait: Wait,
    /// In the order in which they are taken.
    pub(super) keys: Vec<Wanted>,
    /// The places of the keys in that order, as they were named.
    named: Vec<usize>,
    /// What the nonces of all acquisitions are made from. It is written nowhere.
    secret: Nonce,
    nonces: u64,
    /// The grants of the first keys, as many as it has.
    pub(super) held: Vec<Grant>,
    /// No renewal before this time: the last one met an outage.
    pub(super) renew_again: Option<Time>,
    /// The place of the key that it waits for, or at which it failed.
    pub(super) at: usize,
    pub(super) waiting_for: WaitingFor,
    pub(super) state: State,
}

/// One of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) key: Key,
    pub(super) store_key: Arc<str>,
    /// The nonce of its next acquisition. Another one follows only after a grant: until then a late write of ours is
    /// recognised by it.
    pub(super) nonce: Nonce,
    /// Until when the session kept the key taken before.
    pub(super) taken_until: Option<Time>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum State {
    Fresh,
    /// Trying all keys that it has not.
    Trying(Together),
    /// Waiting for the first key that it has not: a call is under way.
    Calling(Candidate),
    /// The same, between two tries.
    Pausing(Candidate, Time),
    /// Renewing what it holds. Then it waits on; without a candidate it has all keys.
    Renewing(Together, Option<Candidate>),
    /// Giving some grants back.
    GivingBack(Together, Then),
    /// Leaving the wait list of a key that it does not wait for any more.
    Leaving(Box<Leave>),
    Ended,
}

/// What follows when grants were given back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Then {
    /// It waits on.
    Wait(Candidate, Time),
    /// It tries again. It has left the wait list of the key that it waited for.
    TryAgain(Option<Box<Leave>>),
    /// It ends without any key.
    Fail(AcquireError),
}

impl AcquireAll {
    /// Waits for all of these keys. A key that is named twice is one key. The secret must be 128 bits from a secure
    /// generator, new for each acquisition.
    ///
    /// # Errors
    /// No key, more than [`MAX_KEYS`], or options that no single lock could have.
    pub fn new(session: &Session, named: &[Key], options: LockOptions, secret: Nonce) -> Result<Self, Invalid> {
        let mut sorted: Vec<&Key> = named.iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        match sorted.len() {
            0 => return Err(Invalid::new("no key is named; name one at least")),
            1..=MAX_KEYS => {}
            count => return Err(Invalid::new(format!("{count} keys are named; at most {MAX_KEYS} go at once"))),
        }
        if let (Mode::Shared, Some(key)) = (options.mode, sorted.first()) {
            // Refuses what readers cannot have.
            Candidate::new(session, key, options.clone(), secret)?;
        }
        let mut places: Vec<usize> = Vec::new();
        for place in named.iter().filter_map(|key| sorted.iter().position(|one| *one == key)) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        let mut acquire = AcquireAll {
            wait: Wait::new(options.wait, options.interval, secret.0),
            options,
            keys: Vec::new(),
            at: 0,
            named: places,
            secret,
            nonces: 0,
            held: Vec::new(),
            renew_again: None,
            waiting_for: WaitingFor::Turn,
            state: State::Fresh,
        };
        for key in sorted {
            let store_key = session.store_key(&RecordKey::lock(key));
            let wanted = Wanted { key: key.clone(), store_key, nonce: acquire.next_nonce(), taken_until: None };
            acquire.keys.push(wanted);
        }
        Ok(acquire)
    }

    /// Returns what it waits for at present.
    pub fn waiting_for(&self) -> &WaitingFor {
        &self.waiting_for
    }

    /// Returns the key that it waits for at present, or at which it failed.
    pub fn key(&self) -> &str {
        self.keys.get(self.at).map_or("", |wanted| wanted.key.as_str())
    }

    /// Returns the key in the store whose deletion ends its present wait.
    pub fn store_key(&self) -> Option<&Arc<str>> {
        self.keys.get(self.at).map(|wanted| &wanted.store_key)
    }

    /// Returns all grants in the order in which their keys were named.
    pub(super) fn as_named(&self) -> Vec<Grant> {
        self.named.iter().filter_map(|place| self.held.get(*place)).cloned().collect()
    }

    /// Nonces that nobody can guess from one another.
    pub(super) fn next_nonce(&mut self) -> Nonce {
        self.nonces += 1;
        let digest = Sha256::new().chain_update(self.secret.0.to_be_bytes()).chain_update(self.nonces.to_be_bytes());
        let digest: [u8; 32] = digest.finalize().into();
        Nonce(digest.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte)))
    }
}
