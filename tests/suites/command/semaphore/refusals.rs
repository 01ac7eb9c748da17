//! What cannot be: each has its exit code and its message, and no two are the same.

use kvlock_testkit::MemcachedServer;
use kvlock_tests::Kvlock;

use super::super::{World, in_both};

#[test]
fn an_unknown_name_gives_64_and_says_what_to_do() {
    in_both(|world| {
        for (arguments, next) in [
            (&["run", "pond", "--", "true"][..], "make it first"),
            (&["acquire", "pond", "--wait", "0"], "make it first"),
            (&["status", "pond"], "make it first"),
            (&["destroy", "pond"], "nothing to destroy"),
        ] {
            let output = world.semaphore(arguments);
            output.assert_refused(64, &[]);
            assert_eq!(output.stderr, format!("kvlock: there is no semaphore `pond`: {next}\n"));
        }
    });
}

#[test]
fn an_exhausted_semaphore_is_busy_and_not_unknown() {
    in_both(|world| {
        world.make("pool", 1);
        world.ok(["semaphore", "acquire", "pool"]);
        let output = world.semaphore(&["acquire", "pool", "--wait", "0"]);
        output.assert_refused(75, &[]);
        assert!(output.stderr.starts_with("kvlock: `pool` is busy: 1 of 1 permits are held"), "{output:?}");
    });
}

#[test]
fn sizes_out_of_range_give_64_and_name_the_range_and_nothing_is_made() {
    let world = World::local();
    for size in ["0", "-1", "-1000000", "1000001", "4294967296", "99999999999999999999"] {
        let output = world.semaphore(&["make", "pool", size]);
        assert_eq!((output.code, output.stdout.as_str()), (64, ""), "{output:?}");
        let first = output.stderr.lines().next().unwrap_or_default();
        assert!(first.contains(&format!("'{size}'")) && first.contains("<PERMITS>"), "{output:?}");
        assert!(first.contains("1..=1000000") || size.len() > 10, "{output:?}");
    }
    for size in ["abc", "", "1.5", "0x10"] {
        let output = world.semaphore(&["make", "pool", size]);
        assert_eq!((output.code, output.stdout.as_str()), (64, ""), "{output:?}");
        assert!(output.stderr.contains("<PERMITS>"), "{output:?}");
    }
    assert_eq!(world.ok(["semaphore", "list"]), "");
    for size in ["1", "1000000"] {
        assert_eq!(world.semaphore(&["make", "pool", size]).code, 0);
        assert_eq!(world.try_permit("pool").code, 0);
    }
}

#[test]
fn names_out_of_range_give_64_on_one_line() {
    let world = World::local();
    let long = "n".repeat(256);
    for (name, part) in [("", "name is empty"), (long.as_str(), "name has 256 bytes; at most 255")] {
        for arguments in [
            &["make", name, "1"][..],
            &["run", name, "--", "true"],
            &["acquire", name],
            &["status", name],
            &["break", name, "0"],
            &["destroy", name],
        ] {
            let output = world.semaphore(arguments);
            output.assert_refused(64, &[part]);
        }
    }
}

#[test]
fn wrong_usage_of_semaphores_gives_64_and_names_what_is_wrong() {
    let world = World::local();
    let cases: [(&[&str], &str); 8] = [
        (&[], "Usage"),
        (&["frobnicate"], "frobnicate"),
        (&["make"], "<NAME>"),
        (&["make", "pool"], "<PERMITS>"),
        (&["make", "pool", "1", "--wait", "-5s"], "-5"),
        (&["run", "pool"], "<COMMAND>"),
        (&["run", "pool", "--lease", "5 parsecs", "--", "true"], "parsecs"),
        (&["break", "pool", "first"], "first"),
    ];
    for (arguments, part) in cases {
        let output = world.semaphore(arguments);
        assert_eq!((output.code, output.stdout.as_str()), (64, ""), "{arguments:?}: {output:?}");
        assert!(output.stderr.contains(part), "{arguments:?}: {output:?}");
    }
}

#[test]
fn a_permit_that_there_is_not_is_not_said_to_be_free() {
    in_both(|world| {
        let unknown = world.semaphore(&["break", "pool", "0"]);
        assert!(unknown.code == 64 && unknown.stderr.contains("no semaphore `pool`"), "{unknown:?}");
        world.make("pool", 3);
        let beyond = world.semaphore(&["break", "pool", "3"]);
        assert!(beyond.code == 64 && beyond.stderr.contains("no permit 3: the last of them is 2"), "{beyond:?}");
        assert_eq!(world.ok(["semaphore", "break", "pool", "2"]), "pool: permit 2: free, nothing to break");
    });
}

#[test]
fn a_store_that_is_down_gives_69_whatever_is_asked() {
    let mut world = World::memcached();
    world.server().kill();
    for arguments in [
        &["make", "pool", "1", "--wait", "0"][..],
        &["run", "pool", "--wait", "0", "--", "true"],
        &["acquire", "pool", "--wait", "0"],
        &["list"],
        &["status", "pool"],
        &["break", "pool", "0"],
        &["destroy", "pool", "--wait", "0"],
    ] {
        let output = world.semaphore(arguments);
        output.assert_refused(69, &[]);
    }
}

#[test]
fn a_semaphore_on_several_servers_is_one_and_with_any_of_them_down_nobody_gets_in() {
    let mut servers = [(); 3].map(|()| MemcachedServer::start());
    let folder = tempfile::tempdir().unwrap();
    let url = format!("memcached://{},{},{}", servers[0].addr(), servers[1].addr(), servers[2].addr());
    let kvlock = Kvlock::on(&url, folder.path());
    kvlock.ok(["semaphore", "make", "pool", "12"]);
    let mut grants: Vec<String> = (0..12).map(|_| kvlock.ok(["semaphore", "acquire", "pool"])).collect();
    // The definition, the list of names and the permits: no server has them all.
    assert!(servers.iter().all(|server| server.stat("curr_items") < 14));
    let again = ["semaphore", "acquire", "pool", "--wait", "0"];
    assert_eq!(kvlock.run(again).code, 75);
    kvlock.ok(["release", &grants.pop().unwrap()]);
    kvlock.ok(again);
    servers.iter_mut().max_by_key(|server| server.stat("curr_items")).unwrap().kill();
    assert_eq!(kvlock.run(again).code, 69);
}

#[test]
fn a_semaphore_that_the_server_forgot_is_unknown_and_can_be_made_again() {
    let mut world = World::memcached();
    world.make("pool", 2);
    world.server().restart();
    let output = world.semaphore(&["run", "pool", "--", "true"]);
    assert_eq!(output.code, 64, "{output:?}");
    assert!(output.stderr.contains("there is no semaphore `pool`: make it first"), "{output:?}");
    world.make("pool", 2);
    assert_eq!(world.try_permit("pool").code, 0);
}
