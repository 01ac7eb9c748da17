//! Outages are ridden out as long as the wait lasts, from the first try on, and told when they begin and end.

use kvlock_tests::kvlock::Output;

use super::{SECOND, World};

/// What was said of the outage, a line each.
fn said(output: &Output) -> Vec<&str> {
    output.stderr.lines().collect()
}

#[track_caller]
fn assert_ridden_out(output: &Output, key: &str, how_long: &str) {
    assert_eq!((output.code, output.stdout.as_str()), (0, "ran\n"), "{output:?}");
    let [begins, ends] = said(output)[..] else { panic!("two lines: {output:?}") };
    assert!(begins.starts_with(&format!("kvlock: `{key}`: store unavailable")), "{output:?}");
    assert!(begins.ends_with(&format!("; trying again {how_long}")), "{output:?}");
    assert!(ends.starts_with(&format!("kvlock: `{key}`: the store answers again, after ")), "{output:?}");
}

#[test]
fn a_server_that_is_up_only_later_is_waited_for() {
    let mut world = World::memcached();
    world.server().kill();
    let waits = world.start(["run", "k", "--wait", "2m", "--", "echo", "ran"]);
    let named = world.kvlock.clone().with("KVLOCK_RIDE_OUT", "90s").start(["run", "l", "--", "echo", "ran"]);
    std::thread::sleep(3 * SECOND);
    world.server().restart();
    let output = waits.wait();
    assert!(output.took >= 3 * SECOND, "{output:?}");
    assert_ridden_out(&output, "k", "as long as the wait lasts");
    assert_ridden_out(&named.wait(), "l", "for 1m 30s");
}

#[test]
fn a_server_that_is_killed_and_comes_back_loses_no_waiter_whatever_it_was_doing() {
    let mut world = World::memcached();
    let mut holder = world.hold("k", &["--lease", "2s", "--grace", "0"]);
    let waiters: Vec<_> = (0..5).map(|_| world.start(["run", "k", "--wait", "2m", "--", "echo", "ran"])).collect();
    std::thread::sleep(SECOND);
    for _ in 0..3 {
        world.server().kill();
        std::thread::sleep(SECOND);
        world.server().restart();
        std::thread::sleep(SECOND / 2);
    }
    assert_eq!(holder.exit(), 74);
    for waiter in waiters {
        let output = waiter.wait();
        assert_eq!((output.code, output.stdout.as_str()), (0, "ran\n"), "{output:?}");
    }
}

#[test]
fn a_server_that_was_killed_is_granted_on_after_the_quarantine() {
    let mut world = World::memcached();
    let kvlock = world.kvlock.clone().with("KVLOCK_QUARANTINE", "5s");
    world.server().kill();
    let waits = kvlock.start(["run", "k", "--wait", "2m", "--", "echo", "ran"]);
    std::thread::sleep(SECOND);
    world.server().restart();
    let output = waits.wait();
    assert!(output.code == 0 && output.took >= 5 * SECOND, "{output:?}");
}

#[test]
fn a_run_that_gives_up_tells_how_long_it_tried() {
    let mut world = World::memcached();
    world.server().kill();
    for (options, least) in [
        (&["--wait", "1s"][..], SECOND),
        (&["--ride-out", "1s"], SECOND),
        (&["--ride-out", "1s", "--wait", "1m"], SECOND),
        (&[], 10 * SECOND),
    ] {
        let output = world.run([&["run", "k"], options, &["--", "true"]].concat());
        assert!(output.code == 69 && output.took >= least && output.took < 60 * SECOND, "{options:?}: {output:?}");
        let [_, gave_up] = said(&output)[..] else { panic!("two lines: {output:?}") };
        assert!(gave_up.starts_with("kvlock: gave up after "), "{output:?}");
        let tried: f64 = gave_up["kvlock: gave up after ".len()..].split(' ').next().unwrap().parse().unwrap();
        let bounds = least.as_secs_f64() - 0.1..=output.took.as_secs_f64() + 0.1;
        assert!(bounds.contains(&tried), "{output:?}");
    }
}

#[test]
fn a_single_try_or_one_without_patience_is_told_at_once() {
    let mut world = World::memcached();
    world.server().kill();
    for options in [["--wait", "0"], ["--ride-out", "0"]] {
        let output = world.run([&["run", "k"], &options[..], &["--", "true"]].concat());
        assert_eq!((output.code, said(&output).len()), (69, 1), "{options:?}: {output:?}");
    }
    let quiet = world.run(["-q", "run", "k", "--ride-out", "500ms", "--", "true"]);
    assert_eq!((quiet.code, said(&quiet).len()), (69, 1), "{quiet:?}");
}

#[test]
fn permits_and_sizes_and_work_that_may_conflict_ride_outages_out_too() {
    let mut world = World::memcached();
    world.server().kill();
    let made = world.start(["semaphore", "make", "pool", "1", "--wait", "2m"]);
    let retried = world.start(["run", "k", "--retry-on", "7", "--wait", "2m", "--", "echo", "ran"]);
    std::thread::sleep(SECOND);
    world.server().restart();
    let output = made.wait();
    assert_eq!((output.code, output.stdout.as_str()), (0, "pool: made, 1 permit\n"), "{output:?}");
    assert_eq!(said(&output).len(), 2, "{output:?}");
    assert_ridden_out(&retried.wait(), "k", "as long as the wait lasts");
    let held = world.hold_permit("pool", &[]);
    let waits = world.start(["semaphore", "run", "pool", "--wait", "2m", "--", "echo", "ran"]);
    std::thread::sleep(SECOND / 2);
    world.server().stop();
    std::thread::sleep(3 * SECOND);
    world.server().cont();
    drop(held);
    let output = waits.wait();
    assert_eq!((output.code, output.stdout.as_str()), (0, "ran\n"), "{output:?}");
}
