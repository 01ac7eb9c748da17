//! Benchmarks of kvlock beside its peers: `cargo xtask bench`.
//!
//! What is compared is run in one go and by turns (A B C A B C …), on servers that are started here on the loopback
//! interface, and told as medians with their spread. Times of a machine drift over a run: only ratios within one are
//! worth anything.

mod asynch;
mod command;
mod contended;
mod cores;
mod count;
mod counts;
mod edges;
mod etcd;
mod fight;
mod idle;
mod loops;
mod machine;
mod overhead;
mod page;
mod plot;
mod postgres;
mod redis;
mod results;
mod rivals;
mod scale;
mod servers;
mod turns;
mod uncontended;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use kvlock_testkit::process;

use results::Results;

/// Where the results go unless told otherwise.
const RESULTS_FILE: &str = "target/bench.json";

/// Benchmarks of kvlock beside its peers, on servers that they start.
#[derive(Parser)]
#[command(bin_name = "kvlock-bench")]
enum Task {
    /// Run the benchmarks, print a table and write the results as JSON.
    Run {
        /// Only these groups.
        #[arg(value_enum)]
        groups: Vec<Group>,
        /// Few rounds: to see whether it works, not how fast.
        #[arg(long)]
        quick: bool,
        /// Where the results go.
        #[arg(long, default_value = RESULTS_FILE)]
        json: PathBuf,
    },
    /// Draw the hand-over of a contended lock from the results.
    Plot {
        /// The results.
        #[arg(long, default_value = RESULTS_FILE)]
        json: PathBuf,
        /// The picture.
        #[arg(long, default_value = "target/bench.svg")]
        svg: PathBuf,
    },
    /// Keep the results in tests/bench/results, and show them in docs/performance.md: the tables and the plot.
    Page {
        /// The results.
        #[arg(long, default_value = RESULTS_FILE)]
        json: PathBuf,
    },
    #[command(flatten)]
    Part(Part),
}

/// A part of a benchmark that is a process of its own, which the benchmark starts.
#[derive(Subcommand)]
enum Part {
    /// Acquire and release so many times, to be counted from outside.
    #[command(hide = true)]
    Pairs(counts::Pairs),
    /// Fight for a key.
    #[command(hide = true)]
    Contend(fight::Contend),
    /// Wait in many sessions.
    #[command(hide = true)]
    Wait(scale::Wait),
    /// Hold many keys.
    #[command(hide = true)]
    Hold(scale::Hold),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    Uncontended,
    Overhead,
    Counts,
    Contended,
    Idle,
    Scale,
    Command,
    Loops,
    Edges,
    Redis,
    Etcd,
    Postgres,
    Async,
}

impl Group {
    fn measure(self, results: &mut Results, effort: Effort) -> Result<()> {
        match self {
            Group::Uncontended => uncontended::measure(results, effort),
            Group::Overhead => overhead::measure(results, effort),
            Group::Counts => counts::measure(results),
            Group::Contended => contended::measure(results, effort),
            Group::Idle => idle::measure(results, effort),
            Group::Scale => scale::measure(results, effort),
            Group::Command => command::measure(results, effort),
            Group::Loops => loops::measure(results, effort),
            Group::Edges => edges::measure(results, effort),
            Group::Redis => redis::measure(results, effort),
            Group::Etcd => etcd::measure(results, effort),
            Group::Postgres => postgres::measure(results, effort),
            Group::Async => asynch::measure(results, effort),
        }
    }
}

fn main() -> Result<()> {
    process::start_afresh()?;
    match Task::parse() {
        Task::Run { groups, quick, json } => run(&groups, Effort { quick }, &json),
        Task::Plot { json, svg } => plot::draw(&Results::read(&json)?, &svg),
        Task::Page { json } => page::show(&json),
        Task::Part(Part::Pairs(pairs)) => pairs.run(),
        Task::Part(Part::Contend(contend)) => contend.run(),
        Task::Part(Part::Wait(wait)) => wait.run(),
        Task::Part(Part::Hold(hold)) => hold.run(),
    }
}

/// How much of it.
#[derive(Clone, Copy)]
struct Effort {
    quick: bool,
}

impl Effort {
    /// So many rounds.
    fn rounds(self, full: usize) -> usize {
        if self.quick { full.div_ceil(20).max(3) } else { full }
    }

    /// A round of this length.
    fn length(self, full: Duration) -> Duration {
        if self.quick { full / 2 } else { full }
    }
}

fn run(groups: &[Group], effort: Effort, json: &Path) -> Result<()> {
    if cfg!(debug_assertions) {
        bail!("a debug build measures nothing: cargo xtask bench");
    }
    let mut results = Results::new(machine::describe()?, groups.is_empty() && !effort.quick);
    for group in Group::value_variants().iter().filter(|group| groups.is_empty() || groups.contains(group)) {
        eprintln!("{} ...", format!("{group:?}").to_lowercase());
        group.measure(&mut results, effort)?;
    }
    results.write(json)?;
    print!("{results}");
    Ok(())
}
