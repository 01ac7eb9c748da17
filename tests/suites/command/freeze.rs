//! A server that answers no more while a command runs.

use kvlock_tests::Watch;
use kvlock_tests::kvlock::{Kvlock, eventually, is_alive};

use super::{SECOND, World};

#[test]
fn a_command_is_asked_to_end_before_the_lease_could_have_ended() {
    let mut world = World::memcached();
    let script = "trap 'echo term >> log; exit 3' TERM; echo $$ > pid; while :; do sleep 0.05; done";
    let mut holder = world.start_script("k", &["--lease", "3s"], script);
    let child: u32 = world.await_line("pid").parse().unwrap();
    let frozen = Watch::start();
    world.server().stop();
    eventually("the command's end", || !is_alive(child));
    frozen.assert_within(3 * SECOND);
    assert!(frozen.elapsed() > SECOND, "given up too soon: {:?}", frozen.elapsed());
    assert_eq!(world.read("log"), "term\n");
    assert_eq!(holder.exit(), 74);
    let output = holder.wait();
    // The shell may have said that its `sleep` was terminated.
    let ours: Vec<_> = output.stderr.lines().filter(|line| line.starts_with("kvlock: ")).collect();
    assert!(ours.len() == 1 && ours[0].contains("`k`") && ours[0].contains("lost"), "{output:?}");
}

#[test]
fn a_command_that_does_not_listen_and_its_children_are_killed_before_the_lease_could_have_ended() {
    let mut world = World::memcached();
    let script = "trap 'echo term >> log' TERM; \
        (trap '' TERM; sh -c 'echo $$ > grandchild; while :; do sleep 0.05; done') & \
        echo $$ > pid; while :; do sleep 0.05; done";
    let mut holder = world.start_script("k", &["--lease", "3s"], script);
    let ids = ["pid", "grandchild"].map(|name| world.await_line(name).parse::<u32>().unwrap());
    let frozen = Watch::start();
    world.server().stop();
    eventually("their end", || !ids.into_iter().any(is_alive));
    frozen.assert_within(3 * SECOND);
    assert_eq!(world.read("log"), "term\n");
    assert_eq!(holder.exit(), 74);
}

#[test]
fn what_a_command_that_ends_at_term_leaves_behind_is_killed_too() {
    let mut world = World::memcached();
    let script = "trap 'exit 0' TERM; \
        (trap '' TERM; sh -c 'echo $$ > grandchild; while :; do sleep 0.05; done') & \
        echo $$ > pid; while :; do sleep 0.05; done";
    let mut holder = world.start_script("k", &["--lease", "2s"], script);
    let ids = ["pid", "grandchild"].map(|name| world.await_line(name).parse::<u32>().unwrap());
    let frozen = Watch::start();
    world.server().stop();
    eventually("their end", || !ids.into_iter().any(is_alive));
    frozen.assert_within(2 * SECOND);
    assert_eq!(holder.exit(), 74);
}

#[test]
fn a_command_that_ended_in_time_keeps_its_exit_code_though_the_release_is_never_answered() {
    let mut world = World::memcached();
    // A release waits for its answer for longer than the lease.
    let store = format!("{}?timeout=6s", world.server().url());
    world.kvlock = Kvlock::on(&store, world.folder.path());
    for options in [&["--lease", "4s"][..], &["--lease", "4s", "--soft"]] {
        let mut holder =
            world.start_script("k", options, "echo up > up; while ! [ -e end ]; do sleep 0.01; done; exit 7");
        world.await_line("up");
        world.server().stop();
        std::fs::write(world.path("end"), "").unwrap();
        assert_eq!(holder.exit(), 7);
        let output = holder.wait();
        assert!(output.stderr.contains("not released") && !output.stderr.contains("lost"), "{output:?}");
        world.server().cont();
        for name in ["up", "end"] {
            std::fs::remove_file(world.path(name)).unwrap();
        }
    }
}

#[test]
fn a_server_that_answers_again_in_time_costs_nothing() {
    let mut world = World::memcached();
    let holder = world.start_script("k", &["--lease", "6s"], "echo > ready; sleep 7; exit 5");
    eventually("the start", || world.path("ready").exists());
    world.server().stop();
    std::thread::sleep(3 * SECOND);
    world.server().cont();
    let output = holder.wait();
    assert_eq!((output.code, output.stderr.as_str()), (5, ""), "{output:?}");
}
