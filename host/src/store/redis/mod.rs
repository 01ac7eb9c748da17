//! The store `redis://`: locks on Redis 6.2 or newer, or on Valkey.
//!
//! How the contract maps to Redis, and why:
//!
//! | contract | on the wire |
//! |---|---|
//! | `get`, `get-many` | `EVALSHA` of `call.lua`, several keys in one call |
//! | `add`, `replace`, `delete` | the same script; with `replicas=N`, `WAIT` in the same request |
//! | `era` | `EVALSHA` of `begin.lua` |
//! | `keys` | `HSCAN` of the hash, some hundred fields at a time |
//! | `watch` | `SUBSCRIBE`; a delete publishes in its script (`watcher.rs`) |
//!
//! **One hash has everything**: the era, a counter and all entries, each a field `<number> <end in ms> <value>`. It has
//! no ttl, so that no `volatile-*` policy evicts any of it, and whatever loses it loses all of it at once. Entries with
//! a ttl are fields whose end is compared with the server's clock, and are swept by later writes.
//!
//! **Versions.** The number is a counter in the hash. The era is Unix time in nanoseconds when it began, less what the
//! counter was then, so that the fencing token (their sum) goes on from that time by one for each write. It stays ahead
//! of the earlier ones as long as a server makes fewer than 10^9 writes a second. If clocks differ, `begin.lua` goes
//! above what is in the hash and above what the client has seen.
//!
//! **What ends an era.** A replicated key proves nothing: after a failover, the replica that was promoted has it too. So
//! beside the era stands a stamp, the server's `master_replid`, which each call compares. Redis changes it when a replica
//! is promoted and when the server starts. It changes, too, when the first replica comes and an hour after the last one
//! has gone: if the process is the same then, and was never a replica, the era stays. A loss of the hash (a flush, an
//! eviction, a restart without data) ends the era as well.
//!
//! **Replication is asynchronous**, and a master that is cut off goes on granting. With `replicas=N` a grant or a renewal
//! counts only if N replicas have acknowledged it: see `link.rs`.
//!
//! **A cluster** has several such hashes, each on the master of its slot: see `bucket.rs`. To move a slot to another
//! node is to end the era of its hash, since the stamp is another one there.

mod bucket;
mod cluster;
mod doctor;
mod info;
mod link;
mod listing;
mod refusal;
mod reply;
mod script;
mod sentinel;
mod server;
mod settings;
mod watcher;
mod whereabouts;

use std::sync::Arc;

use self::server::Server;
use self::watcher::Watcher;
use super::{
    DeleteOutcome, Entry, EraInfo, Finding, Keys, KvStore, OnGone, StoreError, Ttl, Version, Watch, WriteOutcome,
    check_key, check_value,
};

/// How many keys are asked for in one request, so that a request stays far below what a socket buffers.
const KEYS_PER_REQUEST: usize = 100;

/// A store on Redis 6.2 or newer, or on Valkey.
///
/// | URL | what |
/// |---|---|
/// | `redis://[user[:password]@]host[:port][/database]` | a server |
/// | `rediss://…` | the same by TLS, with the parameters `ca`, `cert` and `key` |
/// | `redis+unix:///path`, `unix:///path` | a UNIX socket; the database by `?db=N` |
/// | `redis+sentinel://host[:port],…/master-name[/database]` | the master that sentinels name; `rediss+sentinel` by TLS |
/// | `redis+cluster://host[:port],…` | a cluster, by some of its nodes; `rediss+cluster` by TLS |
///
/// `valkey` may stand for `redis`. All take `timeout` and `connect-timeout`, and `replicas=N`: how many replicas must
/// have a grant.
///
/// Connections are made when they are needed, are used by one thread at a time, and are kept: 32 at most, and 64 to a
/// whole cluster.
///
/// # Example
///
/// ```no_run
/// use std::time::Duration;
/// use kvlock::store::{KvStore, Redis, Ttl, WriteOutcome};
///
/// let store = Redis::connect("redis://127.0.0.1:6379/0?timeout=200ms")?;
/// if let WriteOutcome::Written(version) = store.add("job", b"me", Ttl::After(Duration::from_secs(30)))? {
///     // … the work …
///     store.delete("job", version)?;
/// }
/// # Ok::<(), kvlock::store::StoreError>(())
/// ```
#[derive(Debug)]
pub struct Redis {
    /// One for each bucket, by its number; never empty.
    servers: Vec<Arc<Server>>,
    watcher: Watcher,
}

impl Redis {
    /// Takes a URL. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] for what is no such URL; it names the part that is wrong.
    pub fn connect(url: &str) -> Result<Redis, StoreError> {
        let servers = settings::servers(url)?.map(Arc::new).collect();
        Ok(Redis { servers, watcher: Watcher::new() })
    }

    fn server(&self, key: &str) -> &Server {
        &self.servers[bucket::number_of(key, self.servers.len())]
    }
}

impl KvStore for Redis {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        check_key(key)?;
        Ok(entries(self.server(key), &[key])?.into_iter().next().flatten())
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let numbers: Vec<_> = keys.iter().map(|key| bucket::number_of(key, self.servers.len())).collect();
        let mut found = vec![None; keys.len()];
        for (number, server) in self.servers.iter().enumerate() {
            let here: Vec<_> = (0..keys.len()).filter(|at| numbers[*at] == number).collect();
            for some in here.chunks(KEYS_PER_REQUEST) {
                let asked: Vec<_> = some.iter().map(|at| keys[*at].as_str()).collect();
                some.iter().zip(entries(server, &asked)?).for_each(|(at, entry)| found[*at] = entry);
            }
        }
        Ok(found)
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        check_key(key)?;
        check_value(value)?;
        let server = self.server(key);
        server.write(|link| link.add(key, value, ttl, &server.setup))
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        check_key(key)?;
        check_value(value)?;
        let server = self.server(key);
        server.write(|link| link.replace(key, value, ttl, if_version, &server.setup))
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        check_key(key)?;
        self.server(key).write(|link| link.delete(key, if_version))
    }

    fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
        check_key(key)?;
        self.server(key).era()
    }

    fn keys(&self, prefix: &str) -> Result<Keys, StoreError> {
        let mut keys = Vec::new();
        for server in &self.servers {
            keys.extend(server.read(|link| listing::keys(link, prefix))?);
        }
        Ok(Keys::exact(keys))
    }

    fn watch(&self, key: &str, on_gone: OnGone) -> Option<Watch> {
        // In a cluster every node tells what is published on any of them.
        self.watcher.watch(&self.servers[0], key, on_gone)
    }

    fn diagnose(&self) -> Vec<Finding> {
        doctor::diagnose(&self.servers)
    }
}

fn entries(server: &Server, keys: &[&str]) -> Result<Vec<Option<Entry>>, StoreError> {
    let doubts = server.doubts();
    let (replicas, patience) = (server.setup.replicas, server.setup.patience);
    let confirm = if doubts.is_some() { replicas } else { 0 };
    let entries = server.read(|link| link.get(keys, confirm, patience))?;
    if let Some(doubts) = doubts {
        server.settle(doubts);
    }
    Ok(entries)
}
