//! Processes and threads that fight for one key: how fast it changes hands, and how justly; and what it costs to wait.

use std::time::Duration;

use anyhow::Result;
use kvlock::Client;
use kvlock_testkit::{MemcachedServer, RedisServer};

use crate::Effort;
use crate::fight::{Fight, fight};
use crate::results::{Figure, Goal, Group, HandOvers, Results, Spread, quantile};
use crate::rivals::Rival;
use crate::servers;

const ROUNDS: usize = 5;
/// How long each round lasts.
const ROUND: Duration = Duration::from_secs(2);
/// How long those wait who only wait.
const WAIT: Duration = Duration::from_secs(5);
/// The curve of the hand-overs has so many points.
const POINTS: usize = 200;

/// Who fights, and what came of it round by round.
struct Scene<'a> {
    name: &'static str,
    /// The name in the plot of who is drawn there.
    drawn: Option<&'static str>,
    rival: &'a Rival,
    processes: usize,
    threads: usize,
    fights: Vec<Fight>,
}

impl<'a> Scene<'a> {
    fn new(name: &'static str, rival: &'a Rival, processes: usize, threads: usize) -> Self {
        Scene { name, drawn: None, rival, processes, threads, fights: Vec::new() }
    }

    fn drawn_as(self, name: &'static str) -> Self {
        Scene { drawn: Some(name), ..self }
    }

    fn each(&self, what: impl Fn(&Fight) -> f64) -> Vec<f64> {
        self.fights.iter().map(what).collect()
    }
}

pub(crate) fn measure(results: &mut Results, effort: Effort) -> Result<()> {
    let (server, redis, folder) = (servers::memcached(), RedisServer::start(), tempfile::tempdir()?);
    let kvlock = Rival::Kvlock { url: server.url() };
    let rslock = Rival::Rslock { port: redis.port() };
    let flock = Rival::Flock { file: folder.path().join("lock") };
    let mut alone = Scene::new("one process alone", &kvlock, 1, 1);
    let mut scenes = [
        Scene::new("8 processes", &kvlock, 8, 1).drawn_as("kvlock"),
        Scene::new("one process of 8 threads", &kvlock, 1, 8),
        Scene::new("2 processes of 4 threads", &kvlock, 2, 4),
        Scene::new("rslock on Redis, 8 processes", &rslock, 8, 1).drawn_as("rslock on Redis"),
        Scene::new("flock(2), 8 processes", &flock, 8, 1).drawn_as("flock(2)"),
    ];
    // The first contact with a young server takes a second.
    fight(&kvlock, 1, 1, Duration::from_millis(10))?;
    for _ in 0..effort.rounds(ROUNDS) {
        for scene in [&mut alone].into_iter().chain(&mut scenes) {
            scene.fights.push(fight(scene.rival, scene.processes, scene.threads, effort.length(ROUND))?);
        }
    }
    let group = results.group(
        "Contended hand-over",
        "All want one key, hold it for 1 ms, release it, and want it again. Throughput is compared with that of one \
         process alone. Fairness is the smallest share of the grants, divided by the largest (min/max). Latency is the \
         time from a release to the next grant, if that goes to another holder.",
    );
    let throughput = alone.each(Fight::throughput);
    group.add(Figure::new(alone.name, Spread::of(&throughput), "grants/s"));
    for scene in &scenes {
        judge(group, scene, &throughput)?;
    }
    waiting(group, &server)?;
    let drawn = scenes.iter().filter_map(|scene| Some(curve(scene.drawn?, &scene.fights)));
    results.hand_overs = drawn.collect::<Result<_>>()?;
    Ok(())
}

/// Eight processes on one store, against one alone.
pub(crate) fn between_processes(results: &mut Results, effort: Effort, engine: &str, url: String) -> Result<()> {
    let kvlock = Rival::Kvlock { url };
    let mut alone = Scene::new("one process alone", &kvlock, 1, 1);
    let mut crowd = Scene::new("8 processes", &kvlock, 8, 1);
    fight(&kvlock, 1, 1, Duration::from_millis(10))?;
    for _ in 0..effort.rounds(ROUNDS) {
        for scene in [&mut alone, &mut crowd] {
            scene.fights.push(fight(scene.rival, scene.processes, scene.threads, effort.length(ROUND))?);
        }
    }
    let group = results.group(
        &format!("Contended hand-over, on {engine}"),
        "Eight processes want one key and hold it for 1 ms, as above. The server tells the next one of a release.",
    );
    let throughput = alone.each(Fight::throughput);
    group.add(Figure::new(alone.name, Spread::of(&throughput), "grants/s"));
    judge(group, &crowd, &throughput)
}

/// The figures of one scene; goals are for us.
fn judge(group: &mut Group, scene: &Scene, alone: &[f64]) -> Result<()> {
    let is_ours = matches!(scene.rival, Rival::Kvlock { .. });
    let figure = |what: &str, value, unit: &str| Figure::new(format!("{}: {what}", scene.name), value, unit);
    let goal = |figure: Figure, goal| if is_ours { figure.goal(goal) } else { figure };
    let throughput = scene.each(Fight::throughput);
    let against_alone = Spread::of_ratios(&throughput, alone);
    let throughput = figure("throughput", Spread::of(&throughput), "grants/s").against("alone", against_alone);
    group.add(goal(throughput, Goal::AtLeast(0.9)));
    let fairness = figure("fairness", Spread::of(&scene.each(Fight::fairness)), "min/max");
    group.add(goal(fairness, Goal::AtLeast(0.5)));
    if is_ours {
        let operations = Spread::of(&scene.each(Fight::operations_each));
        group.add(figure("store operations", operations, "a grant").goal(Goal::AtMost(10.0)));
    }
    let changes = scene.fights.iter().map(Fight::changes).collect::<Result<Vec<_>>>()?;
    group.add(figure("grants to another than the last holder", Spread::of(&changes), "%"));
    let latencies = latencies(&scene.fights)?;
    if !latencies.is_empty() {
        group.add(figure("latency", Spread::of(&latencies), "ms"));
        let worst = Spread::exactly(quantile(&latencies, 0.999));
        group.add(figure("latency, 99.9 % within", worst, "ms").aside());
    }
    Ok(())
}

/// Sorted.
fn latencies(fights: &[Fight]) -> Result<Vec<f64>> {
    let latencies = fights.iter().map(Fight::latencies).collect::<Result<Vec<_>>>()?;
    let mut latencies = latencies.concat();
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

/// What the plot shows of it.
fn curve(who: &str, fights: &[Fight]) -> Result<HandOvers> {
    let sorted = latencies(fights)?;
    // To the nanosecond; an empty curve has no points.
    let point = |n| (quantile(&sorted, n as f64 / POINTS as f64) * 1e6).round() / 1e6;
    let points = (0..=POINTS).filter(|_| !sorted.is_empty()).map(point);
    let mut grants: Vec<u64> = Vec::new();
    for fight in fights {
        let of_round = fight.grants();
        grants.resize(of_round.len(), 0);
        grants.iter_mut().zip(of_round).for_each(|(sum, share)| *sum += share);
    }
    Ok(HandOvers { who: who.into(), latencies: points.collect(), grants })
}

/// What it costs to wait for a lock that somebody else holds all the time.
fn waiting(group: &mut Group, server: &MemcachedServer) -> Result<()> {
    let kvlock = Rival::Kvlock { url: server.url() };
    let session = Client::connect(&server.url())?.session().quarantine(Duration::ZERO).open()?;
    let held = session.lock("k").acquire()?;
    for (name, processes, threads) in [("8 processes", 8, 1), ("8 threads of one process", 1, 8)] {
        let waited = fight(&kvlock, processes, threads, WAIT)?;
        let mut add = |what: &str, sum: f64, unit: &str| {
            let value = Spread::exactly(sum / WAIT.as_secs_f64());
            group.add(Figure::new(format!("{name} wait for a held lock: {what}"), value, unit));
        };
        add("store operations of all", waited.operations(), "a second");
        add("processor time of all", waited.cpu_seconds() * 1e3, "ms a second");
    }
    held.release()?;
    Ok(())
}
