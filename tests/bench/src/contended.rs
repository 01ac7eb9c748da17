//! Processes that fight for one key: how fast it changes hands, and how justly.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kvlock::clock::{BootClock, Clock};
use kvlock::store::Memcached;
use kvlock::{AcquireError, Client};
use serde::{Deserialize, Serialize};

use crate::Effort;
use crate::report::{Figure, Goal, Report};
use crate::servers;
use crate::spread::{Spread, quantile};
use crate::stores::Counted;

const GROUP: &str = "contended hand-over";
const PROCESSES: usize = 8;
const ROUNDS: usize = 5;
/// How long each round lasts, alone and together.
const ROUND: Duration = Duration::from_secs(2);
/// How long the lock is held each time.
const INSIDE: Duration = Duration::from_millis(1);
/// The curve of the hand-overs has so many points.
const POINTS: usize = 500;
/// Time for all processes to start.
const HEAD_START: Duration = Duration::from_millis(300);

/// Acquires, sleeps, releases, and at once again.
#[derive(clap::Args)]
pub(crate) struct Contend {
    /// `host:port`.
    #[arg(long)]
    server: String,
    /// When to begin, in nanoseconds of the clock that all processes share.
    #[arg(long)]
    start: u64,
    #[arg(long)]
    millis: u64,
}

/// What one process did.
#[derive(Serialize, Deserialize)]
struct Fought {
    /// When the lock was granted and when it was given back.
    holds: Vec<(u64, u64)>,
    operations: u64,
}

/// What the plot shows.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct HandOvers {
    /// From the release to the next grant, in milliseconds, sorted; as many of them as a curve needs.
    pub(crate) latencies: Vec<f64>,
    /// Grants of each process, sorted.
    pub(crate) grants: Vec<u64>,
}

impl Contend {
    pub(crate) fn run(&self) -> Result<()> {
        let store = Counted::new(Memcached::connect(&self.server)?);
        let session = Client::with_store(store.clone()).session().quarantine(Duration::ZERO).open()?;
        let clock = BootClock;
        let start = Duration::from_nanos(self.start);
        clock.sleep(start.saturating_sub(clock.now()));
        let end = start + Duration::from_millis(self.millis);
        let mut holds = Vec::new();
        loop {
            let left = end.saturating_sub(clock.now());
            if left.is_zero() {
                break;
            }
            let grant = match session.lock("k").wait(left).acquire() {
                Ok(grant) => grant,
                Err(AcquireError::Busy { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            let granted = clock.now();
            clock.sleep(INSIDE);
            holds.push((granted.as_nanos() as u64, clock.now().as_nanos() as u64));
            grant.release()?;
        }
        println!("{}", serde_json::to_string(&Fought { holds, operations: store.operations() })?);
        Ok(())
    }
}

pub(crate) fn measure(report: &mut Report, effort: Effort) -> Result<()> {
    let server = servers::memcached();
    // The first contact with a young server takes a second.
    fight(&server.addr(), 1, Duration::from_millis(10))?;
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    let (mut justice, mut operations) = (Vec::new(), Vec::new());
    let mut hand_overs = HandOvers { grants: vec![0; PROCESSES], ..HandOvers::default() };
    for _ in 0..effort.rounds(ROUNDS) {
        let one = fight(&server.addr(), 1, ROUND)?;
        let all = fight(&server.addr(), PROCESSES, ROUND)?;
        alone.push(grants(&one) as f64 / ROUND.as_secs_f64());
        together.push(grants(&all) as f64 / ROUND.as_secs_f64());
        let mut shares: Vec<u64> = all.iter().map(|fought| fought.holds.len() as u64).collect();
        shares.sort_unstable();
        justice.push(shares[0] as f64 / shares[shares.len() - 1] as f64);
        operations.push(all.iter().map(|fought| fought.operations).sum::<u64>() as f64 / grants(&all) as f64);
        hand_overs.grants.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
        hand_overs.latencies.extend(latencies(&all)?);
    }
    hand_overs.latencies.sort_by(f64::total_cmp);
    let figure = |name: &str, samples: &[f64], unit: &str| Figure::new(GROUP, name, Spread::of(samples), unit);
    report.add(figure("one process alone, 1 ms inside", &alone, "grants/s"));
    report.add(
        figure("8 processes, 1 ms inside", &together, "grants/s")
            .against("alone", Spread::of_ratios(&together, &alone))
            .goal(Goal::AtLeast(0.9)),
    );
    report.add(figure("unluckiest to luckiest process", &justice, "of its share").goal(Goal::AtLeast(0.5)));
    report.add(figure("store operations a hand-over", &operations, "operations").goal(Goal::AtMost(10.0)));
    report.add(figure("from release to next grant", &hand_overs.latencies, "ms"));
    let worst = quantile(&hand_overs.latencies, 0.999);
    report.add(Figure::new(GROUP, "the same, 99.9 % within", Spread::exactly(worst), "ms"));
    let points = (0..=POINTS).map(|n| quantile(&hand_overs.latencies, n as f64 / POINTS as f64));
    report.hand_overs = Some(HandOvers { latencies: points.collect(), ..hand_overs });
    Ok(())
}

fn grants(fought: &[Fought]) -> usize {
    fought.iter().map(|fought| fought.holds.len()).sum()
}

fn fight(server: &str, processes: usize, length: Duration) -> Result<Vec<Fought>> {
    let start = BootClock.now() + HEAD_START;
    let spawn = |_| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["contend", "--server", server, "--start", &start.as_nanos().to_string()]);
        command.args(["--millis", &length.as_millis().to_string()]).stdout(Stdio::piped());
        command.spawn().context("cannot start a process to contend")
    };
    let children = (0..processes).map(spawn).collect::<Result<Vec<Child>>>()?;
    let outputs = children.into_iter().map(|child| {
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "a process that contends failed");
        Ok(serde_json::from_slice(&output.stdout)?)
    });
    outputs.collect()
}

/// The milliseconds between one hold and the next, whoever has it.
fn latencies(fought: &[Fought]) -> Result<Vec<f64>> {
    let mut holds: Vec<(u64, u64)> = fought.iter().flat_map(|fought| fought.holds.iter().copied()).collect();
    holds.sort_unstable();
    let pairs = holds.windows(2).map(|pair| {
        let ((_, released), (granted, _)) = (pair[0], pair[1]);
        let gap = granted.checked_sub(released).context("two processes held the lock at once")?;
        Ok(gap as f64 / 1e6)
    });
    pairs.collect()
}
