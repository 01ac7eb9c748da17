//! Stores that are down, are not what they should be, or were not named.

use std::io::{Read, Write};
use std::net::TcpListener;

use kvlock_tests::Kvlock;

use super::{SECOND, World};

/// What each way to use a store gives.
#[track_caller]
fn assert_all_give(code: i32, kvlock: &Kvlock, part: &str) {
    let commands: [&[&str]; 4] = [
        &["run", "k", "--wait", "0", "--", "true"],
        &["acquire", "k", "--wait", "0"],
        &["status", "k"],
        &["break", "k"],
    ];
    for arguments in commands {
        let output = kvlock.run(arguments);
        output.assert_refused(code, &[part]);
        assert_eq!(output.stderr.matches(part).count(), 1, "`{part}`: {output:?}");
    }
}

#[test]
fn a_server_that_is_down_gives_69_at_once_without_a_wait() {
    let mut world = World::memcached();
    world.server().kill();
    assert_all_give(69, &world, "refused");
    let output = world.run(["run", "k", "--wait", "0", "--", "true"]);
    assert_eq!(output.code, 69, "{output:?}");
    output.assert_within(5 * SECOND);
}

#[test]
fn a_server_that_is_frozen_gives_69_in_bounded_time() {
    let mut world = World::memcached();
    world.server().stop();
    let output = world.run(["run", "k", "--wait", "0", "--", "true"]);
    output.assert_says(69, &[]);
    output.assert_within(5 * SECOND);
    world.server().cont();
}

#[test]
fn a_server_without_cas_gives_69() {
    let server = kvlock_testkit::MemcachedServer::start_with(&["-C"]);
    let folder = tempfile::tempdir().unwrap();
    let kvlock = Kvlock::on(&server.url(), folder.path());
    assert_all_give(69, &kvlock, "-C");
}

#[test]
fn a_host_that_does_not_exist_is_an_outage_and_how_it_is_spelled_is_to_be_checked() {
    let world = World::local();
    let kvlock = world.kvlock.clone().with("KVLOCK_STORE", "memcached://no-such-host..invalid");
    assert_all_give(69, &kvlock, "check how `no-such-host..invalid` is spelled");
    // Soft work runs, as in every outage.
    let output = kvlock.run(["run", "--soft", "k", "--", "echo", "ran"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "ran\n"), "{output:?}");
}

#[test]
fn timeouts_are_set_in_the_url_and_what_is_no_parameter_gives_64() {
    let mut world = World::memcached();
    let url = |parameters: &str, world: &mut World| format!("memcached://{}?{parameters}", world.server().addr());
    let quick = url("timeout=50ms&connect-timeout=1s", &mut world);
    world.ok(["--store", &quick, "run", "k", "--", "true"]);
    world.server().stop();
    let output = world.run(["--store", &quick, "status", "k"]);
    world.server().cont();
    assert!(output.code == 69 && output.stderr.contains("within 50ms"), "{output:?}");
    // As the authority of a URL is written.
    for url in [format!("memcached://{}/", world.server().addr()), quick.replace('?', "/?")] {
        world.ok(["--store", &url, "run", "k", "--", "true"]);
    }
    let wrong = url("time-out=1s", &mut world);
    let output = world.run(["--store", &wrong, "status", "k"]);
    assert!(output.code == 64 && output.stderr.contains("there are `connect-timeout`, `timeout`"), "{output:?}");
}

#[test]
fn two_servers_behind_one_address_are_unfit_for_doctor_which_names_both() {
    let world = World::local();
    let (one, two) = (kvlock_testkit::MemcachedServer::start(), kvlock_testkit::MemcachedServer::start());
    let balancer = kvlock_tests::Proxy::balance(&[&one.addr(), &two.addr()]);
    let kvlock = world.kvlock.clone().with("KVLOCK_STORE", &format!("memcached://{}", balancer.addr()));
    let output = kvlock.run(["doctor"]);
    assert_eq!(output.code, 69, "{output:?}");
    let unfit: Vec<_> = output.stdout.lines().filter(|line| line.starts_with("UNFIT")).collect();
    assert_eq!(unfit.len(), 1, "{output:?}");
    for server in [&one, &two] {
        assert!(unfit[0].contains(&format!("process {}", server.stat("pid"))), "{output:?}");
    }
}

#[test]
fn a_server_of_another_kind_gives_64() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    let world = World::local();
    let kvlock = world.kvlock.clone().with("KVLOCK_STORE", &format!("memcached://{address}"));
    assert_all_give(64, &kvlock, "HTTP/1.1 400");
}

#[test]
fn a_file_that_is_not_ours_gives_64_and_is_left_as_it_is() {
    let world = World::local();
    std::fs::write(world.path("notes"), "some notes\n").unwrap();
    for (path, part) in [(world.path("notes"), "is not a kvlock store"), (world.path(""), "is a folder")] {
        let kvlock = world.kvlock.clone().with("KVLOCK_STORE", &format!("local:{}", path.display()));
        assert_all_give(64, &kvlock, part);
    }
    assert_eq!(world.read("notes"), "some notes\n");
}

#[test]
fn a_record_that_is_not_ours_gives_64_and_is_left_as_it_is() {
    let mut world = World::memcached();
    let get = "get kvlock:lock:k";
    // What is there before the first client came is of no known era, and void.
    world.ok(["run", "other", "--", "true"]);
    world.server().command("set kvlock:lock:k 0 0 5\r\nhello");
    for arguments in [&["run", "k", "--", "true"][..], &["acquire", "k"], &["break", "k"]] {
        world.run(arguments).assert_refused(64, &["hello", "`k`"]);
    }
    let status = world.ok(["status", "k"]);
    assert!(status.contains("hello") && status.lines().count() == 1, "{status:?}");
    assert!(world.server().command(get).contains("hello"));
}

#[test]
fn with_nothing_configured_locks_live_in_a_local_file_and_that_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let kvlock = Kvlock::at_home(folder.path());
    let output = kvlock.script("k", &["--retry-on", "9"], "[ \"$KVLOCK_TRY\" = 2 ] || exit 9");
    assert_eq!(output.code, 0);
    assert_eq!(output.stderr.matches("no --store given").count(), 1, "{output:?}");
    let file = folder.path().join("kvlock").join("locks.db");
    assert!(output.stderr.contains(&format!("local:{}", file.display())), "{output:?}");
    assert!(file.exists());
    // Nobody has chosen that, and who wants quiet must know it all the same.
    for quiet in ["-q", "--quiet"] {
        let output = kvlock.run(["run", quiet, "k", "--", "true"]);
        output.assert_says(0, &["this machine only"]);
    }
    let chosen = kvlock.with("KVLOCK_STORE", &format!("local:{}", file.display()));
    assert_eq!(chosen.run(["run", "k", "--", "true"]).stderr, "");
}

#[test]
fn a_store_that_would_exclude_nobody_is_refused() {
    let world = World::local();
    let kvlock = world.kvlock.clone().with("KVLOCK_STORE", "memory:");
    for arguments in [
        &["run", "k", "--", "touch", "ran"][..],
        &["acquire", "k"],
        &["status", "k"],
        &["break", "k"],
        &["semaphore", "make", "pool", "2"],
        &["semaphore", "run", "pool", "--", "touch", "ran"],
        &["doctor"],
    ] {
        let output = kvlock.run(arguments);
        output.assert_refused(64, &["would exclude nobody"]);
    }
    assert!(!world.path("ran").exists());
}

#[test]
fn the_servers_of_memcachedlock_servers_are_taken_where_no_store_is_named() {
    let mut world = World::memcached();
    let kvlock = Kvlock::at_home(world.folder.path()).with("MEMCACHEDLOCK_SERVERS", &world.server().addr());
    let kvlock = kvlock.with("KVLOCK_QUARANTINE", "0");
    let _holder = kvlock.start_script("k", &["--owner", "one"], "echo > ready; exec sleep 60");
    kvlock_tests::kvlock::eventually("the start", || world.path("ready").exists());
    assert!(world.ok(["status", "k"]).contains("held by one"));
    // A store that is named goes first.
    let local = kvlock.with("KVLOCK_STORE", &format!("local:{}", world.path("other.db").display()));
    assert_eq!(local.ok(["status", "k"]), "k: free");
}

#[test]
fn locks_on_several_servers_are_found_in_whatever_order_the_servers_are_named() {
    let (one, two) = (World::memcached(), kvlock_testkit::MemcachedServer::start());
    let addresses = [one.server.as_ref().unwrap().addr(), two.addr()];
    let url = |a: usize, b: usize| format!("memcached://{},{}", addresses[a], addresses[b]);
    for key in ["a", "b", "c", "d"] {
        one.ok(["acquire", key, "--store", &url(0, 1)]);
        assert_eq!(one.run(["acquire", key, "--wait", "0", "--store", &url(1, 0)]).code, 75);
    }
}

#[test]
fn a_lock_that_cannot_be_released_is_told_and_the_exit_code_is_the_commands() {
    let mut world = World::memcached();
    let holder = world.start_script("k", &[], "echo > ready; while ! [ -e end ]; do sleep 0.05; done; exit 4");
    kvlock_tests::kvlock::eventually("the start", || world.path("ready").exists());
    world.server().kill();
    std::fs::write(world.path("end"), "").unwrap();
    let output = holder.wait();
    output.assert_says(4, &["not released: `k`", "lease"]);
}

#[test]
fn a_server_that_freezes_while_we_wait_does_not_prolong_the_wait_for_long() {
    let mut world = World::memcached();
    let _holder = world.hold("k", &[]);
    let waiter = world.start(["run", "k", "--wait", "3s", "--", "true"]);
    world.await_waiters("k", 1);
    world.server().stop();
    let output = waiter.wait();
    world.server().cont();
    assert!([69, 75].contains(&output.code), "{output:?}");
    // The call under way may take a connection's and an answer's time.
    output.assert_within(6 * SECOND);
    // One line more if it was told of the outage before.
    assert!((1..=2).contains(&output.stderr.lines().count()), "{output:?}");
}

#[test]
fn a_wait_survives_a_restart_of_the_server() {
    let mut world = World::memcached();
    let holder = world.hold("k", &["--lease", "6s"]);
    let waiter = world.start(["run", "k", "--wait", "20s", "--", "echo", "ran"]);
    world.await_waiters("k", 1);
    world.server().restart();
    let output = waiter.wait();
    assert_eq!((output.code, output.stdout.as_str()), (0, "ran\n"), "{output:?}");
    assert_eq!(holder.wait().code, 74);
}
