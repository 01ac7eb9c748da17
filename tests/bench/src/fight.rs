//! A fight for one key: processes and threads that acquire, stay inside for a while, release, and at once again.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kvlock::clock::{BootClock, Clock};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::rivals::{Camp, Rival};

/// How long the lock is held each time.
const INSIDE: Duration = Duration::from_millis(1);
/// Time for all processes to start.
const HEAD_START: Duration = Duration::from_millis(300);

/// One process of it.
#[derive(clap::Args)]
pub(crate) struct Contend {
    #[command(subcommand)]
    rival: Rival,
    #[arg(long)]
    threads: usize,
    /// When to begin, in nanoseconds of the clock that all processes share.
    #[arg(long)]
    start: u64,
    #[arg(long)]
    millis: u64,
}

/// What one process did.
#[derive(Serialize, Deserialize)]
pub(crate) struct Fought {
    /// Of each thread: when the lock was granted and when it was given back.
    holds: Vec<Vec<(u64, u64)>>,
    operations: u64,
    cpu_seconds: f64,
}

impl Contend {
    pub(crate) fn run(&self) -> Result<()> {
        let camp = self.rival.camp()?;
        let start = Duration::from_nanos(self.start);
        let end = start + Duration::from_millis(self.millis);
        BootClock.sleep(start.saturating_sub(BootClock.now()));
        let before = cpu_seconds();
        let holds = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(|| contend(&camp, end))).collect();
            let join = |thread: std::thread::ScopedJoinHandle<_>| thread.join().expect("no thread panics");
            threads.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?;
        let fought = Fought { holds, operations: camp.operations(), cpu_seconds: cpu_seconds() - before };
        println!("{}", serde_json::to_string(&fought)?);
        Ok(())
    }
}

/// One thread.
fn contend(camp: &Camp, end: Duration) -> Result<Vec<(u64, u64)>> {
    let mut fighter = camp.fighter()?;
    let now = || BootClock.now();
    let mut holds = Vec::new();
    loop {
        let left = end.saturating_sub(now());
        let mut inside = || {
            let granted = now();
            std::thread::sleep(INSIDE);
            // Some locks cannot be waited for until the end and no longer.
            if granted < end {
                holds.push((granted.as_nanos() as u64, now().as_nanos() as u64));
            }
        };
        if left.is_zero() || !fighter.hold(left, &mut inside)? {
            return Ok(holds);
        }
    }
}

/// The processor time that this process has taken.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// So many processes fight, each with so many threads.
pub(crate) fn fight(rival: &Rival, processes: usize, threads: usize, length: Duration) -> Result<Fight> {
    let start = BootClock.now() + HEAD_START;
    let spawn = |_| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["contend", "--threads", &threads.to_string(), "--start", &start.as_nanos().to_string()]);
        command.args(["--millis", &length.as_millis().to_string()]).args(rival.arguments());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start a process to contend")
    };
    let children = (0..processes).map(spawn).collect::<Result<Vec<Child>>>()?;
    let outputs = children.into_iter().map(|child| {
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "a process that contends failed");
        Ok(serde_json::from_slice(&output.stdout)?)
    });
    Ok(Fight { length, fought: outputs.collect::<Result<_>>()? })
}

/// What all of them did.
pub(crate) struct Fight {
    length: Duration,
    fought: Vec<Fought>,
}

impl Fight {
    /// Of each thread of each process, the unluckiest first.
    pub(crate) fn grants(&self) -> Vec<u64> {
        let threads = self.fought.iter().flat_map(|fought| &fought.holds);
        let mut grants: Vec<u64> = threads.map(|holds| holds.len() as u64).collect();
        grants.sort_unstable();
        grants
    }

    /// Grants in a second.
    pub(crate) fn throughput(&self) -> f64 {
        self.all_grants() / self.length.as_secs_f64()
    }

    /// Returns what the unluckiest got of what the luckiest got (min/max).
    pub(crate) fn fairness(&self) -> f64 {
        let grants = self.grants();
        grants[0] as f64 / grants[grants.len() - 1].max(1) as f64
    }

    pub(crate) fn operations(&self) -> f64 {
        self.fought.iter().map(|fought| fought.operations).sum::<u64>() as f64
    }

    pub(crate) fn operations_each(&self) -> f64 {
        self.operations() / self.all_grants()
    }

    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.fought.iter().map(|fought| fought.cpu_seconds).sum()
    }

    /// The milliseconds from each release to the next grant, where that was somebody else's. What the same one takes
    /// again is no hand-over.
    pub(crate) fn latencies(&self) -> Result<Vec<f64>> {
        let threads = self.fought.iter().flat_map(|fought| &fought.holds).enumerate();
        let holds =
            threads.flat_map(|(who, holds)| holds.iter().map(move |(granted, released)| (granted, released, who)));
        let mut holds: Vec<_> = holds.collect();
        holds.sort_unstable();
        let mut latencies = Vec::new();
        for pair in holds.windows(2) {
            let ((_, released, last), (granted, _, next)) = (pair[0], pair[1]);
            let gap = granted.checked_sub(*released).context("two held the lock at once")?;
            if last != next {
                latencies.push(gap as f64 / 1e6);
            }
        }
        Ok(latencies)
    }

    /// The part of all grants that went to another than the last holder, in per cent.
    pub(crate) fn changes(&self) -> Result<f64> {
        Ok(100.0 * self.latencies()?.len() as f64 / self.all_grants())
    }

    fn all_grants(&self) -> f64 {
        self.grants().iter().sum::<u64>() as f64
    }
}
