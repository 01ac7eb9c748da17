//! Many sessions of one process that wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kvlock::store::{KvStore, Memcached};
use kvlock::{AcquirePoll, Acquisition, Client, Lock};
use kvlock_tests::Table;
use serde::{Deserialize, Serialize};

use super::part;
use crate::Effort;
use crate::count::Count;
use crate::fight::cpu_seconds;
use crate::results::{Figure, Goal, Group, Spread, thousands};
use crate::servers;

const SESSIONS: usize = 10_000;
const KEYS: usize = 100;
const THREADS: usize = 64;
const KEYS_OF_THREADS: usize = 4;
/// Store operations a second that each key may cost.
const OPERATIONS: f64 = 100.0;
/// By then pauses have grown to their full length.
const SETTLING: Duration = Duration::from_secs(2);
const LENGTH: Duration = Duration::from_secs(3);

/// Sessions that wait for keys that somebody else holds.
#[derive(clap::Args)]
pub(crate) struct Wait {
    #[arg(long)]
    sessions: usize,
    #[arg(long)]
    keys: usize,
    /// Each blocks a thread; else one thread polls all.
    #[arg(long)]
    threads: bool,
    /// The `host:port` of a memcached; none for a table in memory.
    #[arg(long)]
    server: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Waited {
    bytes_per_session: f64,
    operations_per_second: f64,
    /// Of processor time.
    seconds_per_second: f64,
}

impl Wait {
    pub(crate) fn run(&self) -> Result<()> {
        let waited = match &self.server {
            None => self.wait(Table::default()),
            Some(server) => self.wait(Memcached::connect(server)?),
        };
        println!("{}", serde_json::to_string(&waited?)?);
        // Thousands of instances take their time to go, one by one, and nobody ends the threads.
        std::process::exit(0)
    }

    fn wait(&self, store: impl KvStore) -> Result<Waited> {
        let calls = Count::default();
        let client = Client::with_store(calls.of(store));
        let open = || client.session().quarantine(Duration::ZERO).open();
        let key = |n: usize| format!("key-{}", n % self.keys);
        let holder = open()?;
        for n in 0..self.keys {
            holder.lock(key(n)).acquire()?.forget();
        }
        let before = memory()?;
        let session = |n| Ok(open().with_context(|| format!("session {n}"))?.lock(key(n)));
        let locks = (0..self.sessions).map(session).collect::<Result<Vec<Lock>>>()?;
        let mut waiters = if self.threads { Waiters::block(locks) } else { Waiters::poll(&locks)? };
        waiters.go_on(SETTLING)?;
        let bytes_per_session = (memory()? - before) / self.sessions as f64;
        let (started, operations, cpu) = (Instant::now(), calls.operations(), cpu_seconds());
        waiters.go_on(LENGTH)?;
        let a_second = |sum: f64| sum / started.elapsed().as_secs_f64();
        Ok(Waited {
            bytes_per_session,
            operations_per_second: a_second((calls.operations() - operations) as f64),
            seconds_per_second: a_second(cpu_seconds() - cpu),
        })
    }
}

/// Those who wait.
enum Waiters {
    Polled(Vec<Acquisition>),
    /// In threads of their own, which tell if they do not wait any more.
    Blocked(mpsc::Receiver<()>),
}

impl Waiters {
    fn poll(locks: &[Lock]) -> Result<Waiters> {
        Ok(Waiters::Polled(locks.iter().map(Lock::begin).collect::<Result<_, _>>()?))
    }

    fn block(locks: Vec<Lock>) -> Waiters {
        let (ended, waiting) = mpsc::channel();
        for lock in locks {
            let ended = ended.clone();
            std::thread::spawn(move || {
                let _ = lock.acquire();
                // Nobody may listen any more.
                let _ = ended.send(());
            });
        }
        Waiters::Blocked(waiting)
    }

    fn go_on(&mut self, length: Duration) -> Result<()> {
        match self {
            Waiters::Polled(waiting) => poll_all(waiting, length),
            Waiters::Blocked(waiting) => match waiting.recv_timeout(length) {
                Err(mpsc::RecvTimeoutError::Timeout) => Ok(()),
                _ => bail!("the key is held by somebody else"),
            },
        }
    }
}

/// What an event loop does: polls each wait when its pause is over.
fn poll_all(waiting: &mut [Acquisition], length: Duration) -> Result<()> {
    let started = Instant::now();
    let mut due: BinaryHeap<_> = (0..waiting.len()).map(|n| Reverse((Duration::ZERO, n))).collect();
    while started.elapsed() < length {
        let Some(Reverse((at, n))) = due.pop() else { return Ok(()) };
        std::thread::sleep(at.saturating_sub(started.elapsed()));
        match waiting[n].poll()? {
            AcquirePoll::Pending { pause, .. } => due.push(Reverse((started.elapsed() + pause, n))),
            AcquirePoll::Ready(_) => ensure!(false, "the key is held by somebody else"),
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

pub(super) fn measure(group: &mut Group, effort: Effort) -> Result<()> {
    let many = if effort.quick { SESSIONS / 10 } else { SESSIONS };
    let few = many / 10;
    let few_waited = polled(few)?;
    let count = |sessions: usize| thousands(sessions as u64);
    let operations = |sessions: usize, waited: &Waited, keys: usize| {
        let value = Spread::exactly(waited.operations_per_second);
        Figure::new(format!("{} wait for {keys} keys: store operations", count(sessions)), value, "a second")
            .goal(Goal::AtMost(keys as f64 * OPERATIONS))
    };
    group.add(operations(few, &few_waited, KEYS));
    match polled(many) {
        Ok(waited) => {
            group.add(operations(many, &waited, KEYS));
            let ratio = Spread::exactly(waited.operations_per_second / few_waited.operations_per_second);
            let name = format!("{} waiters ask the store more often than {}", count(many), count(few));
            group.add(Figure::new(name, ratio, "times").goal(Goal::AtMost(1.5)));
            let kilobytes = Spread::exactly(waited.bytes_per_session / 1024.0);
            let name = format!("{} wait for {KEYS} keys: memory of each", count(many));
            group.add(Figure::new(name, kilobytes, "KB").goal(Goal::AtMost(8.0)));
        }
        // A limit that is found is a result.
        Err(error) => eprintln!("scale: {many} sessions cannot wait: {error:#}"),
    }
    let server = servers::memcached();
    for (place, server) in [("memory", None), ("memcached", Some(server.addr()))] {
        let waited = threads(server)?;
        let name = format!("{THREADS} threads wait for {KEYS_OF_THREADS} keys, {place}");
        let value = Spread::exactly(waited.operations_per_second);
        let goal = Goal::AtMost(KEYS_OF_THREADS as f64 * OPERATIONS);
        group.add(Figure::new(format!("{name}: store operations"), value, "a second").goal(goal));
        let value = Spread::exactly(waited.seconds_per_second * 1e3);
        group.add(Figure::new(format!("{name}: processor time"), value, "ms a second").aside());
    }
    Ok(())
}

fn polled(sessions: usize) -> Result<Waited> {
    part(&["wait".into(), format!("--sessions={sessions}"), format!("--keys={KEYS}")])
}

fn threads(server: Option<String>) -> Result<Waited> {
    let counts = [format!("--sessions={THREADS}"), format!("--keys={KEYS_OF_THREADS}"), "--threads".into()];
    let server = server.map(|server| format!("--server={server}"));
    part(&["wait".to_owned()].into_iter().chain(counts).chain(server).collect::<Vec<_>>())
}
