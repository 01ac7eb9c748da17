//! What is left behind: a leader that was killed, and waiters that will never try again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kvlock::{AcquirePoll, Client, Session};
use kvlock_testkit::{EtcdCluster, PostgresServer, RedisServer};

use crate::Effort;
use crate::command::kvlock_binary;
use crate::results::{Figure, Goal, Results, Spread};
use crate::servers;

/// The lease of a leader.
const LEASE: Duration = Duration::from_secs(3);
/// How often a leader is killed on each store: each time at another moment between two renewals.
const KILLS: u32 = 8;
/// How long after a leader's death the next one may lead, beyond the lease.
const SLACK: f64 = 1.0;
/// How many dead waiters stand before the one that lives.
const DEAD: usize = 30;
const ROUNDS: usize = 20;

pub(crate) fn measure(results: &mut Results, effort: Effort) -> Result<()> {
    let (memcached, redis, etcd) = (servers::memcached(), RedisServer::start(), EtcdCluster::start(1));
    let (postgres, folder) = (PostgresServer::start(), tempfile::tempdir()?);
    let local = format!("local:{}", folder.path().join("locks.db").display());
    let stores = [
        ("memcached", memcached.url()),
        ("Redis", redis.url()),
        ("etcd", etcd.url()),
        ("PostgreSQL", postgres.url()),
        ("local", local),
    ];
    failover(results, effort, &stores)?;
    dead_waiters(results, effort, &stores)
}

fn failover(results: &mut Results, effort: Effort, stores: &[(&str, String)]) -> Result<()> {
    let (kvlock, kills) = (kvlock_binary()?, if effort.quick { 2 } else { KILLS });
    let group = results.group(
        "Failover",
        "`kvlock run leader --lease 3s` leads, another waits. The leader is killed (`kill -9`), each time at another moment \
         between two renewals. Measured is the time until the other one's command has started; the slowest counts.",
    );
    for (name, url) in stores {
        // The first contact with a young server takes a while.
        drop(Candidate::start(&kvlock, url)?.leads()?);
        std::thread::sleep(LEASE);
        let mut leader = Candidate::start(&kvlock, url)?.leads()?;
        let mut took = Vec::new();
        for kill in 0..kills {
            let standby = Candidate::start(&kvlock, url)?;
            std::thread::sleep(LEASE / 2 + LEASE / 3 * kill / kills);
            leader.0.kill()?;
            let killed = Instant::now();
            leader = standby.leads()?;
            took.push(killed.elapsed().as_secs_f64());
        }
        let slowest = took.iter().copied().fold(0.0, f64::max);
        group.add(Figure::new(format!("{name}: usual"), Spread::of(&took), "s"));
        group.add(
            Figure::new(format!("{name}: slowest"), Spread::exactly(slowest), "s")
                .goal(Goal::AtMost(LEASE.as_secs_f64() + SLACK)),
        );
    }
    Ok(())
}

/// A `kvlock run` that wants to lead. It is killed with this value, and its command with it.
struct Candidate(Child);

impl Candidate {
    fn start(kvlock: &Path, url: &str) -> Result<Candidate> {
        let mut command = Command::new(kvlock);
        command.args(["--store", url, "--quarantine", "0", "run", "leader", "--lease"]);
        command.arg(format!("{}s", LEASE.as_secs())).args(["--", "/bin/sh", "-c", "echo; exec /bin/sleep 600"]);
        Ok(Candidate(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?))
    }

    /// Waits until it leads.
    fn leads(mut self) -> Result<Candidate> {
        let mut line = String::new();
        let stdout = self.0.stdout.as_mut().context("its stdout is a pipe")?;
        ensure!(BufReader::new(stdout).read_line(&mut line)? > 0, "it ended before it led");
        Ok(self)
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn dead_waiters(results: &mut Results, effort: Effort, stores: &[(&str, String)]) -> Result<()> {
    let group = results.group(
        "Dead waiters",
        "Thirty waiters stand in line and never try again, as if they had been killed. Behind them waits one that lives. \
         Measured is the time from the release until it has the lock.",
    );
    for (name, url) in stores {
        let dead = (0..DEAD).map(|_| session(url)).collect::<Result<Vec<_>>>()?;
        let (holder, living) = (session(url)?, session(url)?);
        let mut took = Vec::new();
        for round in 0..effort.rounds(ROUNDS) {
            took.push(hand_over(&format!("k{round}"), &holder, &dead, &living)?);
        }
        group.add(
            Figure::new(format!("{name}: hand-over behind thirty dead waiters"), Spread::of(&took).scaled(1e3), "ms")
                .goal(Goal::AtMost(100.0)),
        );
    }
    Ok(())
}

/// Returns a session of a client of its own: it stands in line as another process would.
fn session(url: &str) -> Result<Session> {
    Ok(Client::connect(url)?.session().quarantine(Duration::ZERO).open()?)
}

fn hand_over(key: &str, holder: &Session, dead: &[Session], living: &Session) -> Result<f64> {
    let held = holder.lock(key).acquire()?;
    for (before, session) in dead.iter().enumerate() {
        let mut wait = session.lock(key).begin()?;
        while holder.status(key)?.waiters <= before as u32 {
            let AcquirePoll::Pending { .. } = wait.poll()? else { anyhow::bail!("a lock that is held is granted") };
        }
        // To drop it would take it out of the line.
        std::mem::forget(wait);
    }
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| -> Result<Instant> {
            let grant = living.lock(key).acquire()?;
            let granted = Instant::now();
            grant.release()?;
            Ok(granted)
        });
        while holder.status(key)?.waiters <= dead.len() as u32 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // It is not asked to come at once.
        std::thread::sleep(Duration::from_millis(100));
        let released = Instant::now();
        held.release()?;
        let granted = waits.join().map_err(|_| anyhow::anyhow!("the waiter panicked"))??;
        Ok(granted.saturating_duration_since(released).as_secs_f64())
    })
}
