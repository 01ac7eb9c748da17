//! Conflict retry beside an optimistic concurrency control that is not ours: PostgreSQL's serializable transactions.
//!
//! Many writers increment one row: read it, compute, write it, commit. A transaction that another one overtook fails
//! with SQLSTATE 40001, and all that it computed was in vain.
//!
//! `cargo test --test serializable -- --nocapture` shows the figures.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kvlock::{Client, ConflictRetryError, Work};
use kvlock_tests::{MemcachedServer, PostgresServer};
use postgres::error::SqlState;
use postgres::{IsolationLevel, NoTls};

/// Both servers, and a row to increment.
struct World {
    postgres: PostgresServer,
    _memcached: MemcachedServer,
    client: Client,
}

/// A transaction that increments the row.
struct Writer {
    connection: postgres::Client,
    read: postgres::Statement,
    write: postgres::Statement,
    rows: i32,
}

/// What the writers of one round did.
#[derive(Default)]
struct Tally {
    committed: AtomicU32,
    conflicts: AtomicU32,
    /// Microseconds in transactions that came to nothing.
    wasted: AtomicU32,
}

impl World {
    fn new() -> World {
        let (postgres, memcached) = (PostgresServer::start(), MemcachedServer::start());
        let client = Client::connect(&memcached.url()).unwrap();
        let world = World { postgres, _memcached: memcached, client };
        let setup = "CREATE TABLE counter (id int PRIMARY KEY, n bigint NOT NULL); INSERT INTO counter VALUES (1, 0)";
        world.connect().batch_execute(setup).unwrap();
        world
    }

    fn connect(&self) -> postgres::Client {
        postgres::Client::connect(&self.postgres.config(), NoTls).unwrap()
    }

    fn count(&self) -> i64 {
        self.connect().query_one("SELECT n FROM counter", &[]).unwrap().get(0)
    }

    fn session(&self) -> kvlock::Session {
        self.client.session().quarantine(Duration::ZERO).open().unwrap()
    }

    /// A writer whose transactions compute over so many rows.
    fn writer(&self, rows: i32) -> Writer {
        let mut connection = self.connect();
        let read = "SELECT n, (SELECT sum(length(md5(i::text))) FROM generate_series(1, $1) i) FROM counter WHERE id = 1";
        let read = connection.prepare(read).unwrap();
        let write = connection.prepare("UPDATE counter SET n = $1 WHERE id = 1").unwrap();
        Writer { connection, read, write, rows }
    }
}

impl Writer {
    /// One transaction, which commits or runs into a conflict.
    fn increment(&mut self, tally: &Tally) -> Work<(), postgres::Error> {
        let started = Instant::now();
        match self.transaction() {
            Ok(()) => {
                tally.committed.fetch_add(1, Ordering::Relaxed);
                Work::Committed(())
            }
            Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {
                tally.conflicts.fetch_add(1, Ordering::Relaxed);
                let micros = u32::try_from(started.elapsed().as_micros()).unwrap();
                tally.wasted.fetch_add(micros, Ordering::Relaxed);
                Work::Conflict(error)
            }
            Err(error) => Work::Failed(error),
        }
    }

    fn transaction(&mut self) -> Result<(), postgres::Error> {
        let builder = self.connection.build_transaction();
        let mut transaction = builder.isolation_level(IsolationLevel::Serializable).start()?;
        let n: i64 = transaction.query_one(&self.read, &[&self.rows])?.get(0);
        transaction.execute(&self.write, &[&(n + 1)])?;
        transaction.commit()
    }
}

/// A plain retry loop.
fn plain(writer: &mut Writer, tally: &Tally) {
    loop {
        match writer.increment(tally) {
            Work::Committed(()) => return,
            Work::Conflict(_) => {}
            Work::Failed(error) => panic!("{error}"),
        }
    }
}

const WRITERS: u32 = 16;

#[test]
fn measure() {
    let world = World::new();
    for rows in [1, 2000, 10000] {
        for interval in [1, 3, 10] {
            for round in 0..4 {
                let each = 6;
                let tally = Tally::default();
                let took = std::thread::scope(|scope| {
                    let writers: Vec<_> = (0..WRITERS).map(|_| (world.writer(rows), world.session())).collect();
                    let started = Instant::now();
                    let threads: Vec<_> = writers.into_iter().map(|(mut writer, session)| {
                        let tally = &tally;
                        scope.spawn(move || for _ in 0..each {
                            if round % 2 == 0 { plain(&mut writer, tally) } else {
                                session.conflict_retry("counter").tries(100).interval(Duration::from_millis(interval)).run(|_| writer.increment(tally)).unwrap();
                            }
                        })
                    }).collect();
                    threads.into_iter().for_each(|t| t.join().unwrap());
                    started.elapsed()
                });
                println!("rows {rows} interval {interval} {} {:.0}/s conflicts {:?} wasted {} ms", if round % 2 == 0 {"plain"} else {"kvlock"}, f64::from(each * WRITERS) / took.as_secs_f64(), tally.conflicts, tally.wasted.into_inner() / 1000);
            }
        }
    }
    println!("{}", world.count());
}
