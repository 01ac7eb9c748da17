//! Sizes: make, list, status, destroy.

use std::time::Duration;

use kvlock_tests::kvlock::{Running, eventually};
use rustix::process::Signal;

use super::super::{SECOND, World, in_both};
use super::{end, json};

/// Starts to give the semaphore `pool` a size, or to destroy it (0), and waits until that is begun.
fn begin(world: &World, size: u32) -> Running {
    let running = match size {
        0 => world.start(["semaphore", "destroy", "pool"]),
        _ => world.start(["semaphore", "make", "pool", &size.to_string()]),
    };
    eventually("the new size", || world.standing("pool")["size"] == size);
    running
}

#[test]
fn a_semaphore_is_made_grown_shrunk_left_as_it_is_and_destroyed() {
    in_both(|world| {
        for (size, told) in [
            ("5", "pool: made, 5 permits"),
            ("7", "pool: 7 permits, 5 before"),
            ("2", "pool: 2 permits, 7 before"),
            ("2", "pool: 2 permits, as before"),
            ("1", "pool: 1 permit, 2 before"),
        ] {
            assert_eq!(world.ok(["semaphore", "make", "pool", size]), told);
        }
        assert_eq!(world.ok(["semaphore", "destroy", "pool"]), "pool: destroyed");
        assert_eq!(world.ok(["semaphore", "list"]), "");
        let make = |size| json(&world.ok(["semaphore", "make", "--json", "pool", size]));
        assert_eq!(make("3"), serde_json::json!({ "semaphore": "pool", "size": 3, "before": null }));
        assert_eq!(make("4"), serde_json::json!({ "semaphore": "pool", "size": 4, "before": 3 }));
        let destroyed = json(&world.ok(["semaphore", "destroy", "--json", "pool"]));
        assert_eq!(destroyed, serde_json::json!({ "semaphore": "pool", "size": 0, "before": 4 }));
    });
}

#[test]
fn list_and_status_tell_sizes_and_holders() {
    in_both(|world| {
        world.make("lake", 1);
        world.make("a pool", 3);
        let _holders = ["alice", "bob"].map(|owner| world.hold_permit("a pool", &["--owner", owner]));
        let list = world.ok(["semaphore", "list"]);
        let lines: Vec<&str> = list.lines().collect();
        assert!(lines[0] == "a pool: 2 of 3 permits held: alice, bob" || lines[0].ends_with("bob, alice"), "{list}");
        assert_eq!(lines[1..], ["lake: 0 of 1 permits held"]);
        let status = world.ok(["semaphore", "status", "a pool"]);
        assert_eq!(status.lines().next(), Some("a pool: 2 of 3 permits held"));
        for (line, holder) in status.lines().skip(1).zip(world.standing("a pool")["holders"].as_array().unwrap()) {
            let start = format!("  permit {}: held by {} (", holder["permit"], holder["owner"].as_str().unwrap());
            assert!(
                line.starts_with(&start) && line.ends_with(&format!("token {}", holder["token"].as_str().unwrap())),
                "{status}"
            );
        }
        let listed: Vec<_> = world.ok(["semaphore", "list", "--json"]).lines().map(json).collect();
        assert_eq!((&listed[0]["semaphore"], &listed[1]["semaphore"]), (&"a pool".into(), &"lake".into()));
        assert_eq!((&listed[0]["size"], &listed[0]["held"]), (&3.into(), &2.into()));
        assert_eq!(listed[0]["holders"].as_array().unwrap().len(), 2);
        let free = serde_json::json!({ "semaphore": "lake", "size": 1, "held": 0, "holders": [], "quarantine": null });
        assert_eq!(listed[1], free);
        let elsewhere = world.kvlock.clone().with("KVLOCK_NAMESPACE", "elsewhere");
        assert_eq!(elsewhere.ok(["semaphore", "list"]), "");
    });
}

#[test]
fn of_many_holders_the_list_names_some() {
    let world = World::local();
    world.make("pool", 9);
    for _ in 0..8 {
        world.ok(["semaphore", "acquire", "pool", "--owner", "me"]);
    }
    assert_eq!(world.ok(["semaphore", "list"]), "pool: 8 of 9 permits held: me, me, me, me, me and 3 more");
}

#[test]
fn names_of_every_kind_are_names() {
    in_both(|world| {
        let names = ["a b", "-x", "1:pool", "line\nbreak", "Teich für Fische", "🔒", &"n".repeat(255)];
        for name in names {
            let given = format!("--name={name}");
            world.ok(["semaphore", "make", &given, "1"]);
            let told = world.ok(["semaphore", "run", &given, "--", "printenv", "KVLOCK_KEY"]);
            assert_eq!(told, name);
        }
        let listed = world.ok(["semaphore", "list"]);
        assert_eq!(listed.lines().count(), names.len(), "{listed}");
        assert!(listed.contains("line\\nbreak: 0 of 1 permits held"), "{listed}");
        for name in names {
            world.ok(["semaphore", "destroy", &format!("--name={name}")]);
        }
        assert_eq!(world.ok(["semaphore", "list"]), "");
    });
}

#[test]
fn shrinking_from_five_to_two_while_four_are_held_ends_when_two_are_back() {
    in_both(|world| {
        world.make("pool", 5);
        let [first, second, third, _fourth] = [(); 4].map(|()| world.hold_permit("pool", &[]));
        let mut shrinking = begin(world, 2);
        // One permit is free, and nobody gets it.
        let refused = world.try_permit("pool");
        assert_eq!(refused.code, 75, "{refused:?}");
        assert!(refused.stderr.contains("4 of 2 permits are held"), "{refused:?}");
        let mut waiter = world.start(["semaphore", "run", "pool", "--", "true"]);
        // Another semaphore can be made, and used, meanwhile.
        assert_eq!(world.semaphore(&["make", "other", "3"]).code, 0);
        assert_eq!(world.try_permit("other").code, 0);
        assert!(shrinking.is_running());
        end(first);
        std::thread::sleep(SECOND / 2);
        assert!(shrinking.is_running() && waiter.is_running());
        assert_eq!((world.try_permit("pool").code, world.held("pool")), (75, 3));
        end(second);
        let shrunk = shrinking.wait();
        assert_eq!((shrunk.code, shrunk.stdout.as_str()), (0, "pool: 2 permits, 5 before\n"), "{shrunk:?}");
        assert!(waiter.is_running());
        assert_eq!((world.try_permit("pool").code, world.held("pool")), (75, 2));
        end(third);
        assert_eq!(waiter.wait().code, 0);
    });
}

#[test]
fn a_shrinking_whose_time_is_up_gives_75_and_tells_whom_it_waits_for() {
    in_both(|world| {
        world.make("pool", 3);
        let holders = ["alice", "bob"].map(|owner| world.hold_permit("pool", &["--owner", owner]));
        for (wait, least) in [("0", Duration::ZERO), ("1s", SECOND)] {
            let output = world.semaphore(&["make", "pool", "1", "--wait", wait]);
            let parts = ["`pool`", "2 held", "alice", "bob", "since", "asking again", "another size"];
            output.assert_refused(75, &parts);
            assert!(output.took >= least, "{output:?}");
            output.assert_within(least + 2 * SECOND);
        }
        assert_eq!(world.standing("pool")["size"], 1);
        assert_eq!(world.ok(["semaphore", "make", "pool", "3"]), "pool: 3 permits, 1 before");
        holders.into_iter().for_each(end);
    });
}

#[test]
fn ctrl_c_ends_the_wait_of_a_shrinking_and_the_new_size_stands() {
    in_both(|world| {
        world.make("pool", 2);
        let [first, _second] = ["alice", "bob"].map(|owner| world.hold_permit("pool", &["--owner", owner]));
        let shrinking = begin(world, 1);
        shrinking.signal(Signal::INT);
        let output = shrinking.wait();
        output
            .assert_refused(130, &["`pool`: the wait was interrupted; the new size stands", "2 held", "alice", "bob"]);
        end(first);
        assert_eq!((world.try_permit("pool").code, &world.standing("pool")["size"]), (75, &1.into()));
    });
}

#[test]
fn a_shrinking_that_somebody_overtakes_gives_75_and_says_so() {
    in_both(|world| {
        world.make("pool", 3);
        let _holders = [(); 2].map(|()| world.hold_permit("pool", &[]));
        let shrinking = begin(world, 1);
        world.make("pool", 4);
        let output = shrinking.wait();
        output.assert_says(75, &["`pool` was given 4 permits by somebody else meanwhile"]);
    });
}

#[test]
fn destroying_lets_nobody_in_and_ends_when_all_permits_are_back() {
    in_both(|world| {
        world.make("pool", 2);
        let holder = world.hold_permit("pool", &["--owner", "alice"]);
        let refused = world.semaphore(&["destroy", "pool", "--wait", "0"]);
        refused.assert_says(75, &["`pool` is being destroyed, 1 held", "alice"]);
        let mut destroying = begin(world, 0);
        let closed = world.semaphore(&["run", "pool", "--", "true"]);
        assert_eq!(closed.code, 64, "{closed:?}");
        assert!(closed.stderr.contains("there is no semaphore `pool`"), "{closed:?}");
        assert_eq!(world.ok(["semaphore", "list"]), "pool: being destroyed, 1 held: alice");
        assert!(destroying.is_running());
        end(holder);
        assert_eq!(destroying.wait().code, 0);
        assert_eq!(world.semaphore(&["status", "pool"]).code, 64);
        assert_eq!(world.ok(["semaphore", "list"]), "");
    });
}
