//! The servers that are attacked: what can be done to each kind.

mod etcd;
mod fill;
mod memcached;
mod postgres;
mod redis;

use anyhow::Result;

use crate::mix::Engine;

/// The servers of one store. Some are several, which clients see as one; some have a replica that can take over.
pub(crate) trait Servers {
    /// Where each proxy leads now.
    fn upstreams(&self) -> Vec<String>;

    /// Returns the URL of the store for a client, which reaches it by these proxies.
    fn url(&self, proxies: &[String], client: usize) -> String;

    /// How many of them can be killed and frozen.
    fn count(&self) -> usize {
        1
    }

    /// How many of these can be away at a time.
    fn most_away(&self) -> usize {
        1
    }

    /// Ends one as a crash would.
    fn kill(&mut self, server: usize);

    /// Starts it again, with what it has on its disk.
    fn start_again(&mut self, server: usize);

    /// Freezes one.
    fn freeze(&self, server: usize);

    /// Lets it go on.
    fn thaw(&self, server: usize);

    /// Empties all; false if nobody does that to such servers.
    fn flush(&self) -> bool {
        false
    }

    /// Stores a lot of other things, and tells what came of it; none if that is not tried.
    fn fill(&self, seed: u64) -> Result<Option<String>> {
        let _ = seed;
        Ok(None)
    }

    /// Lets a replica take the primary's place, which crashes or lives on; false if there is none.
    fn promote(&mut self, fate: Fate) -> bool {
        let _ = fate;
        false
    }

    /// Lets the former primary become a replica; false if there is none.
    fn rejoin(&mut self) -> bool {
        false
    }
}

/// What becomes of a primary whose place another takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is killed.
    Crashes,
    /// It goes on, as it would behind a broken network.
    LivesOn,
}

/// Starts the servers of an engine.
pub(crate) fn start(engine: Engine) -> Box<dyn Servers> {
    match engine {
        Engine::Memcached(options) => Box::new(memcached::Memcached::start(options)),
        Engine::Redis => Box::new(redis::Redis::start(0, 0)),
        Engine::RedisReplicas { confirmed } => Box::new(redis::Redis::start(2, confirmed)),
        Engine::Etcd => Box::new(etcd::Etcd::start()),
        Engine::Postgres => Box::new(postgres::Postgres::start(false)),
        Engine::PostgresStandby => Box::new(postgres::Postgres::start(true)),
    }
}

/// Returns one of two proxies: the clients are halved, so that a network can part them.
fn half(proxies: &[String], client: usize) -> &str {
    &proxies[client % proxies.len()]
}
