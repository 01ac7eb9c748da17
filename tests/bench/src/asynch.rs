//! Tasks on tokio, beside the blocking API on threads and beside rslock on Redis.

use std::fs;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kvlock::Client;
use kvlock::asynch;
use kvlock_testkit::{MemcachedServer, RedisServer};
use rslock::LockManager;
use tokio::runtime::{Builder, Runtime};

use crate::Effort;
use crate::results::{Figure, Goal, Group, Results, Spread};
use crate::rivals::{LEASE, Redlock};
use crate::servers;
use crate::turns::{Contender, take_turns};

const ROUNDS: usize = 200;
const PAIRS: usize = 100;
/// Of the parts in which tasks run for a while.
const LONG_ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const TASKS: usize = 1000;
const THREADS: usize = 16;
const CROWD: usize = 64;
const WAITING: (usize, usize) = (10_000, 100);
/// How long the waiters' store operations are counted.
const COUNTED: Duration = Duration::from_secs(5);

pub(crate) fn measure(results: &mut Results, effort: Effort) -> Result<()> {
    let (server, redis) = (servers::memcached(), RedisServer::start());
    let group = results.group(
        "Async tasks",
        "Tasks of tokio through `kvlock::asynch`, beside the blocking API on threads and rslock on Redis, all on the same \
         cores. One task acquires and releases one key. A thousand tasks have a key each. Sixty-four tasks want one key, \
         and hold it for 1 ms. Ten thousand tasks wait for a hundred keys that are held.",
    );
    one_task(group, effort, &server, &redis)?;
    many_keys(group, effort, &server, &redis)?;
    one_key(group, effort, &server)?;
    waiting(group, &server)
}

fn tasks(server: &MemcachedServer) -> Result<asynch::Client> {
    let client = asynch::Client::connect(&server.url())?;
    Ok(client.session().quarantine(Duration::ZERO).for_each_acquire())
}

fn threads(server: &MemcachedServer) -> Result<Client> {
    Ok(Client::connect(&server.url())?)
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

fn one_task(group: &mut Group, effort: Effort, server: &MemcachedServer, redis: &RedisServer) -> Result<()> {
    let session = threads(server)?.session().quarantine(Duration::ZERO).open()?;
    let client = tasks(server)?;
    let alone = Builder::new_current_thread().enable_all().build()?;
    let rslock = Redlock::connect(redis.port(), Builder::new_current_thread())?;
    let contenders = &mut [
        Contender::new("blocking", |times| {
            (0..times).try_for_each(|_| {
                session.lock("k").acquire()?.release()?;
                Ok(())
            })
        }),
        Contender::new("one task", |times| {
            alone.block_on(async {
                for _ in 0..times {
                    client.lock("t").acquire().await?.release().await?;
                }
                Ok(())
            })
        }),
        Contender::new("rslock", |times| rslock.pairs(times)),
    ];
    let samples = take_turns(contenders, effort.rounds(ROUNDS), PAIRS)?;
    let [blocking, task, rslock] = samples.as_slice() else { anyhow::bail!("three contenders") };
    let figure = |name: &str, samples: &[f64]| Figure::new(name, Spread::of(samples).scaled(1e6), "µs");
    group.add(figure("acquire + release, blocking", blocking));
    let ratio = Spread::of_ratios(task, blocking);
    group.add(figure("acquire + release, one task", task).against("blocking", ratio).goal(Goal::AtMost(1.5)));
    group.add(figure("acquire + release, rslock on Redis", rslock));
    Ok(())
}

/// Lets tasks work until the time is over; the times that each has done its work.
fn work<F: Future<Output = Result<()>> + Send + 'static>(
    runtime: &Runtime,
    tasks: usize,
    length: Duration,
    once: impl Fn(usize) -> F + Clone + Send + Sync + 'static,
) -> Result<Vec<u64>> {
    let end = Instant::now() + length;
    let task = |number: usize| {
        let once = once.clone();
        runtime.spawn(async move {
            let mut times = 0;
            while Instant::now() < end {
                once(number).await?;
                times += 1;
            }
            anyhow::Ok(times)
        })
    };
    let tasks: Vec<_> = (0..tasks).map(task).collect();
    tasks.into_iter().map(|task| runtime.block_on(task).context("a task panicked")?).collect()
}

fn per_second(times: &[u64], began: Instant) -> f64 {
    times.iter().sum::<u64>() as f64 / began.elapsed().as_secs_f64()
}

fn many_keys(group: &mut Group, effort: Effort, server: &MemcachedServer, redis: &RedisServer) -> Result<()> {
    let runtime = runtime()?;
    let (client, blocking) = (tasks(server)?, threads(server)?);
    let manager = LockManager::new(vec![format!("redis://127.0.0.1:{}", redis.port())]);
    let (mut ours, mut theirs, mut of_threads) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=effort.rounds(LONG_ROUNDS) {
        let (length, began) = (effort.length(ROUND), Instant::now());
        let client = client.clone();
        let times = work(&runtime, TASKS, length, move |number| {
            let lock = client.lock(format!("many-{number}"));
            async move {
                lock.acquire().await?.release().await?;
                Ok(())
            }
        })?;
        let of_ours = per_second(&times, began);
        let began = Instant::now();
        let manager = manager.clone();
        let times = work(&runtime, TASKS, length, move |number| {
            let (manager, key) = (manager.clone(), format!("many-{number}"));
            async move {
                let lock = manager.lock(key.as_str(), LEASE).await?;
                manager.unlock(&lock).await;
                Ok(())
            }
        })?;
        let of_theirs = per_second(&times, began);
        let blocked = blocking_threads(&blocking, length)?;
        // The first round makes the instances and the connections.
        if round > 0 {
            ours.push(of_ours);
            theirs.push(of_theirs);
            of_threads.push(blocked);
        }
    }
    let figure = |name: String, samples: &[f64]| Figure::new(name, Spread::of(samples), "pairs/s");
    group.add(figure(format!("{TASKS} tasks, a key each, rslock on Redis"), &theirs));
    group.add(figure(format!("{THREADS} threads, a key each, blocking"), &of_threads));
    let ratio = Spread::of_ratios(&ours, &theirs);
    let ours_and = |what: &str| format!("{TASKS} tasks, a key each, against {what}");
    group.add(figure(ours_and("rslock"), &ours).against("rslock", ratio).goal(Goal::AtLeast(1.0)));
    let ratio = Spread::of_ratios(&ours, &of_threads);
    group.add(figure(ours_and("threads"), &ours).against("threads", ratio).goal(Goal::AtLeast(2.0)));
    Ok(())
}

fn blocking_threads(client: &Client, length: Duration) -> Result<f64> {
    let (end, began, sum) = (Instant::now() + length, Instant::now(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let thread = |number: usize| {
            let sum = &sum;
            scope.spawn(move || {
                let session = client.session().quarantine(Duration::ZERO).open()?;
                let lock = session.lock(format!("thread-{number}"));
                while Instant::now() < end {
                    lock.acquire()?.release()?;
                    sum.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        };
        let threads: Vec<_> = (0..THREADS).map(thread).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(ended) => ended,
            Err(_) => anyhow::bail!("a thread panicked"),
        })
    })?;
    Ok(per_second(&[sum.into_inner()], began))
}

fn one_key(group: &mut Group, effort: Effort, server: &MemcachedServer) -> Result<()> {
    let runtime = runtime()?;
    let (mut alone, mut crowd, mut fairness) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds(LONG_ROUNDS) {
        for (tasks_of, samples) in [(1, &mut alone), (CROWD, &mut crowd)] {
            let (client, began) = (tasks(server)?, Instant::now());
            let times = work(&runtime, tasks_of, effort.length(ROUND), move |_| {
                let lock = client.lock("one");
                async move {
                    let grant = lock.acquire().await?;
                    // As the others: a sleep of the runtime takes a millisecond more.
                    let end = Instant::now() + Duration::from_millis(1);
                    while Instant::now() < end {
                        tokio::task::yield_now().await;
                    }
                    grant.release().await?;
                    Ok(())
                }
            })?;
            samples.push(per_second(&times, began));
            if tasks_of > 1 {
                let (least, most) = (times.iter().min(), times.iter().max());
                let share = least.zip(most).map(|(least, most)| *least as f64 / (*most).max(1) as f64);
                fairness.push(share.unwrap_or_default());
            }
        }
    }
    group.add(Figure::new("one task, 1 ms inside", Spread::of(&alone), "grants/s"));
    let ratio = Spread::of_ratios(&crowd, &alone);
    let name = format!("{CROWD} tasks, one key, 1 ms inside");
    group.add(Figure::new(&name, Spread::of(&crowd), "grants/s").against("alone", ratio).goal(Goal::AtLeast(0.9)));
    group.add(Figure::new(format!("{name}: fairness"), Spread::of(&fairness), "min/max").goal(Goal::AtLeast(0.5)));
    Ok(())
}

fn waiting(group: &mut Group, server: &MemcachedServer) -> Result<()> {
    let (count, keys) = WAITING;
    let runtime = runtime()?;
    let holder = threads(server)?.session().quarantine(Duration::ZERO).open()?;
    let held = (0..keys).map(|key| Ok(holder.lock(format!("wait-{key}")).lease(Duration::from_secs(600)).acquire()?));
    let held: Vec<_> = held.collect::<Result<_>>()?;
    let client = tasks(server)?;
    runtime.block_on(async { anyhow::Ok(client.lock("warm").acquire().await?.release().await?) })?;
    let before = memory()?;
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            let lock = client.lock(format!("wait-{}", number % keys));
            runtime.spawn(async move { lock.acquire().await.map(drop) })
        })
        .collect();
    std::thread::sleep(COUNTED);
    let each = (memory()? - before) / count as f64;
    let (began, operations) = (Instant::now(), operations(server));
    std::thread::sleep(COUNTED);
    let a_second = (self::operations(server) - operations) as f64 / began.elapsed().as_secs_f64() / keys as f64;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    drop(held);
    let figure =
        Figure::new(format!("{count} tasks wait for {keys} keys: memory"), Spread::exactly(each), "KiB a task");
    group.add(figure.goal(Goal::AtMost(8.0)));
    group.add(Figure::new("the same: store operations", Spread::exactly(a_second), "a second and key"));
    Ok(())
}

/// What this process has in memory, in KiB.
fn memory() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB"));
    let kilobytes = |text: &str| text.trim().parse::<f64>().ok();
    let kept = field("VmRSS:").and_then(kilobytes).zip(field("VmPTE:").and_then(kilobytes));
    kept.map(|(resident, tables)| resident + tables).context("no memory in /proc/self/status")
}

/// How many commands the server has had.
fn operations(server: &MemcachedServer) -> u64 {
    ["cmd_get", "cmd_set", "delete_hits", "delete_misses"].iter().map(|name| server.stat(name)).sum()
}
