//! `--shared`: readers beside each other, and whoever has the lock alone.

use super::{World, in_both};

#[test]
fn readers_run_beside_each_other_and_nobody_runs_alone_meanwhile() {
    in_both(|world| {
        let reader = world.hold("k", &["--shared"]);
        assert_eq!(world.run(["run", "k", "--shared", "--wait", "0", "--", "true"]).code, 0);
        assert_eq!(world.run(["run", "k", "-s", "--wait", "0", "--", "true"]).code, 0);
        let alone = world.run(["run", "k", "--wait", "0", "--", "true"]);
        assert_eq!(alone.code, 75, "{alone:?}");
        assert!(alone.stderr.contains("shared by"), "{alone:?}");
        let status: serde_json::Value = serde_json::from_str(&world.ok(["status", "k", "--json"])).unwrap();
        assert_eq!(status["holder"]["readers"], 1, "{status}");
        reader.signal(rustix::process::Signal::TERM);
        reader.wait();
        assert_eq!(world.run(["run", "k", "-x", "--wait", "0", "--", "true"]).code, 0);
    });
}

#[test]
fn options_are_spelled_as_by_flock() {
    let world = World::local();
    let holder = world.hold("k", &["-x"]);
    for (options, code) in [(&["-n"][..], 75), (&["-n", "-E", "9"], 9), (&["-w", "0"], 75), (&["-s", "-n"], 75)] {
        let output = world.run(["run", "k"].iter().chain(options).chain(&["--", "true"]));
        assert_eq!(output.code, code, "{options:?}: {output:?}");
    }
    drop(holder);
    // The last of two counts.
    let reader = world.hold("s", &["-x", "-s"]);
    assert_eq!(world.run(["run", "s", "-sn", "--", "true"]).code, 0);
    drop(reader);
}

#[test]
fn a_share_is_acquired_renewed_and_released_by_its_word() {
    let world = World::local();
    let [first, second] = [(); 2].map(|()| world.ok(["acquire", "k", "--shared"]));
    assert_eq!(world.run(["acquire", "k", "--wait", "0"]).code, 75);
    let first = world.ok(["renew", &first]);
    world.ok(["release", &second]);
    assert!(!world.is_free("k"));
    world.ok(["release", &first]);
    assert!(world.is_free("k"));
}

#[test]
fn a_killed_reader_is_followed_when_its_lease_has_ended() {
    let world = World::local();
    let killed = world.hold("k", &["--shared", "--lease", "2s"]);
    let living = world.hold("k", &["--shared", "--lease", "2s"]);
    killed.signal(rustix::process::Signal::KILL);
    killed.wait();
    let alone = world.start(["run", "k", "--wait", "30", "--", "true"]);
    world.await_waiters("k", 1);
    living.signal(rustix::process::Signal::TERM);
    living.wait();
    assert_eq!(alone.wait().code, 0);
}

#[test]
fn what_cannot_be_shared_is_refused_by_the_command_line() {
    let world = World::local();
    for options in [["--at-least", "1h"], ["--adopt", "--owner=me"], ["--reentrant", "-q"], ["--retry-on", "3"]] {
        let output = world.run(["run", "k", "--shared"].into_iter().chain(options).chain(["--", "true"]));
        assert_eq!(output.code, 64, "{output:?}");
    }
}

#[test]
fn nobody_has_alone_what_the_run_around_it_shares() {
    let world = World::local();
    let output = world.script("k", &["--shared"], "\"$KVLOCK\" run k --reentrant -n -- touch ran");
    assert_eq!(output.code, 64, "{output:?}");
    assert!(output.stderr.contains("is shared"), "{output:?}");
    assert!(!world.path("ran").exists());
}
