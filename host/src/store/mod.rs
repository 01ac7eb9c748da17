//! The stores a lock can live in, and the contract they keep: the Rust side of `wit/kv-store.wit`.
//!
//! | URL | adapter | for |
//! |---|---|---|
//! | `memcached://host:port[,host:port…]` | [`Memcached`] | locks between machines |
//! | `redis://host:port`, `valkey://…` and more | [`Redis`] | locks between machines |
//! | `etcd://host[:port][,host[:port]…]` | [`Etcd`] | locks that survive the loss of a server |
//! | `postgres://host[:port][,host…]/database` | [`Postgres`] | locks where the data is already |
//! | `local:PATH` | [`Local`] | locks between the processes of one machine, with no server |
//! | `memory:` | [`Memory`] | tests: a mock with scripted faults and a log of every call |

mod awaited;
pub mod conformance;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "local")]
mod local;
#[cfg(feature = "memcached")]
mod memcached;
mod memory;
#[cfg(any(feature = "memcached", feature = "redis"))]
#[allow(dead_code, reason = "each store uses a part of it")]
mod names;
#[cfg(feature = "_network")]
#[allow(dead_code, reason = "each store uses a part of it")]
mod parameters;
#[cfg(any(feature = "memcached", feature = "redis"))]
#[allow(dead_code, reason = "each store uses a part of it")]
mod place;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "_network")]
#[allow(dead_code, reason = "each store uses a part of it")]
mod socket;
#[cfg(all(feature = "_network", feature = "tls"))]
#[allow(dead_code, reason = "each store uses a part of it")]
mod tls;
mod watch;
mod workers;
mod writes;

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::kind::{ErrorKind, Retry};

#[cfg(feature = "etcd")]
pub use etcd::Etcd;
#[cfg(feature = "local")]
pub use local::{Boot, Local};
#[cfg(feature = "memcached")]
pub(crate) use memcached::AwaitedMemcached;
#[cfg(feature = "memcached")]
pub use memcached::Memcached;
pub use memory::{Answer, Call, Fault, Memory, Op};
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
#[cfg(feature = "redis")]
pub use redis::Redis;

pub(crate) use awaited::AwaitedStore;
pub(crate) use watch::Watches;
pub use watch::{OnGone, Watch};
pub(crate) use workers::Workers;
pub use writes::{Write, WriteAnswer};

pub use kvlock_protocol::{DeleteOutcome, Entry, EraInfo, Ttl, Version, WriteOutcome};

/// Why a call has no answer. Each case asks for something else from the caller.
///
/// Its text is the detail alone; `{:#}` puts what happened in front of it, as in `store unavailable: no route to host`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// The request was not sent: nothing happened and nothing will.
    Unavailable(String),
    /// The request was sent and no answer came: it may have happened, or may still happen.
    UnknownOutcome(String),
    /// The store refuses; trying again does not help.
    Rejected(String),
    /// The key or another argument is not legal here, or the URL names no such store; nothing happened.
    Invalid(String),
}

impl StoreError {
    /// Returns if the same call may succeed later: an outage, not a refusal.
    pub fn is_outage(&self) -> bool {
        self.kind().is_outage()
    }

    /// Returns what kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            StoreError::Unavailable(_) => ErrorKind::Unavailable,
            StoreError::UnknownOutcome(_) => ErrorKind::UnknownOutcome,
            StoreError::Rejected(_) => ErrorKind::Rejected,
            StoreError::Invalid(_) => ErrorKind::Invalid,
        }
    }

    /// Returns if and when the same call may succeed.
    pub fn retry(&self) -> Retry {
        self.kind().retry()
    }

    /// Returns what happened, without the detail.
    pub(crate) fn headline(&self) -> &'static str {
        match self {
            StoreError::Unavailable(_) => "store unavailable",
            StoreError::UnknownOutcome(_) => "outcome unknown",
            StoreError::Rejected(_) => "store refuses",
            StoreError::Invalid(_) => "invalid",
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (StoreError::Unavailable(text)
        | StoreError::UnknownOutcome(text)
        | StoreError::Rejected(text)
        | StoreError::Invalid(text)) = self;
        if f.alternate() {
            write!(f, "{}: ", self.headline())?;
        }
        f.write_str(text)
    }
}

impl std::error::Error for StoreError {}

impl From<kvlock_protocol::Error> for StoreError {
    fn from(error: kvlock_protocol::Error) -> StoreError {
        match error {
            kvlock_protocol::Error::Unavailable(why) => StoreError::Unavailable(why),
            kvlock_protocol::Error::UnknownOutcome(why) => StoreError::UnknownOutcome(why),
            kvlock_protocol::Error::Rejected(why) => StoreError::Rejected(why),
            kvlock_protocol::Error::Invalid(why) => StoreError::Invalid(why),
        }
    }
}

/// A store that locks can live in. Every session of a client calls it, from whatever thread the session is on.
///
/// An implementation MUST
/// - decide `add`, `replace` and `delete` atomically for their key, as seen by every client of the store;
/// - keep an entry at least as long as its [`Ttl`] from the moment the write is executed (longer is allowed), and
///   treat an expired entry as absent;
/// - answer a version of another era with a conflict, without writing;
/// - give versions whose `number` grows for a key with each write in an era, and eras that grow with each loss of the
///   contents: `era + number` only grows for a key;
/// - tell the four errors apart: see [`StoreError`]; a reply that comes late belongs to nobody;
/// - return within a bounded time.
///
/// [`conformance`] checks all of this that can be checked from outside.
pub trait KvStore: Send + Sync + 'static {
    /// Reads an entry.
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Reads several entries, in the order of `keys`; each by itself, not as one snapshot.
    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError>;

    /// Makes an entry where there is none.
    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError>;

    /// Replaces value and ttl of the entry that has this version.
    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError>;

    /// Deletes the entry that has this version.
    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError>;

    /// Makes several writes of different keys, each as if by a call of its own: one may succeed while others are refused
    /// or fail. The answers are as many as the writes, in their order. A store that answers several writes in the time of
    /// one does so here; otherwise they are made one by one.
    fn write_many(&self, writes: &[Write]) -> Vec<Result<WriteAnswer, StoreError>> {
        writes.iter().map(|write| write_one(self, write)).collect()
    }

    /// Tells the era of the server that keeps `key`.
    fn era(&self, key: &str) -> Result<EraInfo, StoreError>;

    /// Calls `on_gone` each time the entry of `key` was deleted, until the answer is dropped; none if the store cannot
    /// tell. This is a hint for those who wait: it may come late or twice, or not at all, and costs them a call or a
    /// pause then. What expires need not be told of.
    fn watch(&self, key: &str, on_gone: OnGone) -> Option<Watch> {
        let _ = (key, on_gone);
        None
    }

    /// Lists the keys of the entries that begin with `prefix`, in any order, for people who look at all of them: nothing
    /// else relies on it. An entry that was there all the while is in the list; one that comes or goes meanwhile, or has
    /// just expired, may be.
    ///
    /// # Errors
    ///
    /// [`StoreError::Rejected`] if the store cannot list, as one that does not implement this.
    fn keys(&self, prefix: &str) -> Result<Keys, StoreError> {
        let _ = prefix;
        Err(StoreError::Rejected("this store cannot list its keys: ask about each key by name".into()))
    }

    /// Looks at the store as a place for locks, for `kvlock doctor`: one finding per matter, the worst decides.
    fn diagnose(&self) -> Vec<Finding>;
}

/// What [`KvStore::keys`] lists.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keys {
    /// The keys.
    pub keys: Vec<String>,
    /// Whether each entry that was there all the while is surely in the list. False for a cache, which may pass over what
    /// it moves at that moment.
    pub is_exact: bool,
}

impl Keys {
    /// Returns a list that has each entry that was there all the while.
    pub fn exact(keys: Vec<String>) -> Self {
        Keys { keys, is_exact: true }
    }

    /// Returns a list that may lack some.
    pub fn inexact(keys: Vec<String>) -> Self {
        Keys { keys, is_exact: false }
    }
}

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Locks work; the text says under which condition they would not.
    Warning,
    /// Not fit to lock on.
    Unfit,
}

/// One thing that [`KvStore::diagnose`] found out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What it is about: a server's address or a path.
    pub subject: String,
    /// The subject of the check, in a word or two: `version`, `evictions`.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The finding and, unless all is well, what to do about it.
    pub text: String,
    /// For how long, at least, nothing has been lost, where the finding is about that: see [`EraInfo`].
    pub lossless_for: Option<Duration>,
}

impl Finding {
    /// Returns a finding that tells nothing about losses.
    pub fn new(subject: impl Into<String>, check: &'static str, severity: Severity, text: impl Into<String>) -> Self {
        Finding { subject: subject.into(), check, severity, text: text.into(), lossless_for: None }
    }
}

/// Returns the store's name for a lock: `<namespace>:lock:<key>` if that is legal in every store, otherwise
/// `<namespace>:lock#<SHA-256 of the key>`. The component names locks so.
pub fn lock_key(namespace: &str, key: &str) -> String {
    let plain = format!("{namespace}:lock:{key}");
    if check_key(&plain).is_ok() {
        return plain;
    }
    let digest: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{namespace}:lock#{digest}")
}

/// Makes one of several writes by a call of its own.
fn write_one(store: &(impl KvStore + ?Sized), write: &Write) -> Result<WriteAnswer, StoreError> {
    match write {
        Write::Add { key, value, ttl } => store.add(key, value, *ttl).map(WriteAnswer::Written),
        Write::Replace { key, value, ttl, if_version } => {
            store.replace(key, value, *ttl, *if_version).map(WriteAnswer::Written)
        }
        Write::Delete { key, if_version } => store.delete(key, *if_version).map(WriteAnswer::Deleted),
    }
}

/// Checks a key by the one rule for keys: 1 to 250 bytes, none of them white space or a control character of ASCII.
pub(crate) fn check_key(key: &str) -> Result<(), StoreError> {
    Ok(kvlock_protocol::check_key(key)?)
}

/// Checks a value by the one rule for values: they have a largest size.
pub(crate) fn check_value(value: &[u8]) -> Result<(), StoreError> {
    Ok(kvlock_protocol::check_value(value)?)
}
