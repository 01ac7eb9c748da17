//! The lease of a command that runs for longer than that.

use std::time::Instant;

use kvlock_tests::Watch;
use kvlock_tests::kvlock::eventually;

use super::{SECOND, World, in_both};

#[test]
fn a_lock_is_held_for_as_long_as_the_command_runs() {
    in_both(|world| {
        let script = "echo > ready; while ! [ -e end ]; do sleep 0.05; done";
        let mut holder = world.start_script("k", &["--lease", "1s"], script);
        eventually("the start", || world.path("ready").exists());
        let started = Instant::now();
        // Past what memcached keeps a lease of a second, too.
        while started.elapsed() < 5 * SECOND {
            assert_eq!(world.run(["run", "k", "--wait", "0", "--", "true"]).code, 75);
            std::thread::sleep(SECOND / 5);
        }
        std::fs::write(world.path("end"), "").unwrap();
        assert_eq!(holder.exit(), 0);
        assert!(world.is_free("k"));
    });
}

#[test]
fn a_lock_broken_by_force_ends_its_command_at_the_next_renewal() {
    in_both(|world| {
        let mut holder = world.hold("k", &["--lease", "3s", "--owner", "the victim"]);
        let broken = world.ok(["break", "k"]);
        assert!(broken.contains("the victim"), "{broken}");
        // Free from now on, though the holder is at work until it learns of it.
        assert_eq!(world.run(["run", "k", "--wait", "0", "--owner", "next", "--", "true"]).code, 0);
        let waited = Watch::start();
        eventually("the holder's end", || !holder.is_running());
        waited.assert_within(2 * SECOND);
        holder.wait().assert_says(74, &[]);
    });
}

#[test]
fn the_longest_hold_ends_the_command() {
    let world = World::local();
    let output = world.script("k", &["--max-hold", "1s", "--lease", "20s"], "trap 'exit 0' TERM; sleep 60 & wait");
    output.assert_says(74, &[]);
    assert!(output.took >= SECOND, "{output:?}");
    output.assert_within(3 * SECOND);
    assert!(world.is_free("k"));
}
