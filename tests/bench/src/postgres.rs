//! Acquire and release on PostgreSQL, against two writes that are flushed.

use std::time::Duration;

use anyhow::{Result, bail};
use kvlock::Client;
use kvlock_testkit::PostgresServer;
use postgres::NoTls;

use crate::Effort;
use crate::contended;
use crate::results::{Figure, Goal, Results, Spread};
use crate::turns::{Contender, take_turns};

const ROUNDS: usize = 40;
const PAIRS: usize = 20;
/// About as large as a record.
const VALUE: [u8; 200] = [b'v'; 200];

pub(crate) fn measure(results: &mut Results, effort: Effort) -> Result<()> {
    let group = results.group(
        "Uncontended, on PostgreSQL",
        "One client takes a lock on a server that flushes each commit to disk, and gives it back. The floor is a bare \
         client that writes one row twice by a prepared upsert.",
    );
    let server = PostgresServer::start_on_disk();
    server.sql("CREATE TABLE bare (key text PRIMARY KEY, value bytea)");
    let mut bare = postgres::Client::connect(&server.config(), NoTls)?;
    let upsert = "INSERT INTO bare VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value";
    let upsert = bare.prepare(upsert)?;
    // By the same socket as the floor.
    let url = format!("postgres://postgres@/postgres?host={}&port={}", server.folder().display(), server.port());
    let session = Client::connect(&url)?.session().quarantine(Duration::ZERO).open()?;
    let contenders = &mut [
        Contender::new("two upserts", |times| {
            (0..2 * times).try_for_each(|_| {
                bare.execute(&upsert, &[&"k", &VALUE.as_slice()])?;
                Ok(())
            })
        }),
        Contender::new("kvlock", |times| {
            (0..times).try_for_each(|_| {
                session.lock("k").acquire()?.release()?;
                Ok(())
            })
        }),
    ];
    let samples = take_turns(contenders, effort.rounds(ROUNDS), PAIRS)?;
    let [floor, kvlock] = samples.as_slice() else { bail!("two contenders") };
    let figure = |name: &str, samples: &[f64]| Figure::new(name, Spread::of(samples).scaled(1e3), "ms");
    group.add(figure("two prepared upserts, bare client", floor));
    group.add(
        figure("kvlock on PostgreSQL", kvlock)
            .against("bare client", Spread::of_ratios(kvlock, floor))
            .goal(Goal::AtMost(1.5)),
    );
    contended::between_processes(results, effort, "PostgreSQL", url)
}
