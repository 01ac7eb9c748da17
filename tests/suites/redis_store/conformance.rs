//! The conformance suite over real servers, and controls that it must fail.

use std::time::Duration;

use kvlock::store::conformance::{self, Subject};
use kvlock::store::{KvStore, Op, Redis, StoreError, Ttl, WriteOutcome};
use kvlock_testkit::{Hook, Hooked, RedisServer};

/// A server, the store on it by a URL, and what stands between it and the cases.
struct Real<H> {
    server: RedisServer,
    url: String,
    store: Hooked<Redis, H>,
    hook: H,
}

impl<H: Hook + Clone> Real<H> {
    fn start(url: impl Fn(&RedisServer) -> String, hook: H) -> Self {
        let server = RedisServer::start();
        let url = url(&server);
        let store = Hooked::new(Redis::connect(&url).unwrap(), hook.clone());
        Real { server, url, store, hook }
    }
}

impl<H: Hook + Clone> Subject for Real<H> {
    fn store(&self) -> &dyn KvStore {
        &self.store
    }

    fn second(&self) -> Box<dyn KvStore> {
        Box::new(Hooked::new(Redis::connect(&self.url).unwrap(), self.hook.clone()))
    }

    fn pass(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn lose_everything(&self) -> bool {
        self.server.command("FLUSHALL");
        true
    }
}

/// Runs all cases, each on a server of its own; most of it is waiting. Gives the names of those that fail, and why.
fn failures(start: impl Fn() -> Box<dyn Subject> + Sync) -> Vec<String> {
    std::thread::scope(|scope| {
        let checks: Vec<_> =
            conformance::cases().iter().map(|case| (case.name, scope.spawn(|| case.check(&*start())))).collect();
        let verdicts = checks.into_iter().map(|(name, check)| (name, check.join().unwrap()));
        verdicts.filter_map(|(name, verdict)| Some(format!("{name}: {}", verdict.err()?))).collect()
    })
}

#[derive(Clone)]
struct Nothing;

impl Hook for Nothing {
    fn around<T>(&self, _: Op, _: &str, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        call()
    }
}

#[test]
fn redis_conforms() {
    let failures = failures(|| Box::new(Real::start(RedisServer::url, Nothing)));
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn redis_conforms_over_a_unix_socket_in_another_database() {
    let url = |server: &RedisServer| format!("redis+unix://{}?db=3", server.socket().display());
    let failures = failures(|| Box::new(Real::start(url, Nothing)));
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Keeps entries for half as long as asked.
#[derive(Clone)]
struct Hasty;

impl Hook for Hasty {
    fn around<T>(&self, _: Op, _: &str, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        call()
    }

    fn ttl(&self, asked: Ttl) -> Ttl {
        match asked {
            Ttl::After(length) => Ttl::After(length / 2),
            Ttl::Forever => Ttl::Forever,
        }
    }
}

#[test]
fn the_suite_fails_a_store_that_ends_entries_early() {
    let failures = failures(|| Box::new(Real::start(RedisServer::url, Hasty)));
    assert!(failures.iter().any(|failure| failure.starts_with("an entry lives its ttl")), "{failures:#?}");
}

/// A store whose second write to a key goes through, whatever is there: by deleting the hash's field first.
#[test]
fn the_suite_fails_a_store_that_writes_blindly() {
    struct Blind(RedisServer, Redis);

    impl KvStore for Blind {
        fn get(&self, key: &str) -> Result<Option<kvlock::store::Entry>, StoreError> {
            self.1.get(key)
        }
        fn get_many(&self, keys: &[String]) -> Result<Vec<Option<kvlock::store::Entry>>, StoreError> {
            self.1.get_many(keys)
        }
        fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
            if let Some(entry) = self.1.get(key)? {
                self.1.delete(key, entry.version)?;
            }
            self.1.add(key, value, ttl)
        }
        fn replace(
            &self,
            key: &str,
            value: &[u8],
            ttl: Ttl,
            version: kvlock::store::Version,
        ) -> Result<WriteOutcome, StoreError> {
            self.1.replace(key, value, ttl, version)
        }
        fn delete(
            &self,
            key: &str,
            version: kvlock::store::Version,
        ) -> Result<kvlock::store::DeleteOutcome, StoreError> {
            self.1.delete(key, version)
        }
        fn era(&self, key: &str) -> Result<kvlock::store::EraInfo, StoreError> {
            self.1.era(key)
        }
        fn diagnose(&self) -> Vec<kvlock::store::Finding> {
            self.1.diagnose()
        }
    }

    impl Subject for Blind {
        fn store(&self) -> &dyn KvStore {
            self
        }
        fn second(&self) -> Box<dyn KvStore> {
            Box::new(Redis::connect(&self.0.url()).unwrap())
        }
        fn pass(&self, time: Duration) {
            std::thread::sleep(time);
        }
    }

    let failures = failures(|| {
        let server = RedisServer::start();
        let store = Redis::connect(&server.url()).unwrap();
        Box::new(Blind(server, store))
    });
    assert!(failures.iter().any(|failure| failure.starts_with("add leaves a held key")), "{failures:#?}");
}
