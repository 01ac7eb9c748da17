//! The holder of a key, and the obstacle of a waiter, as values to look at and texts to show.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::store::{StoreError, Ttl};
use crate::text::{seconds, shown};

/// The holder of a key, as its record in the store tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The key as its user wrote it.
    pub key: String,
    /// The owner's name.
    pub owner: String,
    /// Its host and process, as it told them.
    pub label: String,
    /// What it holds it for, as it told: see [`Lock::note`](crate::Lock::note).
    pub note: Option<String>,
    /// When the lock was granted, by the holder's clock, if it had one.
    pub since: Option<SystemTime>,
    /// The lease asked for.
    pub lease: Ttl,
    /// How often it is held (re-entrancy); 0 when it was released and is only kept for its minimum time.
    pub depth: u32,
    /// The grant's fencing token. Of readers it is that of their record as it is now: each that comes, renews or leaves
    /// changes it.
    pub token: u64,
    /// How many readers share the lock, of whom this is the first; 0 if one has it alone.
    pub readers: u32,
    /// How long the store keeps the record at least, where it can tell.
    pub time_left: Option<Ttl>,
    /// When the record ends at the earliest, by our clock, unless it is renewed.
    pub until: Option<SystemTime>,
    /// Which permit it is, counted from 0, if it is one of a semaphore.
    pub permit: Option<u32>,
    /// Whether nobody works under it: it is reserved for the next try of a conflict retry, for as long as the lease says.
    pub reserved: bool,
}

/// A store that counts whole seconds tells up to so much less than is left.
const WHOLE_SECONDS: Duration = Duration::from_secs(2);

impl Holder {
    /// Returns who holds it, where, and since when, and what for, as a text for people.
    pub fn who(&self) -> String {
        let owner = shown(&self.owner);
        let mut text = match self.depth {
            _ if self.reserved => format!("reserved by {owner} for its next try"),
            0 => format!("released by {owner} and kept for its minimum time"),
            _ => match self.readers {
                0 => format!("held by {owner}"),
                1 => format!("shared by {owner}"),
                readers => format!("shared by {readers} readers, the first of them {owner}"),
            },
        };
        if !self.label.is_empty() {
            text += &format!(" ({})", shown(&self.label));
        }
        if let Some(since) = self.since {
            text += &format!(" since {}", humantime::format_rfc3339_seconds(since));
        }
        if let Some(note) = &self.note {
            text += &format!(" for \"{}\"", shown(note));
        }
        text
    }

    /// Returns until when, by our clock, it may be at work if its grant ends now by force. That is the end of its
    /// lease, as far as the store tells it. None: the lease is for ever.
    pub fn at_work_until(&self) -> Option<SystemTime> {
        if self.reserved {
            return Some(SystemTime::now());
        }
        let Ttl::After(lease) = self.lease else { return None };
        let whole = SystemTime::now().checked_add(lease)?;
        Some(self.until.and_then(|until| until.checked_add(WHOLE_SECONDS)).map_or(whole, |until| until.min(whole)))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.who())?;
        match (self.time_left, self.until) {
            (Some(Ttl::Forever), _) => write!(f, ", until released"),
            (_, Some(until)) => {
                let unless = if self.depth == 0 || self.reserved { "" } else { " unless renewed" };
                write!(f, ", until {}{unless}", humantime::format_rfc3339_seconds(until))
            }
            _ => Ok(()),
        }
    }
}

/// What a waiter waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitingFor {
    /// Its turn: the lock is free as far as is known.
    Turn,
    /// Somebody has it.
    Holder(Box<Holder>),
    /// All permits of the semaphore are held, or more than are to be left of one that shrinks.
    Exhausted {
        /// How many permits it has.
        size: u32,
        /// How many are held.
        held: u32,
        /// Somebody who holds one.
        holder: Option<Box<Holder>>,
    },
    /// The store lost its contents a short while ago: nothing is granted for this much longer, so that the holders of
    /// that time are done.
    Quarantine(Duration),
    /// The store answered before and does not answer now.
    Outage(StoreError),
}

impl fmt::Display for WaitingFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitingFor::Turn => write!(f, "the lock is free, but other waiters were faster"),
            WaitingFor::Holder(holder) => holder.fmt(f),
            WaitingFor::Exhausted { size, held, holder } => {
                write!(f, "{held} of {size} permits are held")?;
                holder.as_ref().map_or(Ok(()), |holder| write!(f, ", one is {holder}"))
            }
            WaitingFor::Quarantine(left) => write!(
                f,
                "in quarantine for {} more: the store lost its contents, and a lock it forgot may still be held",
                seconds(*left)
            ),
            WaitingFor::Outage(error) => write!(f, "{error:#}"),
        }
    }
}
