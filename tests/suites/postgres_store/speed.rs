//! What an acquire and a release cost, beside the least that two flushed writes can cost.
//!
//! `cargo test --release --test postgres_store -- --ignored --nocapture speed` on a machine that does nothing else.

use std::time::{Duration, Instant};

use kvlock::store::KvStore;
use kvlock_testkit::PostgresServer;
use postgres::NoTls;

use crate::support::{TTL, add, store};

const ROUNDS: usize = 15;
const PAIRS: u32 = 40;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Rounds of either kind in turn, so that whatever else the machine does happens to both.
#[test]
#[ignore = "a figure, and no promise"]
fn a_pair_costs_little_more_than_two_bare_prepared_upserts() {
    let server = PostgresServer::start_on_disk();
    server.sql("CREATE TABLE bare (key text PRIMARY KEY, value bytea)");
    let store = store(&server.url());
    let mut bare = postgres::Client::connect(&server.url(), NoTls).unwrap();
    let upsert = "INSERT INTO bare VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value";
    let upsert = bare.prepare(upsert).unwrap();
    let value = [b'v'; 200];
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..PAIRS {
            bare.execute(&upsert, &[&"k", &&value[..]]).unwrap();
            bare.execute(&upsert, &[&"k", &&value[..]]).unwrap();
        }
        theirs.push(began.elapsed() / PAIRS);
        let began = Instant::now();
        for _ in 0..PAIRS {
            let version = add(&store, "k", std::str::from_utf8(&value).unwrap());
            store.delete("k", version).unwrap();
        }
        ours.push(began.elapsed() / PAIRS);
    }
    assert!(store.add("k", &value, TTL).is_ok());
    let (ours, theirs) = (median(ours), median(theirs));
    println!("add and delete {ours:?}, two upserts {theirs:?}: {:.2}", ours.as_secs_f64() / theirs.as_secs_f64());
}
