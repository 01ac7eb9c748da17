//! Attacks kvlock on real servers until the time is up. Exit code 1 if a promise is broken.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use kvlock_attack::mix::{MIXES, Mix};
use kvlock_attack::{Campaign, campaign, work};

/// Attack kvlock on real servers.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// How long to go on. An attack that has begun is ended properly.
    #[arg(long, default_value = "1m", value_parser = humantime::parse_duration)]
    budget: Duration,
    /// The first attack's seed; the next one's is one more.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What goes wrong; without it each in turn, by the seed.
    #[arg(long, value_parser = mix)]
    mix: Option<Mix>,
    /// How long it goes wrong in each attack.
    #[arg(long, default_value = "20s", value_parser = humantime::parse_duration)]
    length: Duration,
    /// How many attacks at a time, each on a server of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    lanes: u32,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Be a client.
    #[command(hide = true)]
    Worker {
        /// What to do, as JSON.
        task: String,
    },
}

fn mix(name: &str) -> Result<Mix, String> {
    let names = || MIXES.map(|mix| mix.name).join(", ");
    Mix::named(name).ok_or_else(|| format!("one of {}", names()))
}

fn main() -> Result<ExitCode> {
    let Arguments { budget, seed, mix, length, lanes, role } = Arguments::parse();
    if let Some(Role::Worker { task }) = role {
        work(&serde_json::from_str(&task)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let program = std::env::current_exe().context("a program knows where it is")?;
    let good = campaign(&Campaign { budget, seed, mix, length, lanes, program })?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
