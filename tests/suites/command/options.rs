//! What the options do.

use kvlock_tests::kvlock::eventually;
use rustix::process::Signal;

use super::{SECOND, World, in_both};

#[test]
fn a_minimum_time_keeps_the_key_taken_and_then_frees_it() {
    in_both(|world| {
        let again = ["run", "k", "--wait", "0", "--", "true"];
        assert_eq!(world.run(["run", "k", "--at-least", "2s", "--", "true"]).code, 0);
        let busy = world.run(again);
        assert_eq!(busy.code, 75, "{busy:?}");
        assert!(busy.stderr.contains("minimum time"), "{busy:?}");
        let freed = eventually("the end of the minimum time", || world.run(again).code == 0);
        assert!(freed > SECOND && freed < 6 * SECOND, "{freed:?}");
    });
}

#[test]
fn a_restarted_worker_takes_its_lock_back() {
    in_both(|world| {
        let mut first = world.hold("k", &["--owner", "worker", "--lease", "3s"]);
        let adopt = |owner| world.run(["run", "k", "--owner", owner, "--adopt", "--wait", "0", "--", "true"]).code;
        assert_eq!(adopt("another"), 75);
        assert_eq!(world.run(["run", "k", "--owner", "worker", "--wait", "0", "--", "true"]).code, 75);
        assert_eq!(adopt("worker"), 0);
        assert_eq!(first.exit(), 74);
    });
}

#[test]
fn a_lease_for_ever_outlives_its_holder() {
    in_both(|world| {
        let holder = world.hold("k", &["--lease", "forever"]);
        holder.signal(Signal::KILL);
        drop(holder);
        std::thread::sleep(SECOND);
        assert_eq!(world.run(["run", "k", "--wait", "1s", "--", "true"]).code, 75);
        assert!(world.ok(["status", "k"]).contains("until released"));
        world.ok(["break", "k"]);
        assert_eq!(world.run(["run", "k", "--wait", "0", "--", "true"]).code, 0);
    });
}

#[test]
fn namespaces_are_separate() {
    in_both(|world| {
        let _holder = world.hold("k", &["--namespace", "one"]);
        for (namespace, code) in [("one", 75), ("two", 0), ("kvlock", 0)] {
            assert_eq!(world.run(["run", "k", "--namespace", namespace, "--wait", "0", "--", "true"]).code, code);
        }
    });
}

#[test]
fn the_quarantine_stands_before_or_after_the_subcommand() {
    let mut world = World::memcached();
    let url = world.server().url();
    let kvlock = kvlock_tests::Kvlock::at_home(world.folder.path());
    let run = ["run", "k", "--wait", "0", "--", "true"];
    let fresh = kvlock.run(["--store", &url].iter().chain(&run));
    fresh.assert_says(75, &["quarantine"]);
    assert_eq!(kvlock.run(["--quarantine", "0", "--store", &url].iter().chain(&run)).code, 0);
    let after = ["run", "--store", &url, "--quarantine", "0", "k", "--wait", "0", "--", "true"];
    assert_eq!(kvlock.run(after).code, 0);
    assert_eq!(kvlock.run(["run", "k", "--store", &url, "--quarantine", "0", "--", "true"]).code, 0);
}

#[test]
fn a_young_server_grants_when_the_quarantine_is_over() {
    let mut world = World::memcached();
    world.server().restart();
    let output = world.run(["run", "k", "--quarantine", "3s", "--lease", "2s", "--", "true"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    assert!(output.took > SECOND, "{output:?}");
    output.assert_within(6 * SECOND);
}
