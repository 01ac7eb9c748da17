//! How keys and semaphores stand, and what breaking them by force or asking for them found.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::holder::Holder;
use crate::text::{permits, shown};

/// How a key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStatus {
    /// Its state.
    pub state: KeyState,
    /// How much longer nothing is granted, not even a free key, because the store lost its contents a short while ago.
    /// It counts the [session's quarantine](crate::SessionBuilder::quarantine), or that of a lease of 30 s. None: no
    /// quarantine.
    pub quarantine: Option<Duration>,
    /// How many wait in the key's line in the store. An estimate: a waiter that crashed is counted for a few turns, and
    /// of the sessions of one [`Client`](crate::Client) that wait only the first.
    pub waiters: u32,
}

/// The state of a key.
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
#[non_exhaustive]
pub enum Broken {
    /// Nobody had the key.
    Free,
    /// The grant of this holder has ended. The holder [may still be at work](Holder::at_work_until).
    Ended(Box<Holder>),
    /// The grant that was to end has ended by itself: this holder has the key now, and keeps it.
    Other(Box<Holder>),
}

/// Somebody who asks for a lock or a permit, as its holder learns it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ask {
    /// What tells this ask from every other.
    pub id: u64,
    /// The name of the owner that asks.
    pub owner: String,
    /// Its host and process, as it told them.
    pub label: String,
    /// Why it asks, in its own words.
    pub note: Option<String>,
    /// When it asked, by its clock, if it has one.
    pub since: Option<SystemTime>,
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.owner))?;
        if !self.label.is_empty() {
            write!(f, " ({})", shown(&self.label))?;
        }
        f.write_str(" asks for it")?;
        self.note.as_ref().map_or(Ok(()), |note| write!(f, ": \"{}\"", shown(note)))
    }
}

/// What became of asking for a lock or a permit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asked {
    /// Nobody had it.
    Free,
    /// Nobody works under it: it is reserved for the next try of a conflict retry. Nobody is asked.
    Reserved(Box<Holder>),
    /// Its holder has released it already, and it is kept for its minimum time. Nobody is asked.
    Kept(Box<Holder>),
    /// This holder is asked, and has not heard it yet. Of a lock that readers share, all of them are asked.
    Unheard(Box<Holder>),
    /// This holder has heard it, and has the lock still. Of readers, all that are left of those who were asked.
    Heard(Box<Holder>),
    /// Whoever was asked has given it back. This holder has it by now, if anyone has.
    Released(Option<Box<Holder>>),
}

impl Broken {
    /// Returns the holder whose grant this break ended.
    pub fn ended(self) -> Option<Holder> {
        match self {
            Broken::Ended(holder) => Some(*holder),
            Broken::Free | Broken::Other(_) => None,
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

/// How a semaphore stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SemaphoreStatus {
    /// Its name as its user wrote it.
    pub name: String,
    /// How many permits it has; 0 while it is being destroyed.
    pub size: u32,
    /// The holders of permits, by permit number. More than `size` while it shrinks.
    pub holders: Vec<Holder>,
    /// How much longer no permit is granted, as in [`KeyStatus`], by the server that keeps the
    /// semaphore. None in what a [`Resizing`](crate::semaphore::Resizing) tells.
    pub quarantine: Option<Duration>,
}

/// How many holders a message names; of more it tells the number.
const NAMED: usize = 4;

impl fmt::Display for SemaphoreStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size {
            0 => write!(f, "`{}` is being destroyed", shown(&self.name))?,
            size => write!(f, "`{}` has {}", shown(&self.name), permits(size))?,
        }
        write!(f, ", {} held", self.holders.len())?;
        for (place, holder) in self.holders.iter().take(NAMED).enumerate() {
            f.write_str(if place == 0 { ": " } else { "; " })?;
            write!(f, "{} {holder}", holder.permit.unwrap_or_default())?;
        }
        match self.holders.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
