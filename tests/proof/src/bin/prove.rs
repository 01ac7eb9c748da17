//! What `cargo xtask prove` runs: the machines in every small world, then the shipped component in random schedules
//! until the time is up, then the machines in larger worlds as far as it goes. Exit code 1 if a promise is broken.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use kvlock_proof::component::{self, Played};
use kvlock_proof::{Effort, Findings, crowd, queue, scenarios, search, turns};

/// Prove the lock: search small worlds to their end, then play random schedules.
#[derive(Parser)]
#[command(bin_name = "cargo xtask prove")]
struct Arguments {
    /// How long to go on, e.g. `10m`. The small worlds are searched to their end in any case.
    #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
    budget: Duration,
    /// The first schedule's seed, and the first to be played: to repeat a failure, give its seed.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let began = Instant::now();
    if let Some(seed) = arguments.seed
        && !schedules(seed, 1, Duration::MAX)
    {
        return ExitCode::FAILURE;
    }
    println!("The machines, every step that can be taken:\n{}", Findings::heading());
    if !scenarios::small().iter().all(|scenario| worlds(scenario, None)) {
        return ExitCode::FAILURE;
    }
    let effort = Effort { threads: threads(), timeout: None };
    if !turns::all().iter().all(|scenario| judged(&turns::search(scenario, effort)))
        || !crowd::all().iter().all(|scenario| judged(&crowd::search(scenario, effort)))
        || !queue::all().iter().all(|scenario| judged(&queue::search(scenario, effort)))
    {
        return ExitCode::FAILURE;
    }
    let left = arguments.budget.saturating_sub(began.elapsed());
    if !schedules(arguments.seed.unwrap_or(0), u64::MAX, left / 2) {
        return ExitCode::FAILURE;
    }
    let large = scenarios::large();
    println!("The machines, with more that goes wrong, for as long as there is time:\n{}", Findings::heading());
    for (index, scenario) in large.iter().enumerate() {
        let share = arguments.budget.saturating_sub(began.elapsed()) / u32::try_from(large.len() - index).unwrap_or(1);
        if share > Duration::from_secs(1) && !worlds(scenario, Some(share)) {
            return ExitCode::FAILURE;
        }
    }
    println!("No promise is broken. {:.0} s", began.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

/// Searches a world; whether all is well.
fn worlds(scenario: &kvlock_proof::Scenario, timeout: Option<Duration>) -> bool {
    judged(&search(scenario, Effort { threads: threads(), timeout }))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |threads| threads.get().min(4))
}

/// Tells what was found; whether all is well.
fn judged(findings: &Findings) -> bool {
    println!("{}", findings.row());
    let well = findings.broken.is_none() && (findings.unseen.is_empty() || !findings.complete);
    if !well {
        println!("\n{}\nTo repeat it: cargo xtask prove", findings.complaint());
    }
    well
}

/// Plays schedules from a seed on; whether all is well.
fn schedules(first: u64, count: u64, budget: Duration) -> bool {
    let began = Instant::now();
    let (mut sum, mut played) = (Played::default(), 0);
    while played < count && (played == 0 || began.elapsed() < budget) {
        let seed = first.wrapping_add(played);
        match component::play(seed) {
            Ok(one) => {
                sum.moves += one.moves;
                sum.grants += one.grants;
                sum.faults += one.faults;
            }
            Err(violation) => {
                println!("seed {seed}: broken: {}\n{}", violation.promise, violation.story.join("\n"));
                println!("To repeat it: cargo xtask prove --seed {seed}");
                return false;
            }
        }
        played += 1;
    }
    let took = began.elapsed().as_secs_f64();
    let Played { moves, grants, faults } = sum;
    println!(
        "The shipped component: {played} schedules from seed {first} on, {moves} moves, {grants} grants, {faults} \
         faults, {took:.1} s"
    );
    true
}
