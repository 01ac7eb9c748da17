//! The store `etcd://host[:port][,host[:port]…]`: one etcd cluster, whose members are alternatives.
//!
//! It speaks to the cluster's JSON gateway, and consistently only: every read asks the quorum.
//!
//! | of the contract | on the wire | trips |
//! |---|---|---|
//! | key | `kvlock/<key>` | |
//! | `add` | a lease; a transaction: if the era is ours and nothing stands there, put under the lease | 1 with a lease at hand, else 2 |
//! | `replace` | the lease kept alive, or another; a transaction: if era and mod revision are as expected, put | 1 or 2 |
//! | `delete` | a transaction: if era and mod revision are as expected, delete; the lease serves the next entry | 1 |
//! | `get`, `get_many` | a transaction of ranges, with the era among them | 1 for [`KEYS_PER_REQUEST`] keys |
//! | number | the mod revision: one counter a cluster, raised by every write | |
//! | era | the key `kvlock/era`: see `era.rs` | 1 |
//! | `keys` | a range of keys alone, a thousand at a time | 1 or more |
//! | `watch` | a stream of what is deleted: see `watcher.rs` | |
//! | ttl | whole seconds, rounded up, and [two more](leases); an entry that stays has no lease | |
//! | time left | not told: etcd keeps it with the lease, and it would take another trip | |
//!
//! - **Never sent twice.** A write goes to another member only if nothing was done at the first; see `cluster.rs`.
//! - **`request timed out` is no answer**: etcd carries such a write out once it has a quorum again; see `failure.rs`.
//! - **A lease may last longer than asked**: a new leader starts all leases again, so that an entry whose holder has died
//!   may stay for up to twice its ttl.

mod client;
mod cluster;
mod doctor;
mod era;
mod failure;
mod http;
#[cfg(not(feature = "tls"))]
mod insecure;
mod leases;
#[cfg(feature = "tls")]
mod secure;
mod settings;
mod unconnected;
mod version;
mod watcher;
mod wire;

use self::client::{Client, PREFIX, path};
use self::failure::Failure;
use self::settings::Settings;
use super::{
    DeleteOutcome, Entry, EraInfo, Finding, Keys, KvStore, OnGone, StoreError, Ttl, Version, Watch, WriteOutcome,
    check_value,
};
use crate::fork::PerProcess;

/// How many keys are read by one request. A transaction has room for 128, and each may have a value of 1 MiB.
const KEYS_PER_REQUEST: usize = 24;

/// Locks in an etcd cluster.
///
/// Any number of threads may use one `Etcd` at once. A fork makes connections of its own.
///
/// ```no_run
/// # fn main() -> Result<(), kvlock::store::StoreError> {
/// use kvlock::store::{Etcd, KvStore};
///
/// let store = Etcd::connect("etcd://etcd1.example,etcd2.example,etcd3.example")?;
/// println!("era {}", store.era("some-key")?.id);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Etcd {
    settings: Settings,
    client: PerProcess<Client>,
}

impl Etcd {
    /// Takes `etcd://[user:password@]host[:port][,host[:port]…]`, or `etcds://…` for TLS; the port is 2379 unless given.
    /// The members are those of one cluster. Nothing is sent yet.
    ///
    /// The parameters `timeout` (2 s) and `connect-timeout` (1 s) may follow, and for `etcds://` `ca`, `cert` and `key`,
    /// which name PEM files. Where the URL is silent, `ETCDCTL_USER`, `ETCDCTL_PASSWORD`, `ETCDCTL_CACERT`,
    /// `ETCDCTL_CERT` and `ETCDCTL_KEY` count.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] names the part that is wrong.
    pub fn connect(url: &str) -> Result<Etcd, StoreError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let settings = Settings::read(url, variable)?;
        let client = PerProcess::new(Client::new(&settings));
        Ok(Etcd { settings, client })
    }

    fn client(&self) -> &Client {
        self.client.get_or_recreate(|| Client::new(&self.settings))
    }
}

impl KvStore for Etcd {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let path = path(key)?;
        let entries = self.client().read(&[path]).map_err(Failure::of_read)?;
        Ok(entries.into_iter().next().flatten())
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        let paths: Vec<Vec<u8>> = keys.iter().map(|key| path(key)).collect::<Result<_, _>>()?;
        let mut entries = Vec::with_capacity(paths.len());
        for paths in paths.chunks(KEYS_PER_REQUEST) {
            entries.extend(self.client().read(paths).map_err(Failure::of_read)?);
        }
        Ok(entries)
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        let path = path(key)?;
        check_value(value)?;
        self.client().add(&path, value, ttl)
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        let path = path(key)?;
        check_value(value)?;
        self.client().replace(&path, value, ttl, if_version)
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        let path = path(key)?;
        self.client().delete(&path, if_version)
    }

    fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
        path(key)?;
        let client = self.client();
        client.eras.info(&client.cluster, client.cluster.budget()).map_err(Failure::of_read)
    }

    fn keys(&self, prefix: &str) -> Result<Keys, StoreError> {
        self.client().keys(prefix).map(Keys::exact).map_err(Failure::of_read)
    }

    fn watch(&self, key: &str, on_gone: OnGone) -> Option<Watch> {
        let client = self.client();
        Some(client.watcher.watch(&client.cluster, PREFIX, key, on_gone))
    }

    fn diagnose(&self) -> Vec<Finding> {
        let client = self.client();
        doctor::diagnose(&client.cluster, &client.eras)
    }
}
