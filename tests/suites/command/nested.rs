//! A command under a lock that asks for the same lock.

use super::{World, in_both};

#[test]
fn a_nested_run_that_says_so_runs_at_once() {
    in_both(|world| {
        let nested =
            ["run", "k", "--reentrant", "--", "sh", "-c", "\"$KVLOCK\" run k --reentrant --wait 0 -- sh -c 'exit 5'"];
        let output = world.run(nested);
        assert_eq!((output.code, output.stderr.as_str()), (5, ""));
        assert!(world.is_free("k"));
    });
}

#[test]
fn the_lock_is_held_until_the_outermost_run_ends() {
    let world = World::local();
    let script = "\"$KVLOCK\" run k --reentrant -- true && \"$KVLOCK\" status --exit-code k";
    let output = world.script("k", &["--reentrant"], script);
    assert_eq!(output.code, 75, "{output:?}");
    assert!(output.stdout.contains("held by"), "{output:?}");
}

#[test]
fn a_nested_run_that_does_not_say_so_is_busy() {
    in_both(|world| {
        let output = world.script("k", &["--reentrant"], "\"$KVLOCK\" run k --wait 0 -- true");
        assert_eq!(output.code, 75, "{output:?}");
    });
}

#[test]
fn a_run_of_another_key_or_by_another_process_is_not_nested() {
    let world = World::local();
    let _holder = world.hold("other", &["--reentrant"]);
    let output = world.script("k", &[], "\"$KVLOCK\" run other --reentrant --wait 0 -- true");
    assert_eq!(output.code, 75, "{output:?}");
    assert_eq!(world.run(["run", "other", "--reentrant", "--wait", "0", "--", "true"]).code, 75);
}

#[test]
fn a_nested_run_after_the_lock_was_lost_waits_like_any_other() {
    let world = World::local();
    let script = "\"$KVLOCK\" break k > /dev/null; \"$KVLOCK\" acquire k > /dev/null; \
        \"$KVLOCK\" run k --reentrant --wait 0 -- true; echo $?";
    let output = world.script("k", &["--lease", "20s"], script);
    assert_eq!((output.code, output.stdout.as_str()), (74, "75\n"), "{output:?}");
}

/// All that a run starts has its owner's name in a variable: two of them would take the lock from each other.
#[test]
fn a_nested_run_adopts_only_in_a_name_of_its_own() {
    let world = World::local();
    let output = world.script("k", &["--owner", "outer"], "\"$KVLOCK\" run other --adopt -- true");
    assert_eq!(output.code, 64, "{output:?}");
    assert!(output.stderr.contains("--owner"), "{output:?}");
    let named = "\"$KVLOCK\" run other --adopt --owner inner -- true";
    assert_eq!(world.script("k", &["--owner", "outer"], named).code, 0);
}
