//! The conformance suite over a real PostgreSQL: every case in a database of its own, all at once.

use std::time::Duration;

use kvlock::store::conformance::{self, Subject};
use kvlock::store::{KvStore, Postgres};

use crate::support::World;

struct Real {
    world: World,
    store: Postgres,
}

impl Subject for Real {
    fn store(&self) -> &dyn KvStore {
        &self.store
    }

    fn second(&self) -> Box<dyn KvStore> {
        Box::new(self.world.store())
    }

    fn pass(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn lose_everything(&self) -> bool {
        self.world.sql("DROP SCHEMA kvlock CASCADE");
        true
    }
}

#[test]
fn postgresql_conforms() {
    let failures: Vec<String> = std::thread::scope(|scope| {
        let check = |case: &'static conformance::Case| {
            let world = World::new();
            let store = world.store();
            case.check(&Real { world, store })
        };
        let checks: Vec<_> =
            conformance::cases().iter().map(|case| (case.name, scope.spawn(move || check(case)))).collect();
        let verdicts = checks.into_iter().map(|(name, check)| (name, check.join().expect("a check does not panic")));
        verdicts.filter_map(|(name, verdict)| Some(format!("{name}: {}", verdict.err()?))).collect()
    });
    assert!(failures.is_empty(), "{failures:#?}");
}
