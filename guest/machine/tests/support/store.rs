//! A store of several servers, and a history of what was written there.

use std::collections::HashMap;
use std::time::Duration;

use kvlock_machine::{Entry, Reply, Request};
use kvlock_store_model::{Keeping, Store};

/// What an era's number begins with when the world's time is zero.
const EPOCH: u64 = 1_790_000_000_000_000_000;

/// All servers. A key lives on the first unless it was placed elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    all: Vec<Store>,
    places: HashMap<String, usize>,
    /// How much longer than asked for an entry is kept.
    pub(crate) slack: Duration,
    /// Each write that was executed, the oldest first.
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
    /// Whether what was there was kept longer than asked for.
    pub(crate) outlived: bool,
}

impl Servers {
    pub(crate) fn new() -> Self {
        let mut servers =
            Servers { all: Vec::new(), places: HashMap::new(), slack: Duration::ZERO, history: Vec::new() };
        servers.add();
        servers
    }

    /// Puts a key on a server of its own, whose era is as old as one can be; its number.
    pub(crate) fn place(&mut self, key: &str) -> usize {
        let number = self.add();
        self.places.insert(store_key(key), number);
        number
    }

    fn add(&mut self) -> usize {
        let era = EPOCH - 1_000_000_000 * (self.all.len() as u64).max(1);
        self.all.push(Store::of_era(era, Keeping::Longer(Duration::ZERO)));
        self.all.len() - 1
    }

    /// A server loses everything, and a new era begins.
    pub(crate) fn lose(&mut self, server: usize, now: Duration) {
        self.all[server].lose_all(now, EPOCH + u64::try_from(now.as_nanos()).unwrap());
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
        self.server(store_key).put(store_key, value);
    }

    /// The store drops what it has under this key of its own.
    pub(crate) fn remove(&mut self, store_key: &str) {
        self.server(store_key).drop_entry(store_key);
    }

    /// What is there, as a reader sees it.
    pub(crate) fn entry(&mut self, key: &str, now: Duration) -> Option<Entry> {
        self.stored(&store_key(key), now)
    }

    /// The value under a key of the store's own.
    pub(crate) fn value(&mut self, store_key: &str, now: Duration) -> Option<Vec<u8>> {
        self.stored(store_key, now).map(|entry| entry.value)
    }

    fn stored(&mut self, store_key: &str, now: Duration) -> Option<Entry> {
        match self.execute(&Request::Get { key: store_key.into() }, now) {
            Reply::Entry(entry) => entry.expect("the model never fails to read"),
            other => panic!("{other:?}"),
        }
    }

    /// The value, as text.
    pub(crate) fn text(&mut self, key: &str, now: Duration) -> Option<String> {
        self.entry(key, now).map(|entry| String::from_utf8(entry.value).unwrap())
    }

    fn server(&mut self, store_key: &str) -> &mut Store {
        let server = self.places.get(store_key).copied().unwrap_or(0);
        &mut self.all[server]
    }

    /// Does what a request asks for.
    pub(crate) fn execute(&mut self, request: &Request, now: Duration) -> Reply {
        let key = match request {
            Request::Get { key } | Request::Add { key, .. } | Request::Era { key } => key,
            Request::Replace { key, .. } | Request::Delete { key, .. } => key,
            Request::GetMany { keys } => {
                let one = |key: &std::sync::Arc<str>| match self.execute(&Request::Get { key: key.clone() }, now) {
                    Reply::Entry(entry) => entry,
                    other => panic!("{other:?}"),
                };
                return Reply::Entries(keys.iter().map(one).collect());
            }
            Request::All(requests) => {
                return Reply::All(requests.iter().map(|request| self.execute(request, now)).collect());
            }
        };
        let slack = self.slack;
        let server = self.server(key);
        server.keep(Keeping::Longer(slack));
        server.end(now);
        let value = |server: &Store| server.entry(key).map(|stored| (stored.number, stored.value.clone()));
        let ends = server.entry(key).and_then(|stored| stored.ends);
        let outlived = ends.is_some_and(|ends| ends <= now + slack);
        let before = value(server);
        let reply = server.execute(request, now);
        let after = value(server);
        if before != after {
            let [before, after] = [before, after].map(|there| there.map(|(_, value)| value));
            self.history.push(Write { at: now, key: key.to_string(), before, after, outlived });
        }
        reply
    }
}

/// What the store calls a key of the tests' namespace.
pub(crate) fn store_key(key: &str) -> String {
    format!("n:lock:{key}")
}
