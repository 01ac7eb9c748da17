//! Benchmarks of kvlock beside its peers: `cargo xtask bench`.
//!
//! What is compared is run in one go and by turns (A B C A B C …), on servers that are started here on the loopback
//! interface, and told as medians with their spread. Times of a machine drift over a run: only ratios within one are
//! worth anything.

mod command;
mod contended;
mod counts;
mod machine;
mod overhead;
mod plot;
mod report;
mod scale;
mod servers;
mod spread;
mod stores;
mod turns;
mod uncontended;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use report::Report;

/// Where the results go unless told otherwise.
const RESULTS: &str = "target/bench.json";

/// What to do. The last four are what the first starts, each in a process of its own.
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
        #[arg(long, default_value = RESULTS)]
        json: PathBuf,
    },
    /// Draw the hand-over of a contended lock from the results.
    Plot {
        /// The results.
        #[arg(long, default_value = RESULTS)]
        json: PathBuf,
        /// The picture.
        #[arg(long, default_value = "target/bench.svg")]
        svg: PathBuf,
    },
    #[command(flatten)]
    Part(Part),
}

/// A part of a benchmark that is a process of its own.
#[derive(Subcommand)]
enum Part {
    /// Acquire and release so many times, to be counted from outside.
    #[command(hide = true)]
    Pairs(counts::Pairs),
    /// Fight for a key.
    #[command(hide = true)]
    Contend(contended::Contend),
    /// Wait in many sessions.
    #[command(hide = true)]
    Wait(scale::Wait),
    /// Hold many keys.
    #[command(hide = true)]
    Hold(scale::Hold),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Group {
    Uncontended,
    Overhead,
    Counts,
    Contended,
    Scale,
    Command,
}

fn main() -> Result<()> {
    match Task::parse() {
        Task::Run { groups, quick, json } => run(&groups, Effort { quick }, &json),
        Task::Plot { json, svg } => plot::draw(&Report::read(&json)?, &svg),
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
        if self.quick { full.div_ceil(20).max(2) } else { full }
    }
}

fn run(groups: &[Group], effort: Effort, json: &Path) -> Result<()> {
    if cfg!(debug_assertions) {
        bail!("a debug build measures nothing: cargo xtask bench");
    }
    let asked = |group| groups.is_empty() || groups.contains(&group);
    let mut report = Report::new(machine::describe()?);
    let mut add = |group, name, measure: &mut dyn FnMut(&mut Report) -> Result<()>| {
        if asked(group) {
            eprintln!("{name} ...");
            measure(&mut report)?;
        }
        Ok::<_, anyhow::Error>(())
    };
    add(Group::Uncontended, "uncontended", &mut |report| uncontended::measure(report, effort))?;
    add(Group::Overhead, "overhead of the component", &mut |report| overhead::measure(report, effort))?;
    add(Group::Counts, "counts", &mut counts::measure)?;
    add(Group::Contended, "contended hand-over", &mut |report| contended::measure(report, effort))?;
    add(Group::Scale, "scale", &mut |report| scale::measure(report, effort))?;
    add(Group::Command, "command", &mut |report| command::measure(report, effort))?;
    report.write(json)?;
    print!("{report}");
    Ok(())
}
