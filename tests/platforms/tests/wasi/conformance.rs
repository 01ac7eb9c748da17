//! The conformance suite: every case on a server of its own, all at once, because what takes time is waiting for whole
//! seconds to pass.

use std::time::Duration;

use kvlock::store::KvStore;
use kvlock::store::conformance::{self, Subject};
use kvlock_platforms::{GuestStore, Platform};
use kvlock_testkit::MemcachedServer;

struct Guest {
    server: MemcachedServer,
    store: GuestStore,
}

impl Guest {
    fn start() -> Self {
        let server = MemcachedServer::start();
        let store = GuestStore::new(&Platform::with_store(&server.url())).unwrap();
        Guest { server, store }
    }
}

impl Subject for Guest {
    fn store(&self) -> &dyn KvStore {
        &self.store
    }

    fn second(&self) -> Box<dyn KvStore> {
        Box::new(GuestStore::new(&Platform::with_store(&self.server.url())).unwrap())
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
fn the_store_as_a_component_conforms() {
    let failures: Vec<String> = std::thread::scope(|scope| {
        let checks: Vec<_> =
            conformance::cases().iter().map(|case| (case.name, scope.spawn(|| case.check(&Guest::start())))).collect();
        let verdicts = checks.into_iter().map(|(name, check)| (name, check.join().expect("a check does not panic")));
        verdicts.filter_map(|(name, verdict)| Some(format!("{name}: {}", verdict.err()?))).collect()
    });
    assert!(failures.is_empty(), "{failures:#?}");
}
