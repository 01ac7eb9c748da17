//! A lock that is free and that nobody waits for costs no pause, whatever a session remembers of the key: the tickets of
//! those who were served count for nothing.

mod support;

use std::time::Duration;

use support::crowd::{Crowd, Next, Unopposed};
use support::{Drive, World, micros, millis, secs, waiting};

/// What it cost those who found the lock free and nobody waiting. Of so many, each has the lock for its part of the load.
fn unopposed(members: u32, load: f64, hold: Duration, next: fn(Duration) -> Next) -> Vec<Unopposed> {
    let thinking = hold.mul_f64(f64::from(members) / load - 1.0);
    let mut all = Vec::new();
    for seed in 1..=3 {
        let mut crowd = Crowd::of_thinkers(members as usize, next(thinking), hold, seed);
        crowd.run_for(hold * 4000);
        all.append(&mut crowd.unopposed);
    }
    all.sort_unstable();
    all
}

#[test]
fn a_free_lock_that_nobody_waits_for_costs_a_session_that_waited_before_no_pause_and_one_look_at_most() {
    for (members, load) in [2, 3, 8, 16].into_iter().flat_map(|members| [(members, 0.25), (members, 0.5)]) {
        for hold in [millis(1), millis(5), millis(50)] {
            let all = unopposed(members, load, hold, Next::Thinks);
            let paused = all.iter().filter(|one| !one.paused.is_zero()).count();
            let (median, rare) = (all[all.len() / 2], all[all.len() * 85 / 100]);
            println!("{members} at {load} with {hold:?}: {paused} of {} paused, {median:?}", all.len());
            assert!(all.len() > 200, "{} with {hold:?}", all.len());
            // Now and then two are served out of order, and who was first does not know that it is the last.
            assert!(rare.paused.is_zero() && rare.calls <= 2, "{members} at {load} with {hold:?}: {rare:?}");
        }
    }
}

#[test]
fn a_new_session_does_not_wait_for_those_that_were_served() {
    for (members, load) in [(2, 0.5), (8, 0.25), (8, 0.5)] {
        let all = unopposed(members, load, millis(5), Next::NewSession);
        let worst = all[all.len() * 99 / 100];
        assert!(worst.paused.is_zero(), "{members} at {load}: {worst:?}");
    }
}

#[test]
fn sessions_that_think_between_two_holds_get_the_same_share_of_a_lock_that_is_always_wanted() {
    for load in [0.9, 1.5, 3.0] {
        let hold = millis(5);
        let mut crowd = Crowd::of_thinkers(8, Next::Thinks(hold.mul_f64(8.0 / load - 1.0)), hold, 1);
        crowd.run_for(hold * 3000);
        let grants: Vec<u64> = crowd.members.iter().map(|member| member.grants).collect();
        let (least, most) = (*grants.iter().min().unwrap(), *grants.iter().max().unwrap());
        println!("load {load}: {grants:?}");
        assert!(least as f64 > most as f64 * 0.85, "load {load}: {grants:?}");
        assert!(crowd.grants() > 2000, "load {load}: {grants:?}");
    }
}

/// The line of `k`, as text.
fn line(world: &mut World) -> Option<String> {
    let key = std::sync::Arc::from("n:line:k");
    match world.servers.execute(&kvlock_machine::Request::Get { key }, world.now) {
        kvlock_machine::Reply::Entry(Ok(entry)) => entry.map(|entry| String::from_utf8(entry.value).unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_last_of_the_list_takes_its_ticket_out_when_it_releases_the_lock() {
    let mut world = World::new();
    let (one, other) = (world.acquainted("one"), world.acquainted("other"));
    let first = world.acquire(one, "k", waiting(30, secs(30))).unwrap();
    let mut next = world.acquiring(other, "k", waiting(30, secs(30)));
    world.run_for(millis(20), &mut [&mut next]);
    world.release(one, &first).unwrap();
    let second = world.finish(next).unwrap();
    assert!(line(&mut world).is_some(), "its ticket is there while it has the lock");
    world.log.clear();
    world.release(other, &second).unwrap();
    assert_eq!((line(&mut world), world.calls()), (None, vec!["delete", "delete"]));
    world.advance(micros(300_000));
    let again = world.acquire(other, "k", waiting(30, secs(30))).unwrap();
    assert_eq!(world.calls(), ["get-many", "add"], "it looks, because it had to wait before");
    world.release(other, &again).unwrap();
    assert_eq!(world.calls(), ["delete"], "it did not stand in the line");
}

#[test]
fn a_semaphore_of_which_permits_are_free_costs_a_session_that_waited_before_no_pause() {
    let mut world = World::new();
    let (one, other) = (world.acquainted("one"), world.acquainted("other"));
    world.resize(one, "s", 1).unwrap();
    let first = world.permit(one, "s", waiting(30, secs(30))).unwrap();
    let mut next = world.acquiring_permit(other, "s", waiting(30, secs(30)));
    world.run_for(millis(20), &mut [&mut next]);
    world.release(one, &first).unwrap();
    let second = world.finish(next).unwrap();
    world.release(other, &second).unwrap();
    for owner in [one, other] {
        let mut op = world.acquiring_permit(owner, "s", waiting(30, secs(30)));
        let grant = loop {
            assert!(!op.sleeps(), "a permit is free, and nobody waits");
            op.step(&mut world);
            if let Some(outcome) = op.outcome() {
                break outcome.unwrap();
            }
        };
        world.release(owner, &grant).unwrap();
    }
}
