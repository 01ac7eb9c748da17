//! A holder that is killed.

use kvlock_tests::Watch;
use kvlock_tests::kvlock::{eventually, is_alive};
use rustix::process::Signal;

use super::{SECOND, World, in_both};

#[test]
fn the_lock_of_a_killed_holder_is_free_when_its_lease_has_ended_and_not_before() {
    in_both(|world| {
        // memcached keeps whole seconds and two more.
        let late = if world.server.is_some() { 5 * SECOND } else { 2 * SECOND };
        let started = Watch::start();
        let holder = world.hold("k", &["--lease", "3s"]);
        let granted = Watch::start();
        holder.signal(Signal::KILL);
        assert_eq!(world.run(["run", "k", "--wait", "0", "--", "true"]).code, 75);
        assert_eq!(world.run(["run", "k", "--", "true"]).code, 0);
        assert!(started.elapsed() > 3 * SECOND, "before the lease ended: {:?}", started.elapsed());
        granted.assert_within(3 * SECOND + late);
    });
}

#[test]
fn the_command_of_a_killed_holder_is_dead() {
    let world = World::local();
    let holder = world.start_script("k", &[], "trap '' TERM HUP INT; echo $$ > pid; while :; do sleep 0.1; done");
    let child: u32 = world.await_line("pid").parse().unwrap();
    assert!(is_alive(child));
    holder.signal(Signal::KILL);
    let killed = Watch::start();
    eventually("the command's end", || !is_alive(child));
    killed.assert_within(SECOND);
}

#[test]
fn a_waiter_that_is_killed_leaves_nothing() {
    in_both(|world| {
        let holder = world.hold("k", &[]);
        let mut waiter = world.start(["run", "k", "--", "true"]);
        world.await_waiters("k", 1);
        assert!(waiter.is_running());
        waiter.signal(Signal::KILL);
        waiter.exit();
        holder.signal(Signal::TERM);
        assert_eq!(holder.wait().code, 128 + 15);
        assert_eq!(world.run(["run", "k", "--wait", "0", "--", "true"]).code, 0);
    });
}
