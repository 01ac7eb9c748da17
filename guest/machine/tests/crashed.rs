//! A holder that crashed: its record stands, and whoever waits takes it over once the lease has ended by its own clock.

mod support;

use kvlock_machine::{Lease, LockOptions, Ttl};
use support::{Drive, Owner, World, millis, once, secs, waiting};

/// Somebody has the lock for 30 s, and the store keeps what it is given two seconds longer, as memcached does.
fn held() -> (World, Owner, kvlock_machine::Grant) {
    let mut world = World::new();
    world.servers.slack = secs(2);
    let holder = world.acquainted("holder");
    let grant = world.acquire(holder, "k", once(30)).unwrap();
    (world, holder, grant)
}

#[test]
fn the_lock_of_a_crashed_holder_is_had_a_lease_after_it_was_seen_although_the_store_keeps_it_longer() {
    let (mut world, holder, grant) = held();
    let waiter = world.acquainted("waiter");
    let mut wait = world.acquiring(waiter, "k", waiting(30, secs(300)));
    let began = world.now;
    world.run_until(began + secs(30) - millis(1), &mut [&mut wait]);
    assert!(wait.outcome().is_none(), "its holder may believe in it yet");
    world.run_until(began + secs(30) + millis(20), &mut [&mut wait]);
    let taken = wait.outcome().expect("the lease is over").unwrap();
    assert!(taken.token() > grant.token());
    assert!(world.renew(holder, &grant).is_err());
}

#[test]
fn each_renewal_begins_the_lease_again_for_whoever_waits() {
    let (mut world, holder, grant) = held();
    let waiter = world.acquainted("waiter");
    let mut wait = world.acquiring(waiter, "k", waiting(30, secs(300)));
    for _ in 0..12 {
        world.run_for(secs(10), &mut [&mut wait]);
        world.renew(holder, &grant).unwrap();
    }
    let renewed = world.now;
    world.run_until(renewed + secs(30) - millis(100), &mut [&mut wait]);
    assert!(wait.outcome().is_none());
    // It was seen with the next look after the renewal.
    world.run_until(renewed + millis(30_500), &mut [&mut wait]);
    assert!(wait.outcome().is_some());
}

#[test]
fn of_many_that_wait_the_first_of_the_list_takes_over_and_the_others_go_on_waiting() {
    let (mut world, ..) = held();
    let owners: Vec<Owner> = (0..8).map(|_| world.acquainted("waiter")).collect();
    let mut waits: Vec<_> = Vec::new();
    for owner in owners {
        let mut wait = world.acquiring(owner, "k", waiting(30, secs(300)));
        world.run_for(millis(100), &mut [&mut wait]);
        waits.push(wait);
    }
    let mut all: Vec<&mut dyn Drive> = waits.iter_mut().map(|wait| wait as &mut dyn Drive).collect();
    world.run_for(millis(29_900), &mut all);
    let granted: Vec<bool> = waits.iter_mut().map(|wait| wait.outcome().is_some()).collect();
    assert_eq!(granted, [true, false, false, false, false, false, false, false]);
}

#[test]
fn a_reader_takes_over_from_a_crashed_holder_but_not_before_a_writer_that_waits_longer() {
    let (mut world, ..) = held();
    let [writer, reader] = ["writer", "reader"].map(|name| world.acquainted(name));
    let began = world.now;
    let mut alone = world.acquiring(writer, "k", waiting(30, secs(300)));
    world.run_for(secs(1), &mut [&mut alone]);
    let mut share = world.sharing(reader, "k", waiting(30, secs(300)));
    world.run_until(began + millis(30_100), &mut [&mut alone, &mut share]);
    assert!(alone.outcome().is_some() && share.outcome().is_none());

    let (mut world, ..) = held();
    let reader = world.acquainted("reader");
    let began = world.now;
    let mut share = world.sharing(reader, "k", waiting(30, secs(300)));
    world.run_until(began + secs(30) - millis(1), &mut [&mut share]);
    assert!(share.outcome().is_none());
    world.run_until(began + secs(30) + millis(20), &mut [&mut share]);
    assert!(share.outcome().is_some_and(|outcome| outcome.is_ok()));
}

#[test]
fn a_lock_without_an_end_is_never_taken_over() {
    let mut world = World::new();
    let [holder, waiter] = ["holder", "waiter"].map(|name| world.acquainted(name));
    let forever = LockOptions::new(Lease::new(Ttl::Forever).unwrap());
    world.acquire(holder, "k", forever).unwrap();
    let mut wait = world.acquiring(waiter, "k", waiting(30, secs(10_000)));
    world.run_for(secs(1000), &mut [&mut wait]);
    assert!(wait.outcome().is_none());
}
