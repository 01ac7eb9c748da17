//! Many waiters, many keys.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kvlock::{Acquisition, Client, Poll, Session};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Effort;
use crate::report::{Figure, Goal, Report};
use crate::spread::Spread;
use crate::stores::{Counted, Table};

const GROUP: &str = "scale";
const SESSIONS: usize = 10_000;
const KEYS: usize = 100;
/// How many keys are held while one more is acquired and released.
const HELD: [usize; 4] = [1, 1_000, 100_000, 1_000_000];
const PAIRS: u32 = 20_000;

/// Sessions that wait for keys that somebody else holds.
#[derive(clap::Args)]
pub(crate) struct Wait {
    #[arg(long)]
    sessions: usize,
    #[arg(long)]
    keys: usize,
}

#[derive(Serialize, Deserialize)]
struct Waited {
    bytes_per_session: f64,
    operations_per_second: f64,
}

impl Wait {
    pub(crate) fn run(&self) -> Result<()> {
        let store = Counted::new(Table::default());
        let client = Client::with_store(store.clone());
        let open = || client.session().quarantine(Duration::ZERO).open();
        let key = |n: usize| format!("key-{}", n % self.keys);
        let holder = open()?;
        let grants = (0..self.keys).map(|n| holder.lock(key(n)).acquire()).collect::<Result<Vec<_>, _>>()?;
        let before = memory()?;
        let mut waiting = Vec::with_capacity(self.sessions);
        for n in 0..self.sessions {
            let session = open().with_context(|| format!("session {n}"))?;
            let acquisition = session.lock(key(n)).begin()?;
            waiting.push((session, acquisition));
        }
        poll_all(&mut waiting, Duration::from_secs(2))?;
        let bytes_per_session = (memory()? - before) / self.sessions as f64;
        // By now pauses have grown to their full length.
        let (started, operations) = (Instant::now(), store.operations());
        poll_all(&mut waiting, Duration::from_secs(3))?;
        let operations = store.operations() - operations;
        let operations_per_second = operations as f64 / started.elapsed().as_secs_f64();
        println!("{}", serde_json::to_string(&Waited { bytes_per_session, operations_per_second })?);
        grants.into_iter().for_each(kvlock::Grant::forget);
        // Thousands of instances take their time to go, one by one.
        std::process::exit(0)
    }
}

/// What an event loop does: polls each wait when its pause is over.
fn poll_all(waiting: &mut [(Session, Acquisition)], length: Duration) -> Result<()> {
    let started = Instant::now();
    let mut due: BinaryHeap<_> = (0..waiting.len()).map(|n| Reverse((Duration::ZERO, n))).collect();
    while started.elapsed() < length {
        let Some(Reverse((at, n))) = due.pop() else { return Ok(()) };
        std::thread::sleep(at.saturating_sub(started.elapsed()));
        match waiting[n].1.poll()? {
            Poll::Pending { pause, .. } => due.push(Reverse((started.elapsed() + pause, n))),
            Poll::Ready(_) => ensure!(false, "the key is held by somebody else"),
        }
    }
    Ok(())
}

/// Bytes of memory that this process has, the kernel's page tables for it included.
fn memory() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok())
    };
    let kilobytes = field("VmRSS:").zip(field("VmPTE:")).context("no memory in /proc/self/status")?;
    Ok((kilobytes.0 + kilobytes.1) * 1024.0)
}

/// Keys that one session holds, and what one more costs.
#[derive(clap::Args)]
pub(crate) struct Hold {
    #[arg(long)]
    keys: usize,
}

impl Hold {
    pub(crate) fn run(&self) -> Result<()> {
        let session = Client::with_store(Table::default()).session().quarantine(Duration::ZERO).open()?;
        for n in 0..self.keys {
            session.lock(format!("key-{n}")).acquire().with_context(|| format!("key {n}"))?.forget();
        }
        let mut samples = Vec::new();
        for _ in 0..10 {
            let started = Instant::now();
            for n in 0..PAIRS / 10 {
                session.lock(format!("other-{n}")).acquire()?.release()?;
            }
            samples.push(started.elapsed().as_secs_f64() / f64::from(PAIRS / 10));
        }
        println!("{}", serde_json::to_string(&Spread::of(&samples))?);
        Ok(())
    }
}

pub(crate) fn measure(report: &mut Report, effort: Effort) -> Result<()> {
    let sessions = if effort.quick { SESSIONS / 10 } else { SESSIONS };
    let waited = part::<Waited>(&["wait", &format!("--sessions={sessions}"), &format!("--keys={KEYS}")]);
    match waited {
        Ok(waited) => {
            let figure = |name: &str, value, unit: &str| {
                Figure::new(
                    GROUP,
                    format!("{sessions} sessions wait for {KEYS} keys: {name}"),
                    Spread::exactly(value),
                    unit,
                )
            };
            report.add(figure("each", waited.bytes_per_session / 1024.0, "KB").goal(Goal::AtMost(8.0)));
            let keys = KEYS as f64;
            report.add(
                figure("operations", waited.operations_per_second, "operations/s").goal(Goal::AtMost(keys * 100.0)),
            );
        }
        // A limit that is found is a result.
        Err(error) => eprintln!("scale: {sessions} sessions cannot wait: {error:#}"),
    }
    let mut first = None;
    for keys in HELD {
        match part::<Spread>(&["hold", &format!("--keys={keys}")]) {
            Ok(spread) => {
                let figure =
                    Figure::new(GROUP, format!("acquire + release, {keys} other keys held"), spread.scaled(1e6), "µs");
                let first: Spread = *first.get_or_insert(spread);
                let ratio = Spread::exactly(spread.median / first.median);
                report.add(figure.against("one key held", ratio).goal(Goal::AtMost(2.0)));
            }
            Err(error) => eprintln!("scale: {keys} keys cannot be held: {error:#}"),
        }
    }
    Ok(())
}

/// Runs a part of the benchmark in a process of its own.
fn part<T: DeserializeOwned>(arguments: &[&str]) -> Result<T> {
    let output = Command::new(std::env::current_exe()?).args(arguments).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(serde_json::from_slice(&output.stdout)?)
}
