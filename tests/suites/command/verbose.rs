//! `-v` and `-vv`: what happens, on stderr.

use kvlock_tests::kvlock::eventually;
use rustix::process::Signal;

use super::{World, in_both};

/// What a verbose run wrote on stderr.
#[track_caller]
fn assert_told(stderr: &str, level: &str, part: &str) {
    let is_it = |line: &str| line.contains(level) && line.contains(part) && line.contains("key=");
    assert!(stderr.lines().any(is_it), "not told: {level} {part} in {stderr}");
}

#[test]
fn a_run_logs_whom_it_waited_for_what_it_got_and_that_it_gave_it_back() {
    in_both(|world| {
        let holder = world.hold("k", &["--owner", "somebody"]);
        let waiter = world.start(["run", "k", "-v", "--", "true"]);
        world.await_waiters("k", 1);
        holder.signal(Signal::TERM);
        let output = waiter.wait();
        assert_eq!(output.code, 0, "{output:?}");
        assert_told(&output.stderr, "DEBUG", "waiting: held by somebody");
        assert_told(&output.stderr, "DEBUG", "granted after");
        assert_told(&output.stderr, "DEBUG", "released: Freed");
        assert!(!output.stderr.contains("WARN") && !output.stderr.contains("TRACE"), "{output:?}");
    });
}

#[test]
fn a_run_tells_that_the_lease_of_a_crashed_holder_ended() {
    in_both(|world| {
        let holder = world.hold("k", &["--owner", "somebody", "--lease", "4s"]);
        let waiter = world.start(["run", "k", "-v", "--", "true"]);
        world.await_waiters("k", 1);
        holder.signal(Signal::KILL);
        let output = waiter.wait();
        assert_told(&output.stderr, "WARN", "the lease of somebody ended before the lock was released");
    });
}

#[test]
fn renewals_are_told_by_a_second_v_and_a_loss_by_the_first() {
    let world = World::local();
    for (option, told) in [("-v", false), ("-vv", true)] {
        let output = world.script("k", &[option, "--lease", "1s"], "sleep 1");
        assert_eq!(output.stderr.contains("TRACE") && output.stderr.contains("renewed"), told, "{output:?}");
    }
    let running = world.start_script("k", &["-v", "--lease", "1s"], "echo > ready; sleep 30");
    eventually("the start", || world.path("ready").exists());
    let broken = world.run(["break", "k", "-v"]);
    assert_told(&broken.stderr, "INFO", "broken by force");
    let output = running.wait();
    assert_eq!(output.code, 74, "{output:?}");
    assert_told(&output.stderr, "WARN", "lock lost");
    assert_told(&output.stderr, "WARN", "release failed");
}

#[test]
fn an_outage_is_told_while_the_command_runs() {
    let mut world = World::memcached();
    // The first renewal is due before it ends, on a busy machine too.
    let running = world.start_script("k", &["-v", "--lease", "6s"], "echo > ready; sleep 60");
    eventually("the start", || world.path("ready").exists());
    world.server().kill();
    let output = running.wait();
    assert_eq!(output.code, 74, "{output:?}");
    assert_told(&output.stderr, "WARN", "renewal failed");
}

#[test]
fn without_v_nothing_is_told() {
    let world = World::local();
    assert_eq!(world.run(["run", "k", "--", "true"]).stderr, "");
}
