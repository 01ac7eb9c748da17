//! The machines, explored to the end in every small world. `--nocapture` shows the table.

use std::time::Instant;

use kvlock_proof::{Effort, Findings, crowd, queue, readers, scenarios, search, several, turns};

#[test]
fn no_small_world_breaks_a_promise_and_each_shows_what_it_is_about() {
    let began = Instant::now();
    println!("{}", Findings::heading());
    for scenario in scenarios::small() {
        let findings = search(&scenario, Effort { threads: 2, timeout: None });
        println!("{}", findings.row());
        assert!(findings.is_proof() && findings.complete, "{}", findings.complaint());
        assert!(findings.fair_runs > 0, "no run of {} was followed to its end", findings.name);
    }
    for scenario in crowd::all() {
        let findings = crowd::search(&scenario, Effort { threads: 2, timeout: None });
        println!("{}", findings.row());
        assert!(findings.is_proof() && findings.complete, "{}", findings.complaint());
    }
    println!("in all {:.1} s", began.elapsed().as_secs_f64());
}

#[test]
fn every_waiter_gets_its_turn_in_every_small_world() {
    println!("{}", Findings::heading());
    for scenario in turns::all() {
        let findings = turns::search(&scenario, Effort { threads: 2, timeout: None });
        println!("{}", findings.row());
        assert!(findings.is_proof() && findings.complete, "{}", findings.complaint());
    }
}

#[test]
fn no_world_of_readers_breaks_a_promise() {
    println!("{}", Findings::heading());
    for scenario in readers::all() {
        let findings = readers::search(&scenario, Effort { threads: 2, timeout: None });
        println!("{}", findings.row());
        assert!(findings.is_proof() && findings.complete, "{}", findings.complaint());
    }
}

#[test]
fn no_world_of_several_keys_ends_in_a_deadlock_or_breaks_another_promise() {
    println!("{}", Findings::heading());
    for scenario in several::all() {
        let findings = several::search(&scenario, Effort { threads: 2, timeout: None });
        println!("{}", findings.row());
        assert!(findings.is_proof() && findings.complete, "{}", findings.complaint());
    }
}

#[test]
fn no_queue_of_a_process_breaks_a_promise() {
    println!("{}", Findings::heading());
    for scenario in queue::all() {
        let findings = queue::search(&scenario, Effort { threads: 2, timeout: None });
        println!("{}", findings.row());
        assert!(findings.is_proof() && findings.complete, "{}", findings.complaint());
    }
}
