//! `--soft`: the command runs although the store is down or in quarantine, and for no other reason.

use kvlock_tests::Watch;
use kvlock_tests::kvlock::{Output, eventually};
use rustix::process::Signal;

use super::{SECOND, World};

/// A server that is not there.
fn no_server() -> World {
    let mut world = World::memcached();
    world.server().kill();
    world
}

/// It ran to its end without the lock, and that was said.
#[track_caller]
fn assert_unguarded(output: &Output, code: i32) {
    output.assert_says(code, &["`k`", "--soft", "maybe at the same time as others", "memcached 127.0.0.1:"]);
}

#[test]
fn a_server_that_was_never_there_keeps_nothing_from_running() {
    let world = no_server();
    let script = "echo \"$KVLOCK_KEY ${KVLOCK_TOKEN-none} ${KVLOCK_DEADLINE-none} $KVLOCK_OWNER\"; exit 3";
    let kvlock = world.kvlock.clone().with("KVLOCK_TOKEN", "7").with("KVLOCK_DEADLINE", "7");
    let output = kvlock.script("k", &["--soft", "--owner", "me"], script);
    assert_unguarded(&output, 3);
    assert_eq!(output.stdout, "k none none me\n");
    output.assert_within(2 * SECOND);
    assert_unguarded(&world.run(["run", "k", "--soft", "--quiet", "--", "true"]), 0);
    assert_unguarded(&world.run(["run", "k", "--soft", "--reentrant", "--", "true"]), 0);
}

#[test]
fn without_the_option_a_server_that_is_not_there_keeps_the_command_from_running() {
    let world = no_server();
    let run = || world.script("k", &[], "echo ran");
    assert_eq!((run().code, run().stdout.as_str()), (69, ""));
    let kvlock = world.kvlock.clone().with("KVLOCK_SOFT", "");
    assert_eq!(kvlock.script("k", &[], "echo ran").code, 69);
    let kvlock = world.kvlock.clone().with("KVLOCK_SOFT", "true");
    assert_unguarded(&kvlock.script("k", &[], "exit 3"), 3);
}

#[test]
fn a_server_that_does_not_answer_keeps_nothing_from_running() {
    let mut world = World::memcached();
    world.server().stop();
    let output = world.script("k", &["--soft"], "exit 3");
    assert_unguarded(&output, 3);
    output.assert_within(10 * SECOND);
}

#[test]
fn with_the_server_there_it_is_a_lock_like_any_other() {
    let world = World::memcached();
    let script = "\"$KVLOCK\" status --json k; [ -n \"$KVLOCK_TOKEN\" ] && exit 3";
    let output = world.script("k", &["--soft"], script);
    assert_eq!((output.code, output.stderr.as_str()), (3, ""), "{output:?}");
    assert!(output.stdout.contains("\"depth\":1"), "{output:?}");
    assert!(world.is_free("k"));
}

#[test]
fn what_is_no_outage_keeps_the_command_from_running() {
    let mut world = World::memcached();
    let holder = world.hold("k", &[]);
    let run = |world: &World, options: &[&str]| {
        let output = world.script("k", &[&["--soft"], options].concat(), "echo ran");
        assert_eq!(output.stdout, "", "{output:?}");
        output.code
    };
    assert_eq!(run(&world, &["--wait", "0"]), 75);
    drop(holder);
    assert_eq!(run(&world, &["--lease", "0"]), 64);
    assert_eq!(run(&world, &["--retry-on", "9"]), 64, "a conflict is told by a lock");
    assert_eq!(run(&world, &["--store", "memcached://a:0"]), 64);
    assert_eq!(world.server().command("set kvlock:lock:k 0 0 7\r\nforeign"), "STORED\r\n");
    assert_eq!(run(&world, &[]), 64);
}

#[test]
fn a_server_that_came_back_empty_keeps_nothing_from_running() {
    let mut world = World::memcached();
    world.server().restart();
    for wait in ["0", "60s"] {
        let output = world.script("k", &["--soft", "--wait", wait, "--quarantine", "60s"], "exit 3");
        output.assert_says(3, &[]);
        assert!(["`k`", "--soft", "quarantine"].iter().all(|part| output.stderr.contains(part)), "{output:?}");
        assert!(output.took < 20 * SECOND, "{output:?}");
    }
    let output = world.script("k", &["--wait", "0", "--quarantine", "60s"], "echo ran");
    assert_eq!((output.code, output.stdout.as_str()), (75, ""), "the default waits: {output:?}");
}

#[test]
fn a_server_that_dies_does_not_end_the_command() {
    let mut world = World::memcached();
    let running = world.start_script("k", &["--soft", "--lease", "2s"], "echo > ready; sleep 4; exit 3");
    eventually("the start", || world.path("ready").exists());
    world.server().kill();
    let output = running.wait();
    assert_unguarded(&output, 3);
    assert!(output.took > 4 * SECOND, "{output:?}");
}

#[test]
fn without_the_option_a_server_that_dies_ends_the_command() {
    let mut world = World::memcached();
    let running = world.start_script("k", &["--lease", "2s"], "echo > ready; sleep 20; exit 3");
    eventually("the start", || world.path("ready").exists());
    world.server().kill();
    assert_eq!(running.wait().code, 74);
}

#[test]
fn a_server_that_freezes_does_not_end_the_command_however_short_the_lease() {
    let mut world = World::memcached();
    let running = world.start_script("k", &["--soft", "--lease", "1s"], "echo > ready; sleep 4; exit 3");
    eventually("the start", || world.path("ready").exists());
    world.server().stop();
    assert_unguarded(&running.wait(), 3);
}

#[test]
fn a_lock_that_somebody_breaks_ends_the_command() {
    let world = World::memcached();
    let mut holder = world.hold("k", &["--soft", "--lease", "3s"]);
    let broken = Watch::start();
    world.ok(["break", "k"]);
    assert_eq!(holder.exit(), 74);
    broken.assert_within(10 * SECOND);
}

#[test]
fn a_holder_that_slept_beyond_its_lease_while_the_server_was_there_has_lost_the_lock() {
    let world = World::memcached();
    let mut holder = world.hold("k", &["--soft", "--lease", "1s"]);
    holder.signal(Signal::STOP);
    let next = world.ok(["acquire", "k", "--wait", "20s"]);
    holder.signal(Signal::CONT);
    assert_eq!(holder.exit(), 74);
    world.ok(["release", &next]);
}

#[test]
fn a_command_without_a_lock_is_ended_after_its_longest_hold() {
    let world = no_server();
    let output = world.script("k", &["--soft", "--max-hold", "1s"], "exec sleep 30");
    assert_eq!(output.code, 74, "{output:?}");
    assert!(output.took >= SECOND, "{output:?}");
    output.assert_within(10 * SECOND);
}

#[test]
fn a_command_without_a_lock_gets_its_signals() {
    let world = no_server();
    let running =
        world.start_script("k", &["--soft"], "trap 'exit 9' TERM; echo > ready; while :; do sleep 0.05; done");
    eventually("the start", || world.path("ready").exists());
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code, 9);
}
