//! `-v` and `-vv`: what happens, on stderr.

use kvlock_tests::kvlock::eventually;
use rustix::process::Signal;
use serde_json::Value;

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

/// The lines of stderr, each of which is an object.
#[track_caller]
fn objects(stderr: &str) -> Vec<Value> {
    let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    stderr.lines().map(read).collect()
}

#[test]
fn with_json_each_line_of_the_log_is_an_object_with_a_time_a_level_a_message_and_the_key() {
    in_both(|world| {
        let output = world.run(["run", "k", "-v", "--json", "--owner", "me", "--", "sh", "-c", "echo $KVLOCK_TOKEN"]);
        let lines = objects(&output.stderr);
        assert!(lines.len() >= 2, "{output:?}");
        for line in &lines {
            assert!(humantime::parse_rfc3339(line["time"].as_str().unwrap()).is_ok(), "{line}");
            assert_eq!((line["level"].as_str(), line["key"].as_str()), (Some("debug"), Some("k")), "{line}");
            assert!(line["message"].is_string() && line["fields"].is_object(), "{line}");
        }
        let granted = lines.iter().find(|line| line["message"] == "granted").unwrap();
        assert_eq!(granted["fields"]["token"], output.stdout.trim(), "as text: a double cannot hold it");
    });
}

#[test]
fn with_json_errors_and_notes_in_the_log_have_a_time_and_a_level_too() {
    let mut world = World::memcached();
    world.server().kill();
    let output = world.run(["run", "k", "-vv", "--json", "--ride-out", "0", "--", "true"]);
    assert_eq!(output.code, 69, "{output:?}");
    let lines = objects(&output.stderr);
    for line in &lines {
        assert!(line["time"].is_string() && line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    let error = lines.last().unwrap();
    assert_eq!((error["level"].as_str(), error["error"]["kind"].as_str()), (Some("error"), Some("unavailable")));
    assert_eq!(error["message"], error["error"]["message"]);
}

#[test]
fn without_v_nothing_is_told() {
    let world = World::local();
    assert_eq!(world.run(["run", "k", "--", "true"]).stderr, "");
}
