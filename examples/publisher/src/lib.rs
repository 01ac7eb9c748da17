//! A publisher of requests over a database with optimistic concurrency control, and what a lock does for it.
//!
//! Each request is a transaction that changes one hot row. The publisher is not ours to change: it begins the
//! transaction, calls the function that answers the request, commits, and tries a request that ran into a conflict
//! again after a delay of its own. What it offers are hooks, and it matters which of them a lock is
//! put into.

mod database;
mod locking;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use kvlock::{Client, Session};

pub use database::Database;
use database::{Outcome, Visitor};
pub use locking::Way;

/// What the publisher has to do.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Workers that answer requests side by side, as processes do.
    pub workers: u32,
    /// How many requests each answers.
    pub requests: u32,
    /// How long a worker has nothing to do between two requests, at most.
    pub thinking: Duration,
    /// How long the function computes, between what it reads and what it writes.
    pub computing: Duration,
    /// How often the publisher tries a request.
    pub tries: u32,
    /// How long the publisher waits at most before the second try; before the third up to twice as long, and so on.
    pub delay: Duration,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Requests that were answered.
    pub committed: u32,
    /// Requests that failed: each try ran into a conflict.
    pub failed: u32,
    /// Tries that were in vain.
    pub conflicts: u32,
    /// How long all of it took.
    pub took: Duration,
    /// How long each request took, the shortest first.
    pub latencies: Vec<Duration>,
}

impl Figures {
    /// Answers a second.
    pub fn per_second(&self) -> f64 {
        f64::from(self.committed) / self.took.as_secs_f64()
    }

    /// How long all but this part of the requests took at most.
    pub fn all_but(&self, part: f64) -> Duration {
        let rank = (self.latencies.len() as f64 * (1.0 - part)).ceil() as usize;
        self.latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// Lets all workers answer their requests. Each has a client of its own, as if it were a process.
pub fn publish(database: &Database, store: &str, load: Load, way: Way) -> Result<Figures> {
    let started = Instant::now();
    let workers = thread::scope(|scope| {
        let worker = || {
            let session = Client::connect(store)?.session().quarantine(Duration::ZERO).open()?;
            Worker { visitor: database.visit()?, session, load, way, conflicts: 0, failed: 0 }.run()
        };
        let workers: Vec<_> = (0..load.workers).map(|_| scope.spawn(worker)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| worker.join().expect("no worker panics");
        workers.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let took = started.elapsed();
    let mut figures = Figures { committed: 0, failed: 0, conflicts: 0, took, latencies: Vec::new() };
    for (latencies, worker) in workers {
        figures.committed += load.requests - worker.failed;
        figures.failed += worker.failed;
        figures.conflicts += worker.conflicts;
        figures.latencies.extend(latencies);
    }
    figures.latencies.sort();
    Ok(figures)
}

/// One of the publisher's processes.
struct Worker {
    visitor: Visitor,
    session: Session,
    load: Load,
    way: Way,
    conflicts: u32,
    failed: u32,
}

impl Worker {
    fn run(mut self) -> Result<(Vec<Duration>, Self)> {
        let mut latencies = Vec::new();
        for _ in 0..self.load.requests {
            thread::sleep(part_of(self.load.thinking));
            let started = Instant::now();
            self.answer()?;
            latencies.push(started.elapsed());
        }
        Ok((latencies, self))
    }

    /// The publisher's loop over the tries of one request.
    fn answer(&mut self) -> Result<()> {
        let mut locking = self.way.locking(&self.session, self.load.tries)?;
        for number in 1..=self.load.tries {
            let delay = part_of(self.load.delay * number);
            locking.before()?;
            let transaction = self.visitor.begin()?;
            let computing = self.load.computing;
            let mut outcome = locking.call(&mut || {
                let count = transaction.read()?;
                thread::sleep(computing);
                transaction.write(count + 1)
            })?;
            outcome = transaction.end(outcome)?;
            let is_last = outcome == Outcome::Committed || number == self.load.tries;
            let pause = locking.after(outcome, if is_last { None } else { Some(delay) })?;
            if outcome == Outcome::Committed {
                return Ok(());
            }
            self.conflicts += 1;
            if !is_last {
                thread::sleep(pause.unwrap_or(delay));
            }
        }
        self.failed += 1;
        Ok(())
    }
}

/// A random part of a length of time.
fn part_of(length: Duration) -> Duration {
    length.mul_f64(fastrand::f64())
}
