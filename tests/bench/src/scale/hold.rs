//! Many keys that one session holds, and what one more costs.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use kvlock::store::{KvStore, Memcached};
use kvlock::{Client, Session};
use kvlock_tests::Table;
use serde::{Deserialize, Serialize};

use super::part;
use crate::Effort;
use crate::cores::Server;
use crate::results::{Figure, Goal, Group, Spread, thousands};
use crate::servers;
use crate::turns::{Contender, take_turns};

/// How many keys are held while one more is acquired and released.
const HELD: [usize; 3] = [1_000, 100_000, 1_000_000];
const HELD_ON_MEMCACHED: usize = 100_000;
const ROUNDS: usize = 10;
const PAIRS: usize = 2_000;
/// How much more it may cost than with one key held.
const GROWTH: f64 = 1.5;

/// A session that holds keys, beside one that holds a single one.
#[derive(clap::Args)]
pub(crate) struct Hold {
    #[arg(long)]
    keys: usize,
    /// The `host:port` of a memcached; none for a table in memory.
    #[arg(long)]
    server: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Held {
    /// Seconds that a pair takes.
    one: Spread,
    many: Spread,
    growth: Spread,
}

impl Hold {
    pub(crate) fn run(&self) -> Result<()> {
        let held = match &self.server {
            // A table each, so that the cost of the larger one counts.
            None => compare(self.keys, Table::default),
            Some(server) => {
                let stores = [Memcached::connect(server)?, Memcached::connect(server)?];
                let mut stores = stores.into_iter();
                compare(self.keys, || stores.next().expect("a store for each session"))
            }
        };
        println!("{}", serde_json::to_string(&held?)?);
        // Nobody waits until a million grants have been dropped.
        std::process::exit(0)
    }
}

fn compare<S: KvStore>(keys: usize, mut store: impl FnMut() -> S) -> Result<Held> {
    let (one, many) = (holding(1, store())?, holding(keys, store())?);
    let pairs = |session: &Session, times: usize| {
        (0..times).try_for_each(|n| {
            session.lock(format!("other-{n}")).acquire()?.release()?;
            Ok(())
        })
    };
    let contenders = &mut [
        Contender::new("one key held", |times| pairs(&one, times)),
        Contender::new("many keys held", |times| pairs(&many, times)),
    ];
    let samples = take_turns(contenders, ROUNDS, PAIRS)?;
    let [one, many] = samples.as_slice() else { bail!("two contenders") };
    Ok(Held { one: Spread::of(one), many: Spread::of(many), growth: Spread::of_ratios(many, one) })
}

fn holding(keys: usize, store: impl KvStore) -> Result<Session> {
    let session = Client::with_store(store).session().quarantine(Duration::ZERO).open()?;
    for n in 0..keys {
        // Those of one session are others than those of another.
        session.lock(format!("key-{keys}-{n}")).lease(LEASE).acquire().with_context(|| format!("key {n}"))?.forget();
    }
    Ok(session)
}

/// Nothing that is held ends while it is measured.
const LEASE: Duration = Duration::from_secs(3600);

pub(super) fn measure(group: &mut Group, effort: Effort) -> Result<()> {
    let Some((server, _here)) = Server::Beside.start(|| Ok(servers::memcached()))? else { return Ok(()) };
    let in_memory = HELD.map(|keys| ("memory", keys, None));
    let on_memcached = (!effort.quick).then(|| ("memcached", HELD_ON_MEMCACHED, Some(server.addr())));
    for (place, keys, server) in in_memory.into_iter().chain(on_memcached) {
        let server = server.map(|server| format!("--server={server}"));
        let arguments = ["hold".to_owned(), format!("--keys={keys}")].into_iter().chain(server).collect::<Vec<_>>();
        match part::<Held>(&arguments) {
            Ok(held) => {
                group.add(Figure::new(format!("one key held, {place}"), held.one.scaled(1e6), "µs").aside());
                let figure =
                    Figure::new(format!("{} keys held, {place}", thousands(keys as u64)), held.many.scaled(1e6), "µs");
                group.add(figure.against("one", held.growth).goal(Goal::AtMost(GROWTH)));
            }
            // A limit that is found is a result.
            Err(error) => eprintln!("scale: {keys} keys cannot be held in {place}: {error:#}"),
        }
    }
    Ok(())
}
