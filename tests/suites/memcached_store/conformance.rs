//! The conformance suite over real memcached: every case on a server of its own, all at once, because what takes time
//! is waiting for whole seconds to pass.

use std::time::Duration;

use kvlock::store::conformance::{self, Subject};
use kvlock::store::{KvStore, Memcached};
use kvlock_testkit::MemcachedServer;

struct Real {
    server: MemcachedServer,
    store: Memcached,
}

impl Real {
    fn start() -> Self {
        let server = MemcachedServer::start();
        let store = Memcached::connect(&server.addr()).expect("the server's address is one");
        Real { server, store }
    }
}

impl Subject for Real {
    fn store(&self) -> &dyn KvStore {
        &self.store
    }

    fn second(&self) -> Box<dyn KvStore> {
        Box::new(Memcached::connect(&self.server.addr()).expect("the server's address is one"))
    }

    fn pass(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn lose_everything(&self) -> bool {
        self.server.flush();
        true
    }
}

#[test]
fn memcached_conforms() {
    let failures: Vec<String> = std::thread::scope(|scope| {
        let checks: Vec<_> =
            conformance::cases().iter().map(|case| (case.name, scope.spawn(|| case.check(&Real::start())))).collect();
        let verdicts = checks.into_iter().map(|(name, check)| (name, check.join().expect("a check does not panic")));
        verdicts.filter_map(|(name, verdict)| Some(format!("{name}: {}", verdict.err()?))).collect()
    });
    assert!(failures.is_empty(), "{failures:#?}");
}
