//! A command that tells by its exit code that it ran into a conflict, and is run again.

use kvlock_tests::Watch;
use kvlock_tests::kvlock::{eventually, is_alive};
use rustix::process::Signal;

use super::{SECOND, World, in_both};

/// Conflicts until its third run, and keeps a list of them.
const THIRD_TIME: &str = r#"echo "$KVLOCK_TRY $KVLOCK_TOKEN" >> runs; [ "$KVLOCK_TRY" -ge 3 ] || exit 9"#;

/// How often the command was run.
fn runs(world: &World) -> usize {
    world.read("runs").lines().count()
}

#[test]
fn a_command_that_conflicts_is_run_again_until_it_does_not() {
    in_both(|world| {
        let output = world.script("k", &["--retry-on", "9"], THIRD_TIME);
        assert_eq!(output.code, 0, "{output:?}");
        let runs = world.read("runs");
        let mut tokens: Vec<_> = runs.lines().filter_map(|line| line.split_once(' ')).collect();
        assert_eq!(tokens.iter().map(|(number, _)| *number).collect::<Vec<_>>(), ["1", "2", "3"]);
        tokens.dedup_by_key(|(_, token)| *token);
        assert_eq!(tokens.len(), 1, "one hold, nobody in between: {runs}");
        assert!(world.is_free("k"));
    });
}

#[test]
fn each_retry_is_told_on_one_line_unless_quiet() {
    let world = World::memcached();
    let output = world.script("some key", &["--retry-on", "9", "--retries", "4"], THIRD_TIME);
    let lines: Vec<_> = output.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{output:?}");
    for (line, number) in lines.iter().zip(["1 of 5", "2 of 5"]) {
        for part in ["kvlock: ", "`some key`", number, " 9,", "conflict", "trying again"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    std::fs::remove_file(world.path("runs")).unwrap();
    let quiet = world.script("some key", &["-q", "--retry-on", "9"], THIRD_TIME);
    assert_eq!((quiet.code, quiet.stderr.as_str(), runs(&world)), (0, "", 3));
}

#[test]
fn a_command_that_always_conflicts_gives_its_own_code_in_the_end() {
    let world = World::memcached();
    for (retries, expected) in [("0", 1), ("2", 3)] {
        let output = world.script("k", &["--retry-on", "9", "--retries", retries], "echo >> runs; exit 9");
        assert_eq!((output.code, runs(&world)), (9, expected), "{output:?}");
        assert!(output.stderr.lines().last().is_some_and(|line| line.contains("giving up")), "{output:?}");
        assert!(world.is_free("k"));
        std::fs::remove_file(world.path("runs")).unwrap();
    }
    let output = world.script("k", &["-q", "--retry-on", "9"], "echo >> runs; exit 9");
    assert_eq!((output.code, runs(&world)), (9, 11), "ten more times, when nobody says otherwise: {output:?}");
}

#[test]
fn other_codes_are_no_conflict() {
    let world = World::memcached();
    for code in [0, 1, 8, 10, 75] {
        let output = world.script("k", &["--retry-on", "9"], &format!("echo >> runs; exit {code}"));
        assert_eq!((output.code, output.stderr.as_str(), runs(&world)), (code, "", 1));
        assert!(world.is_free("k"));
        std::fs::remove_file(world.path("runs")).unwrap();
    }
}

#[test]
fn several_codes_may_tell_of_a_conflict() {
    let script = r#"echo >> runs; case $KVLOCK_TRY in 1) exit 9;; 2) exit 40;; *) exit 7;; esac"#;
    let world = World::memcached();
    let output = world.script("k", &["-q", "--retry-on", "9", "--retry-on", "40"], script);
    assert_eq!((output.code, runs(&world)), (7, 3));
    std::fs::remove_file(world.path("runs")).unwrap();
    let configured = world.kvlock.clone().with("KVLOCK_RETRY_ON", "9,40").with("KVLOCK_RETRIES", "1");
    assert_eq!((configured.script("k", &[], script).code, runs(&world)), (40, 2));
}

#[test]
fn a_waiter_does_not_get_in_between_two_tries() {
    in_both(|world| {
        let script = r#"echo >> runs; [ "$KVLOCK_TRY" = 1 ] && { while [ ! -e go ]; do sleep 0.01; done; }
            echo "try $KVLOCK_TRY" >> order; [ "$KVLOCK_TRY" -ge 6 ] || exit 9"#;
        let mut retrier = world.start_script("k", &["-q", "--retry-on", "9"], script);
        world.await_line("runs");
        let mut waiter = world.start_script("k", &["--interval", "1ms"], "echo waiter >> order");
        world.await_waiters("k", 1);
        std::fs::write(world.path("go"), "").unwrap();
        assert_eq!((retrier.exit(), waiter.exit()), (0, 0));
        let order = world.read("order");
        assert_eq!(order.lines().collect::<Vec<_>>(), ["try 1", "try 2", "try 3", "try 4", "try 5", "try 6", "waiter"]);
    });
}

#[test]
fn the_lease_is_renewed_during_each_try() {
    let world = World::memcached();
    let script = "echo >> runs; while ! [ -e end-$KVLOCK_TRY ]; do sleep 0.05; done; [ $KVLOCK_TRY -ge 2 ] || exit 9";
    let mut retrier = world.start_script("k", &["-q", "--retry-on", "9", "--lease", "1s"], script);
    for number in [1, 2] {
        eventually("the try", || runs(&world) == number);
        let started = Watch::start();
        // Past what memcached keeps a lease of a second, too.
        while started.elapsed() < 3 * SECOND {
            assert_eq!(world.run(["run", "k", "--wait", "0", "--", "true"]).code, 75);
        }
        std::fs::write(world.path(&format!("end-{number}")), "").unwrap();
    }
    assert_eq!((retrier.exit(), runs(&world)), (0, 2));
}

#[test]
fn a_retrier_that_is_killed_leaves_the_lock_no_longer_than_its_lease_or_reservation() {
    let world = World::memcached();
    let mut killed = world.start_script("k", &["-q", "--retry-on", "9", "--lease", "2s"], "echo >> runs; sleep 60");
    world.await_line("runs");
    killed.signal(Signal::KILL);
    killed.exit();
    let output = world.run(["run", "k", "--wait", "10s", "--", "true"]);
    assert_eq!(output.code, 0, "{output:?}");
}

#[test]
fn a_lock_lost_while_the_command_ran_gives_74_and_is_no_conflict() {
    let world = World::memcached();
    let script = "trap 'exit 9' TERM; echo >> runs; while :; do sleep 0.05; done 2> /dev/null";
    let retrier = world.start_script("k", &["--retry-on", "9", "--lease", "3s"], script);
    world.await_line("runs");
    world.ok(["break", "k"]);
    let output = retrier.wait();
    output.assert_says(74, &[]);
    assert_eq!(runs(&world), 1, "{output:?}");
    assert!(world.is_free("k"));
}

#[test]
fn a_command_that_was_asked_to_end_is_not_run_again() {
    let world = World::memcached();
    for signal in [Signal::INT, Signal::TERM] {
        let script = "trap 'exit 9' INT TERM; echo >> runs; while :; do sleep 0.05; done";
        let mut retrier = world.start_script("k", &["--retry-on", "9"], script);
        world.await_line("runs");
        retrier.signal(signal);
        assert_eq!((retrier.exit(), runs(&world)), (9, 1));
        assert!(world.is_free("k"));
        std::fs::remove_file(world.path("runs")).unwrap();
    }
}

#[test]
fn a_signal_between_two_tries_ends_them_and_leaves_nothing_reserved() {
    let world = World::memcached();
    let options = ["-q", "--retry-on", "9", "--retries", "100000", "--reserve", "30s"];
    for millis in [300, 500, 700, 900] {
        let mut retrier = world.start_script("k", &options, "echo >> runs; exit 9");
        world.await_line("runs");
        std::thread::sleep(SECOND * millis / 1000);
        retrier.signal(Signal::TERM);
        // The command's own code, if it was just running and did not die of the signal.
        let code = retrier.exit();
        assert!([143, 9].contains(&code), "{code}");
        assert!(world.is_free("k"));
        std::fs::remove_file(world.path("runs")).unwrap();
    }
}

#[test]
fn a_wait_between_two_tries_counts_with_the_time_before() {
    let world = World::memcached();
    let script = "echo >> runs; $KVLOCK break k
        $KVLOCK run k --lease 3s -- sleep 60 > other 2>&1 & echo $! > id; sleep 1; exit 9";
    let output = world.script("k", &["-q", "--retry-on", "9", "--wait", "3s", "--lease", "60s"], script);
    assert_eq!((output.code, runs(&world)), (75, 1), "{output:?}");
    assert!(output.took >= 3 * SECOND, "{output:?}");
    output.assert_within(5 * SECOND);
    world.ok(["break", "k"]);
    let other = world.await_line("id").parse().unwrap();
    eventually("the end of the other", || !is_alive(other));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let world = World::local();
    let cases: [(&[&str], &str); 10] = [
        (&["--retries", "3"], "--retry-on"),
        (&["--reserve", "3s"], "--retry-on"),
        (&["--retry-on", "9", "--reentrant"], "--reentrant"),
        (&["--retry-on", "9", "--at-least", "1h"], "--at-least"),
        (&["--retry-on", "0"], "0"),
        (&["--retry-on", "256"], "256"),
        (&["--retry-on", "9", "--retries", "-1"], "-1"),
        (&["--retry-on", "9", "--retries", "1000000"], "1000000"),
        (&["--retry-on", "9", "--reserve", "0"], "reservation"),
        (&["--retry-on", "9", "--reserve", "2h"], "reservation"),
    ];
    for (options, part) in cases {
        let output = world.script("k", options, "echo ran");
        assert_eq!((output.code, output.stdout.as_str()), (64, ""), "{options:?}: {output:?}");
        assert!(output.stderr.contains(part), "{options:?}: {output:?}");
    }
}
