//! Many at once: of all that write on the same condition, one is told that it did.

use std::sync::Barrier;

use super::super::{DeleteOutcome, KvStore, StoreError, Version, WriteOutcome};
use super::world::{LONG, Verdict, World, expect_eq};

/// How many run at once: more than a small machine has cores.
const THREADS: usize = 8;

/// How often they do.
const ROUNDS: usize = 100;

pub(super) fn one_add_wins(world: &World<'_>) -> Verdict {
    let clients = Clients::new(world);
    for round in 0..ROUNDS {
        let key = world.key(&format!("add:{round}"));
        let outcomes = clients.race(|store, thread| store.add(&key, thread.to_string().as_bytes(), LONG));
        expect_winner(world, &key, &written(outcomes)?)?;
    }
    Ok(())
}

pub(super) fn one_replace_wins(world: &World<'_>) -> Verdict {
    let clients = Clients::new(world);
    let key = world.key("replace");
    let mut version = world.add(&key, b"start", LONG)?;
    for _ in 0..ROUNDS {
        let outcomes = clients.race(|store, thread| store.replace(&key, thread.to_string().as_bytes(), LONG, version));
        version = expect_winner(world, &key, &written(outcomes)?)?;
    }
    Ok(())
}

pub(super) fn one_delete_wins(world: &World<'_>) -> Verdict {
    let clients = Clients::new(world);
    for round in 0..ROUNDS {
        let key = world.key(&format!("delete:{round}"));
        let version = world.add(&key, b"value", LONG)?;
        let mut winners = 0;
        for outcome in clients.race(|store, _| store.delete(&key, version)) {
            winners += usize::from(outcome.map_err(failed)? == DeleteOutcome::Deleted);
        }
        expect_eq(winners, 1, "the number of deletes of one version that are told they did it")?;
        world.expect_nothing(&key, "after many deletes")?;
    }
    Ok(())
}

/// One client for each thread, half of them on a connection of their own.
struct Clients<'a> {
    first: &'a dyn KvStore,
    own: Vec<Box<dyn KvStore>>,
}

impl<'a> Clients<'a> {
    fn new(world: &World<'a>) -> Self {
        let own = (0..THREADS / 2).map(|_| world.subject.second()).collect();
        Clients { first: world.store(), own }
    }

    /// Lets every thread do the same at the same moment.
    fn race<T: Send>(&self, act: impl Fn(&dyn KvStore, usize) -> T + Sync) -> Vec<T> {
        let start = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (start, act) = (&start, &act);
                    let store = self.own.get(thread).map_or(self.first, |own| &**own);
                    scope.spawn(move || {
                        start.wait();
                        act(store, thread)
                    })
                })
                .collect();
            // A store that panics is a store that fails: the panic goes on here.
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.map(|outcome| outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        })
    }
}

/// Returns the threads that were told they wrote, and the versions that they were told.
fn written(outcomes: Vec<Result<WriteOutcome, StoreError>>) -> Result<Vec<(usize, Version)>, String> {
    let mut winners = Vec::new();
    for (thread, outcome) in outcomes.into_iter().enumerate() {
        match outcome.map_err(failed)? {
            WriteOutcome::Written(version) => winners.push((thread, version)),
            WriteOutcome::Conflict(_) => {}
            WriteOutcome::Absent => return Err("a race for an entry should have no loser told absent".into()),
        }
    }
    Ok(winners)
}

fn expect_winner(world: &World<'_>, key: &str, winners: &[(usize, Version)]) -> Result<Version, String> {
    match winners {
        [(thread, version)] => {
            world.expect_entry(key, thread.to_string().as_bytes(), *version, "after a race")?;
            Ok(*version)
        }
        _ => Err(format!("one of {THREADS} threads should be told that it wrote, but {} were", winners.len())),
    }
}

fn failed(error: StoreError) -> String {
    format!("a call of many at once: {error}")
}
