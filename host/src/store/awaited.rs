//! A store for callers that must not block: the contract of [`KvStore`](super::KvStore), awaited.

use std::pin::Pin;

use super::{
    DeleteOutcome, Entry, EraInfo, Keys, OnGone, StoreError, Ttl, Version, Watch, Write, WriteAnswer, WriteOutcome,
};

/// What becomes of a call.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// What becomes of several writes.
pub(crate) type Answers<'a> = Pin<Box<dyn Future<Output = Vec<Result<WriteAnswer, StoreError>>> + Send + 'a>>;

/// A store whose calls suspend the task that makes them, and block no thread of its executor. Each has an answer within
/// a bounded time. One that is dropped has an unknown outcome.
pub(crate) trait AwaitedStore: Send + Sync + 'static {
    /// See [`KvStore::get_many`](super::KvStore::get_many).
    fn get_many(&self, keys: Vec<String>) -> Answer<'_, Vec<Option<Entry>>>;

    /// See [`KvStore::add`](super::KvStore::add).
    fn add(&self, key: String, value: Vec<u8>, ttl: Ttl) -> Answer<'_, WriteOutcome>;

    /// See [`KvStore::replace`](super::KvStore::replace).
    fn replace(&self, key: String, value: Vec<u8>, ttl: Ttl, if_version: Version) -> Answer<'_, WriteOutcome>;

    /// See [`KvStore::delete`](super::KvStore::delete).
    fn delete(&self, key: String, if_version: Version) -> Answer<'_, DeleteOutcome>;

    /// See [`KvStore::write_many`](super::KvStore::write_many).
    fn write_many(&self, writes: Vec<Write>) -> Answers<'_>;

    /// See [`KvStore::era`](super::KvStore::era).
    fn era(&self, key: String) -> Answer<'_, EraInfo>;

    /// See [`KvStore::keys`](super::KvStore::keys).
    fn keys(&self, prefix: String) -> Answer<'_, Keys>;

    /// See [`KvStore::watch`](super::KvStore::watch).
    fn watch(&self, key: String, on_gone: OnGone) -> Answer<'_, Option<Watch>>;
}
