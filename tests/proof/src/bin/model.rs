//! Searches the small worlds, and stops at the first that breaks a promise; exit code 1 then. `--crowd` searches those of
//! semaphores and conflict retry only; a name, or a part of one, the worlds of that name.

use std::process::ExitCode;

use kvlock_proof::{Effort, Findings, crowd, queue, readers, scenarios, search, several, turns};

const EFFORT: Effort = Effort { threads: 2, timeout: None };

fn main() -> ExitCode {
    let only = std::env::args().nth(1);
    let is_wanted = |name: &str| match only.as_deref() {
        Some("--crowd") | None => true,
        Some(only) => name.contains(only),
    };
    println!("{}", Findings::heading());
    let locks = scenarios::small().into_iter().filter(|_| only.as_deref() != Some("--crowd"));
    let locks = locks.filter(|scenario| is_wanted(scenario.name)).map(|scenario| search(&scenario, EFFORT));
    let crowds = crowd::all().into_iter().filter(|scenario| is_wanted(scenario.name));
    let crowds = crowds.map(|scenario| crowd::search(&scenario, EFFORT));
    let turns = turns::all().into_iter().filter(|scenario| is_wanted(scenario.name));
    let turns = turns.map(|scenario| turns::search(&scenario, EFFORT));
    let queues = queue::all().into_iter().filter(|scenario| is_wanted(scenario.name));
    let queues = queues.map(|scenario| queue::search(&scenario, EFFORT));
    let readers = readers::all().into_iter().filter(|scenario| is_wanted(scenario.name));
    let readers = readers.map(|scenario| readers::search(&scenario, EFFORT));
    let several = several::all().into_iter().filter(|scenario| is_wanted(scenario.name));
    let several = several.map(|scenario| several::search(&scenario, EFFORT));
    for findings in locks.chain(several).chain(readers).chain(turns).chain(crowds).chain(queues) {
        println!("{}", findings.row());
        if !findings.is_proof() {
            println!("{}", findings.complaint());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
