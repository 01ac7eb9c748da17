//! Conflict retry beside an optimistic concurrency control that is not ours: PostgreSQL's serializable transactions.
//!
//! Many writers increment one row: read it, compute, write it, commit. A transaction that another one overtook fails
//! with SQLSTATE 40001, and all that it computed was in vain.
//!
//! `cargo test --test serializable -- --nocapture` shows the figures.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use kvlock::{Client, Session, conflict_retry::WorkOutcome};
use kvlock_testkit::{MemcachedServer, PostgresServer};
use postgres::error::SqlState;
use postgres::{IsolationLevel, NoTls};

/// Writers at once, and how often each increments the row in a round.
const WRITERS: u32 = 32;
const INCREMENTS: u32 = 2;
/// Rounds of either kind; their median counts.
const ROUNDS: u32 = 5;
/// What a transaction computes over: some milliseconds of one processor.
const ROWS: i32 = 5000;
/// The longest pause between two looks at the lock: about as long as a transaction takes.
const INTERVAL: Duration = Duration::from_millis(5);
/// Longer than any test machine stands still.
const RESERVE: Duration = Duration::from_secs(30);
/// Writers that ask for no lock, and how long they rest.
const BYPASSING: u32 = 3;
const BYPASS_PAUSE: Duration = Duration::from_millis(20);

/// How long writers that ask for no lock go on at most, should the others fail.
const PATIENCE: Duration = Duration::from_secs(120);

/// Held by a test while it runs: one would spoil the figures of the other.
static ALONE: Mutex<()> = Mutex::new(());

/// Both servers, and a row to increment.
struct World {
    postgres: PostgresServer,
    _memcached: MemcachedServer,
    client: Client,
    _alone: MutexGuard<'static, ()>,
}

/// A transaction that increments the row.
struct Writer {
    connection: postgres::Client,
    read: postgres::Statement,
    write: postgres::Statement,
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
        let alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (postgres, memcached) = (PostgresServer::start(), MemcachedServer::start());
        let client = Client::connect(&memcached.url()).unwrap();
        let world = World { postgres, _memcached: memcached, client, _alone: alone };
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

    fn session(&self) -> Session {
        self.client.session().quarantine(Duration::ZERO).open().unwrap()
    }

    /// A writer of its own connection.
    fn writer(&self) -> Writer {
        let mut connection = self.connect();
        let read =
            "SELECT n, (SELECT sum(length(md5(i::text))) FROM generate_series(1, $1) i) FROM counter WHERE id = 1";
        let read = connection.prepare(read).unwrap();
        let write = connection.prepare("UPDATE counter SET n = $1 WHERE id = 1").unwrap();
        Writer { connection, read, write }
    }
}

impl Writer {
    /// One transaction, which commits or runs into a conflict.
    fn increment(&mut self, tally: &Tally) -> WorkOutcome<(), postgres::Error> {
        let started = Instant::now();
        match self.transaction() {
            Ok(()) => {
                tally.committed.fetch_add(1, Ordering::Relaxed);
                WorkOutcome::Committed(())
            }
            Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {
                tally.conflicts.fetch_add(1, Ordering::Relaxed);
                let micros = u32::try_from(started.elapsed().as_micros()).unwrap();
                tally.wasted.fetch_add(micros, Ordering::Relaxed);
                WorkOutcome::Conflict(error)
            }
            Err(error) => WorkOutcome::Failed(error),
        }
    }

    fn transaction(&mut self) -> Result<(), postgres::Error> {
        let builder = self.connection.build_transaction();
        let mut transaction = builder.isolation_level(IsolationLevel::Serializable).start()?;
        let n: i64 = transaction.query_one(&self.read, &[&ROWS])?.get(0);
        transaction.execute(&self.write, &[&(n + 1)])?;
        transaction.commit()
    }
}

/// A plain retry loop.
fn plain(writer: &mut Writer, tally: &Tally) {
    loop {
        match writer.increment(tally) {
            WorkOutcome::Committed(()) => return,
            WorkOutcome::Conflict(_) => {}
            WorkOutcome::Failed(error) => panic!("{error}"),
        }
    }
}

/// A conflict retry; tells the fencing tokens of its tries.
fn locked(writer: &mut Writer, session: &Session, tally: &Tally) -> Vec<u64> {
    let mut tokens = Vec::new();
    let retry = session.conflict_retry("counter").tries(1000).interval(INTERVAL).reserve(RESERVE);
    let committed = retry.run(|attempt| {
        tokens.push(attempt.token());
        writer.increment(tally)
    });
    committed.unwrap_or_else(|error| panic!("{error}"));
    tokens
}

impl World {
    /// All writers at once, each incrementing several times in this way; tells how long it took.
    fn round(&self, increment: impl Fn(&mut Writer, &Session) + Sync) -> Duration {
        // Connecting is not measured.
        let writers: Vec<_> = (0..WRITERS).map(|_| (self.writer(), self.session())).collect();
        let started = Instant::now();
        std::thread::scope(|scope| {
            for (mut writer, session) in writers {
                let increment = &increment;
                scope.spawn(move || (0..INCREMENTS).for_each(|_| increment(&mut writer, &session)));
            }
        });
        started.elapsed()
    }
}

/// The figures of several rounds.
#[derive(Default)]
struct Figures {
    per_second: Vec<f64>,
    conflicts: u32,
    wasted: Duration,
}

impl Figures {
    fn add(&mut self, tally: &Tally, took: Duration) {
        self.per_second.push(f64::from(WRITERS * INCREMENTS) / took.as_secs_f64());
        self.conflicts += tally.conflicts.load(Ordering::Relaxed);
        self.wasted += Duration::from_micros(tally.wasted.load(Ordering::Relaxed).into());
    }

    fn median_per_second(&self) -> f64 {
        let mut sorted = self.per_second.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    fn print(&self, name: &str) {
        let commits = WRITERS * INCREMENTS * ROUNDS;
        let (median, wasted) = (self.median_per_second(), self.wasted.as_secs_f64());
        println!("{name:<22} {median:>12.1} {:>10} {wasted:>14.1}   of {commits} commits", self.conflicts);
    }
}

#[test]
fn conflict_retry_has_hardly_a_conflict_where_plain_retry_loops_have_many_and_is_no_slower() {
    let world = World::new();
    let (mut without, mut with) = (Figures::default(), Figures::default());
    for _ in 0..ROUNDS {
        // In turn, so that whatever else the machine does happens to both.
        let tally = Tally::default();
        without.add(&tally, world.round(|writer, _| plain(writer, &tally)));
        let tally = Tally::default();
        with.add(&tally, world.round(|writer, session| drop(locked(writer, session, &tally))));
    }
    assert_eq!(world.count(), i64::from(2 * WRITERS * INCREMENTS * ROUNDS), "no update is lost");
    println!("{:<22} {:>12} {:>10} {:>14}", "", "commits/s", "conflicts", "wasted seconds");
    without.print("plain retry loops");
    with.print("conflict retry");
    assert!(without.conflicts > WRITERS * INCREMENTS * ROUNDS, "the writers do run into each other");
    assert!(with.conflicts * 10 <= without.conflicts);
    assert!(with.median_per_second() >= without.median_per_second());
}

#[test]
fn writers_that_ask_for_no_lock_are_overcome_under_one_reservation() {
    let world = World::new();
    let (tally, bypassing, done) = (Tally::default(), Tally::default(), AtomicBool::new(false));
    let retried = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..BYPASSING {
            let (mut writer, bypassing, done) = (world.writer(), &bypassing, &done);
            scope.spawn(move || {
                let started = Instant::now();
                while !done.load(Ordering::Relaxed) && started.elapsed() < PATIENCE {
                    plain(&mut writer, bypassing);
                    std::thread::sleep(BYPASS_PAUSE);
                }
            });
        }
        world.round(|writer, session| {
            let mut tokens = locked(writer, session, &tally);
            retried.fetch_add(u32::from(tokens.len() > 1), Ordering::Relaxed);
            tokens.dedup();
            assert_eq!(tokens.len(), 1, "somebody else got the lock between two tries");
        });
        done.store(true, Ordering::Relaxed);
    });
    let [committed, bypassed] = [&tally, &bypassing].map(|tally| tally.committed.load(Ordering::Relaxed));
    assert_eq!(committed, WRITERS * INCREMENTS);
    assert!(bypassed > 0);
    assert_eq!(world.count(), i64::from(committed + bypassed), "no update is lost");
    let (conflicts, retried) = (tally.conflicts.into_inner(), retried.into_inner());
    println!("{conflicts} conflicts with {bypassed} commits that asked for no lock: {retried} of {committed} retried");
    assert!(retried > 0, "there are conflicts, although all others wait for the lock");
}
