//! The contract of a store, as far as it needs no store: `wit/kv-store.wit` as plain values, and the rules for keys and
//! values.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

/// The longest key in bytes: memcached's limit, kept by every store so that a lock's name is legal in all or in none.
pub const MAX_KEY: usize = 250;

/// The largest value in bytes: an item of memcached is 1 MiB at most unless told otherwise, with its header and key.
pub const MAX_VALUE: usize = (1 << 20) - 512;

/// Names one state of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The life of the store's contents in which the entry was written; a later one is larger.
    pub era: u64,
    /// Never used twice for a key within an era, and growing with each later write to the key.
    pub number: u64,
}

/// How long an entry is kept unless it is written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ttl {
    /// At least this long from the moment the store executes the write.
    After(Duration),
    /// Until it is deleted.
    Forever,
}

/// What a store has under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The bytes as they were written.
    pub value: Vec<u8>,
    /// The entry's present version.
    pub version: Version,
    /// How long the entry will be kept at least, where the store can tell.
    pub time_left: Option<Ttl>,
}

/// The answer to `add` and `replace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Written; the entry's new version.
    Written(Version),
    /// Not written: there is an entry (`add`), or it has another version (`replace`), told where it is known.
    Conflict(Option<Version>),
    /// Not written: there is no entry (`replace` only).
    Absent,
}

/// The answer to `delete`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// Deleted.
    Deleted,
    /// Not deleted: the entry has another version, told where it is known.
    Conflict(Option<Version>),
    /// There is no entry.
    Absent,
}

/// The life of the contents of the server that keeps a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EraInfo {
    /// Larger after every loss of everything, whatever was written before.
    pub id: u64,
    /// For how long, at least, nothing has been lost; [`Duration::MAX`] for a store that cannot have lost anything.
    pub lossless_for: Duration,
}

/// Why a call has no answer. Each case asks for something else from the caller. Its text is the detail alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request was not sent: nothing happened and nothing will.
    #[error("{0}")]
    Unavailable(String),
    /// The request was sent and no answer came: it may have happened, or may still happen.
    #[error("{0}")]
    UnknownOutcome(String),
    /// The store refuses; trying again does not help.
    #[error("{0}")]
    Rejected(String),
    /// The key or another argument is not legal; nothing happened.
    #[error("{0}")]
    Invalid(String),
}

impl From<Duration> for Ttl {
    fn from(length: Duration) -> Self {
        Ttl::After(length)
    }
}

/// Checks a key by the one rule for keys: 1 to 250 bytes, none of them white space or a control character of ASCII.
///
/// # Errors
/// [`Error::Invalid`] for any other key.
pub fn check_key(key: &str) -> Result<(), Error> {
    let wrong = if key.is_empty() {
        "the key is empty".to_string()
    } else if key.len() > MAX_KEY {
        format!("the key `{}` has {} bytes, and {MAX_KEY} are the most", shown(key), key.len())
    } else if key.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        format!("the key `{}` contains white space or a control character", shown(key))
    } else {
        return Ok(());
    };
    Err(Error::Invalid(wrong))
}

/// Checks a value by the one rule for values: they have a largest size.
///
/// # Errors
/// [`Error::Rejected`] for a larger one.
pub fn check_value(value: &[u8]) -> Result<(), Error> {
    if value.len() <= MAX_VALUE {
        return Ok(());
    }
    Err(Error::Rejected(format!("a value of {} bytes: {MAX_VALUE} are the most", value.len())))
}

/// Returns a key, or another text that is not ours, as messages show it: on one line, and cut where it is long.
pub fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let mut shown = String::new();
    for (place, c) in text.chars().enumerate() {
        match c {
            _ if place == MOST => {
                shown.push('…');
                break;
            }
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}
