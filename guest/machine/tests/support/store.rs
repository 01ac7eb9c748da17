//! A model of a store of several servers: exact ttl, versions per era, and contents that can be lost.

use std::collections::HashMap;
use std::time::Duration;

use kvlock_machine::{DeleteOutcome, Entry, EraInfo, Reply, Request, StoreError, Ttl, Version, WriteOutcome};

/// What an era's number begins with when the world's time is zero.
const EPOCH: u64 = 1_790_000_000_000_000_000;

/// One server, its era and its contents.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) era: u64,
    lossless_since: Option<Duration>,
    written: u64,
    entries: HashMap<String, Stored>,
}

#[derive(Debug, Clone)]
struct Stored {
    value: Vec<u8>,
    number: u64,
    expires: Option<Duration>,
}

/// All servers. A key lives on the first unless it was placed elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    pub(crate) all: Vec<Server>,
    places: HashMap<String, usize>,
    /// How much longer than asked for an entry is kept.
    pub(crate) slack: Duration,
    /// Each write that was executed: when, the key, the value, whether it replaced one.
    pub(crate) history: Vec<Write>,
}

/// A write that was executed.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) at: Duration,
    pub(crate) key: String,
    /// What was there.
    pub(crate) before: Option<Vec<u8>>,
    /// What is there now.
    pub(crate) after: Option<Vec<u8>>,
}

impl Servers {
    pub(crate) fn new() -> Self {
        Servers { all: vec![Server::old()], places: HashMap::new(), slack: Duration::ZERO, history: Vec::new() }
    }

    /// Puts a key on a server of its own, whose era is as old as one can be; its number.
    pub(crate) fn place(&mut self, key: &str) -> usize {
        self.all.push(Server { era: EPOCH - 1_000_000_000 * self.all.len() as u64, ..Server::old() });
        self.places.insert(store_key(key), self.all.len() - 1);
        self.all.len() - 1
    }

    /// A server loses everything, and a new era begins.
    pub(crate) fn lose(&mut self, server: usize, now: Duration) {
        let server = &mut self.all[server];
        let began = EPOCH + u64::try_from(now.as_nanos()).unwrap();
        server.era = began.max(server.era + server.written + 1);
        server.lossless_since = Some(now);
        server.written = 0;
        server.entries.clear();
    }

    /// The store drops one entry.
    pub(crate) fn evict(&mut self, key: &str) {
        self.remove(&store_key(key));
    }

    /// Somebody else writes over whatever is there.
    pub(crate) fn set(&mut self, key: &str, value: &[u8]) {
        self.put(&store_key(key), value);
    }

    /// Somebody else writes over what the store has under this key of its own.
    pub(crate) fn put(&mut self, store_key: &str, value: &[u8]) {
        let server = self.server(store_key);
        server.written += 1;
        let number = server.written;
        server.entries.insert(store_key.into(), Stored { value: value.to_vec(), number, expires: None });
    }

    /// The store drops what it has under this key of its own.
    pub(crate) fn remove(&mut self, store_key: &str) {
        self.server(store_key).entries.remove(store_key);
    }

    /// What is there, as a reader sees it.
    pub(crate) fn entry(&mut self, key: &str, now: Duration) -> Option<Entry> {
        self.read(&store_key(key), now)
    }

    /// The value, as text.
    pub(crate) fn text(&mut self, key: &str, now: Duration) -> Option<String> {
        self.entry(key, now).map(|entry| String::from_utf8(entry.value).unwrap())
    }

    fn server(&mut self, store_key: &str) -> &mut Server {
        let server = self.places.get(store_key).copied().unwrap_or(0);
        &mut self.all[server]
    }

    fn read(&mut self, key: &str, now: Duration) -> Option<Entry> {
        let server = self.server(key);
        server.entries.retain(|_, stored| stored.expires.is_none_or(|expires| expires > now));
        let stored = server.entries.get(key)?;
        Some(Entry {
            value: stored.value.clone(),
            version: Version { era: server.era, number: stored.number },
            time_left: Some(stored.expires.map_or(Ttl::Forever, |expires| Ttl::After(expires - now))),
        })
    }

    fn write(&mut self, key: &str, value: &[u8], ttl: Ttl, now: Duration) -> WriteOutcome {
        let before = self.read(key, now).map(|entry| entry.value);
        let slack = self.slack;
        let server = self.server(key);
        server.written += 1;
        let version = Version { era: server.era, number: server.written };
        let expires = match ttl {
            Ttl::After(length) => Some(now + length + slack),
            Ttl::Forever => None,
        };
        let stored = Stored { value: value.to_vec(), number: version.number, expires };
        server.entries.insert(key.into(), stored);
        self.history.push(Write { at: now, key: key.into(), before, after: Some(value.to_vec()) });
        WriteOutcome::Written(version)
    }

    /// Does what a request asks for.
    pub(crate) fn execute(&mut self, request: &Request, now: Duration) -> Reply {
        match request {
            Request::Get { key } => Reply::Entry(Ok(self.read(key, now))),
            Request::GetMany { keys } => Reply::Entries(Ok(keys.iter().map(|key| self.read(key, now)).collect())),
            Request::Era { key } => {
                let server = self.server(key);
                let lossless_for = server.lossless_since.map_or(Duration::MAX, |since| now - since);
                Reply::Era(Ok(EraInfo { id: server.era, lossless_for }))
            }
            Request::Add { key, value, ttl } => Reply::Write(Ok(match self.read(key, now) {
                Some(entry) => WriteOutcome::Conflict(Some(entry.version)),
                None => self.write(key, value, *ttl, now),
            })),
            Request::Replace { key, value, ttl, if_version } => Reply::Write(match self.read(key, now) {
                _ if *ttl == Ttl::After(Duration::ZERO) => Err(StoreError::Invalid("a ttl of zero".into())),
                None => Ok(WriteOutcome::Absent),
                Some(entry) if entry.version == *if_version => Ok(self.write(key, value, *ttl, now)),
                Some(entry) => Ok(WriteOutcome::Conflict(Some(entry.version))),
            }),
            Request::Delete { key, if_version } => Reply::Delete(Ok(match self.read(key, now) {
                None => DeleteOutcome::Absent,
                Some(entry) if entry.version == *if_version => {
                    self.server(key).entries.remove(&**key);
                    let before = Some(entry.value);
                    self.history.push(Write { at: now, key: key.to_string(), before, after: None });
                    DeleteOutcome::Deleted
                }
                Some(entry) => DeleteOutcome::Conflict(Some(entry.version)),
            })),
        }
    }
}

impl Server {
    fn old() -> Self {
        Server { era: EPOCH - 1_000_000_000, lossless_since: None, written: 0, entries: HashMap::new() }
    }
}

/// What the store calls a key of the tests' namespace.
pub(crate) fn store_key(key: &str) -> String {
    format!("n:lock:{key}")
}
