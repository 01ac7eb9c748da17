//! How keys stand, and what breaking them by force found.

use std::time::Duration;

use crate::component::bindings::exports::kvlock::lock::mutex as wit;
use crate::holder::Holder;

/// How a key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStatus {
    /// Who has it.
    pub state: KeyState,
    /// How much longer nothing is granted, a free key neither, because the store lost its contents a short while ago:
    /// by the [session's quarantine](crate::SessionBuilder::quarantine), or as for a lease of 30 s. None: no quarantine.
    pub quarantine: Option<Duration>,
    /// How many wait in the key's line in the store. An estimate: a waiter that crashed is counted for a few turns, and
    /// of the sessions of one [`Client`](crate::Client) that wait only the first.
    pub waiters: u32,
}

/// Who has a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// Nobody has it.
    Free,
    /// Somebody holds it.
    Held(Box<Holder>),
    /// Nobody works under it: it is reserved for the next try of a conflict retry, for as long as its lease says.
    Reserved(Box<Holder>),
    /// Its last holder released it, and it is kept for its minimum time.
    Kept(Box<Holder>),
    /// Its value is not a kvlock record; its beginning.
    Corrupt(String),
}

/// What a break by force found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// Nobody had the key.
    Free,
    /// The grant of this holder has ended. The holder [may be at work](Holder::at_work_until) yet.
    Ended(Box<Holder>),
    /// The grant with the given token ended before: this holder has the key now, and keeps it.
    Other(Box<Holder>),
}

impl Broken {
    /// Returns whose grant has ended.
    pub(crate) fn ended(self) -> Option<Holder> {
        match self {
            Broken::Ended(holder) => Some(*holder),
            Broken::Free | Broken::Other(_) => None,
        }
    }
}

impl From<wit::Broken> for Broken {
    fn from(broken: wit::Broken) -> Self {
        match broken {
            wit::Broken::Free => Broken::Free,
            wit::Broken::Ended(holder) => Broken::Ended(Box::new(holder.into())),
            wit::Broken::Other(holder) => Broken::Other(Box::new(holder.into())),
        }
    }
}

impl KeyState {
    /// Returns who holds the key, or had it last if it is kept.
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            KeyState::Held(holder) | KeyState::Reserved(holder) | KeyState::Kept(holder) => Some(holder),
            KeyState::Free | KeyState::Corrupt(_) => None,
        }
    }
}

impl From<wit::KeyStatus> for KeyStatus {
    fn from(status: wit::KeyStatus) -> Self {
        let wit::KeyStatus { state, quarantine, waiters } = status;
        let state = match state {
            wit::KeyState::Free => KeyState::Free,
            wit::KeyState::Held(holder) => KeyState::Held(Box::new(holder.into())),
            wit::KeyState::Reserved(holder) => KeyState::Reserved(Box::new(holder.into())),
            wit::KeyState::Kept(holder) => KeyState::Kept(Box::new(holder.into())),
            wit::KeyState::Corrupt(excerpt) => KeyState::Corrupt(excerpt),
        };
        KeyStatus { state, quarantine: quarantine.map(Duration::from_nanos), waiters }
    }
}
