//! Searches all small scenarios, and stops at the first that breaks a promise. Exit code 1 then.

use std::process::ExitCode;

use kvlock_proof::{Effort, Findings, crowd, scenarios, search};

fn main() -> ExitCode {
    let only = std::env::args().nth(1);
    println!("{}", Findings::heading());
    for scenario in scenarios::small() {
        if only.as_ref().is_some_and(|only| !scenario.name.contains(only.as_str())) {
            continue;
        }
        let findings = search(
            &scenario,
            Effort {
                threads: 2,
                timeout: std::env::args().nth(2).and_then(|s| s.parse().ok()).map(std::time::Duration::from_secs),
            },
        );
        println!("{}", findings.row());
        if !findings.is_proof() {
            println!("{}", findings.complaint());
            if only.is_none() {
                return ExitCode::FAILURE;
            }
        }
    }
    for scenario in crowd::all() {
        if only.as_ref().is_some_and(|only| !scenario.name.contains(only.as_str())) {
            continue;
        }
        let findings = crowd::search(&scenario, Effort { threads: 2, timeout: None });
        println!("{}", findings.row());
        if !findings.is_proof() {
            println!("{}", findings.complaint());
            if only.is_none() {
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
