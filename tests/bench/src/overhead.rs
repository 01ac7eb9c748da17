//! What the component costs: the same acquire and release over a store that answers from memory.

use std::time::Duration;

use anyhow::{Result, bail};
use kvlock::Client;
use kvlock::store::{KvStore, Ttl, WriteOutcome};
use kvlock_tests::Table;

use crate::Effort;
use crate::results::{Figure, Goal, Results, Spread};
use crate::turns::{Contender, take_turns};

const ROUNDS: usize = 200;
const PAIRS: usize = 5000;

pub(crate) fn measure(results: &mut Results, effort: Effort) -> Result<()> {
    let session = Client::with_store(Table::default()).session().quarantine(Duration::ZERO).open()?;
    let (store, value, ttl) = (Table::default(), [b'v'; 200], Ttl::After(Duration::from_secs(30)));
    let contenders = &mut [
        Contender::new("component", |times| {
            (0..times).try_for_each(|_| {
                session.lock("k").acquire()?.release()?;
                Ok(())
            })
        }),
        Contender::new("store alone", |times| {
            (0..times).try_for_each(|_| {
                let WriteOutcome::Written(version) = store.add("kvlock:lock:k", &value, ttl)? else { bail!("held") };
                store.delete("kvlock:lock:k", version)?;
                Ok(())
            })
        }),
    ];
    let samples = take_turns(contenders, effort.rounds(ROUNDS), PAIRS)?;
    let [component, store] = samples.as_slice() else { bail!("two contenders") };
    // An acquire and a release are two operations.
    let figure = |name: &str, samples: &[f64]| Figure::new(name, Spread::of(samples).scaled(0.5e6), "µs");
    let group = results.group(
        "The component alone",
        "Acquire or release over a store that answers from a table in memory: what the logic costs where the network \
         costs nothing.",
    );
    group.add(figure("acquire or release", component).goal(Goal::AtMost(1.0)));
    group.add(figure("of which the store", store).aside());
    Ok(())
}
