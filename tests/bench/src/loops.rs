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
    let group = results.group(
        "Contended command",
        "Loops of a shell run `sleep 0.001` under one lock again and again. Many loops may be faster than one: the next \
         command starts up while another one is inside.",
    );
    let tools: [(&str, &Run, bool); 2] = [("`kvlock run`", &kvlock, true), ("`flock`", &flock, false)];
    // The first contact with a young server takes a second.
    runs(&mut kvlock())?;
    let length = effort.length(ROUND);
    let mut turns: [[Vec<Vec<u64>>; 2]; 2] = Default::default();
    for _ in 0..effort.rounds(ROUNDS) {
        for ((_, command, _), [alone, together]) in tools.iter().zip(&mut turns) {
            alone.push(race(command, 1, length)?);
            together.push(race(command, LOOPS, length)?);
        }
    }
    for ((name, _, is_ours), [alone, together]) in tools.iter().zip(&turns) {
        let throughput = |rounds: &[Vec<u64>]| -> Vec<f64> {
            rounds.iter().map(|turns| turns.iter().sum::<u64>() as f64 / length.as_secs_f64()).collect()
        };
        let justice: Vec<f64> = together.iter().map(|turns| turns[0] as f64 / turns[turns.len() - 1] as f64).collect();
        let (alone, all) = (throughput(alone), throughput(together));
        let goal = |figure: Figure, goal| if *is_ours { figure.goal(goal) } else { figure };
        group.add(Figure::new(format!("{name}, one loop"), Spread::of(&alone), "runs/s"));
        let figure = Figure::new(format!("{name}, {LOOPS} loops: throughput"), Spread::of(&all), "runs/s");
        group.add(goal(figure.against("one loop", Spread::of_ratios(&all, &alone)), Goal::AtLeast(0.9)));
        let figure = Figure::new(format!("{name}, {LOOPS} loops: justice"), Spread::of(&justice), "of the luckiest");
        group.add(goal(figure, Goal::AtLeast(0.5)));
    }
    Ok(())
}

/// What a loop runs.
type Run<'a> = dyn Fn() -> Command + Sync + 'a;

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
