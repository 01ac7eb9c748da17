//! The store `memcached://`: locks between machines.
//!
//! How the contract maps to memcached, and why, stands in the crate `kvlock-protocol`, which says what is said and what
//! the answers mean. Here are the sockets, the pool and the look at each server.
//!
//! **One key lives on one server** of the list, chosen by rendezvous hashing, and on no other one while that is down. A
//! name in the list must lead to one server, which may have several addresses. The addresses are compared, and the
//! store is refused if they lead to different servers (`fitness.rs`). Clients that are to exclude each other must be
//! given the same list. Changing it moves keys to servers with other eras; do it when no lock is held.

mod awaited;
mod codec;
mod connection;
mod doctor;
mod fitness;
mod flight;
mod line;
mod link;
mod listing;
mod server;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kvlock_protocol::{Address, DEFAULT_PORT, Greeting, StoreUrl, check_memcached_key, choose, requests};

pub(crate) use self::awaited::AwaitedMemcached;
use self::server::Server;
use super::names::Resolve;
use super::place::{Place, tls};
use super::socket::wire::{TIMEOUTS, Timeouts};
use super::{
    DeleteOutcome, Entry, EraInfo, Finding, Keys, KvStore, StoreError, Ttl, Version, Write, WriteAnswer, WriteOutcome,
    check_value, write_one,
};

/// A store on one or several memcached servers, version 1.6.13 or newer.
///
/// Connections are made when they are needed, are used by one thread at a time, and are kept. A call returns within
/// about two timeouts for connecting and as many for each exchange (two or three at most). A name is looked up as long
/// as a connection may take; an answer that comes later serves the next call. On a server that was started a moment
/// ago, the first call takes a second: an era is begun only on a server that has lived for one.
///
/// A name must lead to one server. If there are two under it, calls are answered with [`StoreError::Rejected`].
///
/// # Example
///
/// ```no_run
/// use std::time::Duration;
/// use kvlock::store::{KvStore, Memcached, Ttl, WriteOutcome};
///
/// let store = Memcached::connect("127.0.0.1:11211")?.with_operation_timeout(Duration::from_millis(200));
/// if let WriteOutcome::Written(version) = store.add("job", b"me", Ttl::After(Duration::from_secs(30)))? {
///     // … the work …
///     store.delete("job", version)?;
/// }
/// # Ok::<(), kvlock::store::StoreError>(())
/// ```
#[derive(Debug)]
pub struct Memcached {
    servers: Vec<Server>,
    /// The client flags of the next write: see [`kvlock_protocol::Talk`].
    mark: AtomicU32,
}

impl Memcached {
    /// Takes a list `host:port[,host:port…]`; the port is 11211 unless given, and an IPv6 address stands in brackets.
    /// `user:password@` may stand before it, and `memcached://` or, for TLS, `memcacheds://`. In place of a list, there
    /// may be the path of a UNIX socket.
    /// The parameters `connect-timeout` and `timeout` may follow, as in `host?connect-timeout=2s&timeout=500ms`: see
    /// [`with_connect_timeout`](Self::with_connect_timeout) and
    /// [`with_operation_timeout`](Self::with_operation_timeout). Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] for what is no such list; it names the part that is wrong.
    pub fn connect(servers: &str) -> Result<Memcached, StoreError> {
        let (by_tls, rest) = match servers.split_once("://") {
            Some(("memcacheds", rest)) => (true, rest),
            Some(("memcached", rest)) => (false, rest),
            _ => (false, servers),
        };
        let mut url = StoreUrl::parse(rest, DEFAULT_PORT)?;
        let timeouts = Timeouts::take(&mut url.parameters)?;
        let tls = tls(by_tls, &mut url.parameters)?;
        let greeting = url.login.take().as_ref().map(Greeting::new).transpose()?;
        let servers = match (url.servers.is_empty(), url.path.len()) {
            (true, 2..) if by_tls => {
                return Err(StoreError::Invalid("a UNIX socket needs no TLS: write memcached:///path".into()));
            }
            (true, 2..) => {
                let place = Place::socket(PathBuf::from(std::mem::take(&mut url.path)));
                url.parameters.finish()?;
                vec![Server::new(place, timeouts, greeting)]
            }
            _ => {
                let server = |address: Address| {
                    let tls = tls(&address.host)?;
                    Ok(Server::new(Place::host(address, tls), timeouts, greeting.clone()))
                };
                url.only_servers("memcached")?.into_iter().map(server).collect::<Result<_, StoreError>>()?
            }
        };
        let mut start = [0; 4];
        getrandom::fill(&mut start).map_err(|error| StoreError::Unavailable(format!("no randomness: {error}")))?;
        Ok(Memcached { servers, mark: AtomicU32::new(u32::from_ne_bytes(start)) })
    }

    /// Sets how long to wait for a connection, and before that for the look-up of a name: 1 ms to an hour, and 1 s
    /// unless set.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Memcached {
        for server in &mut self.servers {
            server.timeouts.connect = timeout.clamp(*TIMEOUTS.start(), *TIMEOUTS.end());
        }
        self
    }

    /// Sets how long to wait for an answer: 1 ms to an hour, and 1 s unless set.
    #[must_use]
    pub fn with_operation_timeout(mut self, timeout: Duration) -> Memcached {
        for server in &mut self.servers {
            server.timeouts.operation = timeout.clamp(*TIMEOUTS.start(), *TIMEOUTS.end());
        }
        self
    }

    /// Sets for how long at most a thread stays awake for an answer, rather than sleep at once: 50 µs unless set, and
    /// zero for never. It does so on connections where that was measured to be faster by a quarter.
    #[must_use]
    pub fn with_spin_limit(mut self, limit: Duration) -> Memcached {
        for server in &mut self.servers {
            server.timeouts.spin = limit;
        }
        self
    }

    /// Looks names up by a function rather than by the system: by one of your own service discovery, or of a test. It is
    /// given a host name and a port, runs on a thread of its own, and may take its time.
    #[must_use]
    pub fn with_resolver(
        mut self,
        resolve: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Memcached {
        let resolve: Arc<Resolve> = Arc::new(resolve);
        for server in &mut self.servers {
            server.place.resolve_with(Arc::clone(&resolve));
        }
        self
    }

    /// Returns the server that keeps a key, as `host:port`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] for what is no key.
    pub fn server_of(&self, key: &str) -> Result<String, StoreError> {
        check_key(key)?;
        Ok(self.server(key).to_string())
    }

    fn server(&self, key: &str) -> &Server {
        &self.servers[choose(&self.servers, key)]
    }

    fn next_mark(&self) -> u32 {
        self.mark.fetch_add(1, Ordering::Relaxed)
    }
}

impl KvStore for Memcached {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        check_key(key)?;
        let entries = self.server(key).read(|link| link.get(&[key]))?;
        Ok(entries.into_iter().next().flatten())
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let mut entries = vec![None; keys.len()];
        for (server, places) in requests(&self.servers, keys) {
            let keys: Vec<_> = places.iter().map(|place| keys[*place].as_str()).collect();
            for (place, entry) in places.iter().zip(self.servers[server].read(|link| link.get(&keys))?) {
                entries[*place] = entry;
            }
        }
        Ok(entries)
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        check_key(key)?;
        check_value(value)?;
        self.server(key).write(|link| link.add(key, value, ttl, self.next_mark()))
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        check_key(key)?;
        check_value(value)?;
        self.server(key).write(|link| link.replace(key, value, ttl, if_version, self.next_mark()))
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        check_key(key)?;
        self.server(key).write(|link| link.delete(key, if_version))
    }

    fn write_many(&self, writes: &[Write]) -> Vec<Result<WriteAnswer, StoreError>> {
        let mut answers: Vec<_> = writes.iter().map(check_write).collect();
        for (server, places) in several_requests(&self.servers, writes, &answers) {
            let server = &self.servers[server];
            // By TLS memcached wants time between requests that do not fit a record.
            let told = if server.place.tls().is_some() || places.len() == 1 {
                places.iter().map(|place| write_one(self, &writes[*place])).collect()
            } else {
                let together: Vec<_> = places.iter().map(|place| &writes[*place]).collect();
                server.write_all(&together, || self.next_mark())
            };
            for (place, answer) in places.into_iter().zip(told) {
                answers[place] = Some(answer);
            }
        }
        let unanswered = || Err(StoreError::Unavailable("it was not sent".into()));
        answers.into_iter().map(|answer| answer.unwrap_or_else(unanswered)).collect()
    }

    fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
        check_key(key)?;
        self.server(key).era()
    }

    fn keys(&self, prefix: &str) -> Result<Keys, StoreError> {
        let mut keys = Vec::new();
        for server in &self.servers {
            keys.extend(listing::keys(server, prefix)?);
        }
        // What a change of the list of servers has left behind is nobody's.
        keys.sort_unstable();
        keys.dedup();
        Ok(Keys::inexact(keys))
    }

    fn diagnose(&self) -> Vec<Finding> {
        self.servers.iter().flat_map(doctor::diagnose).collect()
    }
}

/// Returns the answer to a write that is not legal.
fn check_write(write: &Write) -> Option<Result<WriteAnswer, StoreError>> {
    let value = match write {
        Write::Add { value, .. } | Write::Replace { value, .. } => check_value(value),
        Write::Delete { .. } => Ok(()),
    };
    check_key(write.key()).and(value).err().map(Err)
}

/// Divides the writes that are not answered among servers, and among requests that one buffer of a socket takes.
fn several_requests<T>(servers: &[Server], writes: &[Write], answered: &[Option<T>]) -> Vec<(usize, Vec<usize>)> {
    /// Far below what a socket buffers: nobody reads replies while a request is sent.
    const BYTES: usize = 16 * 1024;
    /// The commands around a value, with two keys.
    const AROUND: usize = 600;
    let length = |write: &Write| match write {
        Write::Add { value, .. } | Write::Replace { value, .. } => value.len() + AROUND,
        Write::Delete { .. } => AROUND,
    };
    let mut requests: Vec<(usize, Vec<usize>, usize)> = Vec::new();
    for (place, write) in writes.iter().enumerate().filter(|(place, _)| answered[*place].is_none()) {
        let (server, length) = (choose(servers, write.key()), length(write));
        match requests.iter_mut().find(|(of, _, bytes)| *of == server && bytes.saturating_add(length) <= BYTES) {
            Some((_, places, bytes)) => {
                places.push(place);
                *bytes += length;
            }
            None => requests.push((server, vec![place], length)),
        }
    }
    requests.into_iter().map(|(server, places, _)| (server, places)).collect()
}

fn check_key(key: &str) -> Result<(), StoreError> {
    Ok(check_memcached_key(key)?)
}
