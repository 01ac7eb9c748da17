//! Loops of a shell that run a short command under a lock, again and again.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Effort;
use crate::command::{kvlock_binary, kvlock_run, runs};
use crate::results::{Figure, Goal, Results, Spread};
use crate::servers;

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(2);
const LOOPS: usize = 8;
/// What runs under the lock. The command is a path, so that nobody searches for it.
const INSIDE: [&str; 2] = ["/bin/sleep", "0.001"];

/// What runs a command under a lock, and what came of it round by round.
struct Tool<'a> {
    name: &'static str,
    command: &'a Run<'a>,
    /// How often one loop ran it.
    alone: Vec<Vec<u64>>,
    /// How often each of many loops ran it, the unluckiest first.
    together: Vec<Vec<u64>>,
}

type Run<'a> = dyn Fn() -> Command + Sync + 'a;

pub(crate) fn measure(results: &mut Results, effort: Effort) -> Result<()> {
    let (server, folder) = (servers::memcached(), tempfile::tempdir()?);
    let (binary, url, file) = (kvlock_binary()?, server.url(), folder.path().join("lock"));
    let kvlock = || {
        let mut command = kvlock_run(&binary, &url);
        command.args(INSIDE);
        command
    };
    let flock = || {
        let mut command = Command::new("flock");
        command.arg(&file).args(INSIDE);
        command
    };
    let tool = |name, command| Tool { name, command, alone: Vec::new(), together: Vec::new() };
    let (mut kvlock, mut flock) = (tool("`kvlock run`", &kvlock), tool("`flock`", &flock));
    // The first contact with a young server takes a second.
    runs(&mut (kvlock.command)())?;
    let length = effort.length(ROUND);
    for _ in 0..effort.rounds(ROUNDS) {
        for tool in [&mut kvlock, &mut flock] {
            tool.alone.push(race(tool.command, 1, length)?);
            tool.together.push(race(tool.command, LOOPS, length)?);
        }
    }
    let group = results.group(
        "Contended command",
        "Loops of a shell run `sleep 0.001` under one lock again and again. Many loops may be faster than one: the next \
         command starts up while another one is inside.",
    );
    let [alone, throughput, fairness] = kvlock.figures(length);
    group.add(alone);
    group.add(throughput.goal(Goal::AtLeast(0.9)));
    group.add(fairness.goal(Goal::AtLeast(0.5)));
    flock.figures(length).into_iter().for_each(|figure| group.add(figure));
    Ok(())
}

impl Tool<'_> {
    /// The throughput of one loop, that of many, and what the unluckiest of them got.
    fn figures(&self, length: Duration) -> [Figure; 3] {
        let throughput = |rounds: &[Vec<u64>]| -> Vec<f64> {
            rounds.iter().map(|turns| turns.iter().sum::<u64>() as f64 / length.as_secs_f64()).collect()
        };
        let fairness = |turns: &Vec<u64>| turns[0] as f64 / turns[turns.len() - 1].max(1) as f64;
        let (alone, together) = (throughput(&self.alone), throughput(&self.together));
        let fairness: Vec<f64> = self.together.iter().map(fairness).collect();
        let (one, many) = (format!("{}, one loop", self.name), format!("{}, {LOOPS} loops", self.name));
        [
            Figure::new(one, Spread::of(&alone), "runs/s"),
            Figure::new(format!("{many}: throughput"), Spread::of(&together), "runs/s")
                .against("one loop", Spread::of_ratios(&together, &alone)),
            Figure::new(format!("{many}: fairness"), Spread::of(&fairness), "min/max"),
        ]
    }
}

/// So many loops, for so long; how often each of them ran the command, the unluckiest first.
fn race(command: &Run, loops: usize, length: Duration) -> Result<Vec<u64>> {
    let end = Instant::now() + length;
    let repeat = || {
        let mut turns = 0;
        while Instant::now() < end {
            runs(&mut command())?;
            turns += u64::from(Instant::now() < end);
        }
        Ok(turns)
    };
    let mut turns = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..loops).map(|_| scope.spawn(repeat)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no loop panics")).collect::<Result<Vec<u64>>>()
    })?;
    turns.sort_unstable();
    Ok(turns)
}
