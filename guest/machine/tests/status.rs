//! What a status tells of keys and semaphores: who has them, who waits, and whether anything is granted yet.

mod support;

use std::time::Duration;

use kvlock_machine::{KeyError, KeyState, StoreError, Ttl};
use support::{Fault, World, millis, nested, once, secs, waiting};

#[test]
fn status_tells_of_all_keys_in_one_call() {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.owner_with("b", Some(Duration::ZERO)));
    let grant = world.acquire(owner, "held key", nested(30)).unwrap();
    world.acquire(owner, "held key", nested(30)).unwrap();
    world.servers.set("foreign", b"42");
    world.log.clear();
    world.advance(secs(10));
    let found = world.status(other, &["free", "held key", "foreign"]).unwrap();
    assert_eq!(world.calls(), ["get-many"]);
    let states: Vec<_> = found.iter().map(|status| &status.state).collect();
    let [KeyState::Free, KeyState::Held(holder), KeyState::Corrupt(excerpt)] = states[..] else { panic!("{found:?}") };
    assert_eq!((holder.key.as_str(), holder.owner.as_str(), holder.depth), ("held key", "a", 2));
    assert_eq!((holder.token, holder.lease), (grant.token(), Ttl::After(secs(30))));
    assert_eq!(holder.time_left, Some(Ttl::After(secs(20))));
    assert_eq!(excerpt, "\"42\"");
    assert!(found.iter().all(|status| status.quarantine.is_none() && status.waiters == 0), "{found:?}");
}

#[test]
fn a_lock_that_was_released_within_its_minimum_time_is_kept() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let grant = world.acquire(owner, "k", once(30).at_least(secs(60)).unwrap()).unwrap();
    world.release(owner, &grant).unwrap();
    let status = world.status(owner, &["k"]).unwrap().remove(0);
    let KeyState::Kept(holder) = status.state else { panic!("{status:?}") };
    assert_eq!((holder.depth, holder.time_left), (0, Some(Ttl::After(secs(60)))));
}

#[test]
fn a_waiter_in_the_list_is_counted_and_a_served_one_is_not() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let grant = world.acquire(owner, "k", once(30)).unwrap();
    let waiters = ["b", "c", "d"].map(|name| world.acquainted(name));
    let mut waits = waiters.map(|waiter| world.acquiring(waiter, "k", waiting(30, secs(600))));
    for (count, wait) in (1..).zip(&mut waits) {
        world.run_for(millis(60), &mut [wait]);
        assert_eq!(world.status(owner, &["k"]).unwrap().remove(0).waiters, count);
    }
    world.release(owner, &grant).unwrap();
    let [next, ..] = waits;
    world.finish(next).unwrap();
    let status = world.status(owner, &["k"]).unwrap().remove(0);
    let KeyState::Held(holder) = &status.state else { panic!("{status:?}") };
    assert_eq!((holder.owner.as_str(), status.waiters), ("b", 2));
}

#[test]
fn a_quarantine_is_told_and_counted_down_held_or_not_and_its_era_is_asked_for_once() {
    let mut world = World::new();
    let owner = world.owner("a");
    world.servers.lose(0, world.now);
    let careless = world.owner_with("careless", Some(Duration::ZERO));
    let _held = world.acquire(careless, "held", once(300)).unwrap();
    world.log.clear();
    let mut left = secs(30);
    for calls in [["get-many", "era"].as_slice(), &["get-many"], &["get-many"]] {
        let status = world.status(owner, &["held"]).unwrap().remove(0);
        assert_eq!((status.quarantine, matches!(status.state, KeyState::Held(_))), (Some(left), true));
        assert_eq!(world.calls(), calls);
        world.advance(secs(10));
        left -= secs(10);
    }
    assert_eq!(world.status(owner, &["held"]).unwrap().remove(0).quarantine, None);
    assert_eq!(world.status(careless, &["held"]).unwrap().remove(0).quarantine, None, "it has none");
}

#[test]
fn a_free_key_is_asked_about_at_its_own_server() {
    let mut world = World::new();
    let owner = world.owner_with("a", Some(secs(50)));
    world.servers.lose(0, world.now);
    world.advance(secs(20));
    let found = world.status(owner, &["k", "l"]).unwrap();
    assert_eq!(world.calls(), ["get-many", "era", "era"]);
    for status in found {
        assert_eq!((status.state, status.quarantine), (KeyState::Free, Some(secs(30))), "by the session's own rule");
    }
}

#[test]
fn a_session_that_cannot_learn_the_era_says_so_and_not_that_a_key_is_free() {
    let mut world = World::new();
    let owner = world.owner("a");
    world.script([Fault::Fine, Fault::Unavailable]);
    assert!(matches!(world.status(owner, &["k"]), Err(KeyError::Store(StoreError::Unavailable(_)))));
}

#[test]
fn a_semaphore_tells_of_the_quarantine_too() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    world.servers.lose(0, world.now);
    world.resize(owner, "pool", 2).unwrap();
    world.resize(owner, "pond", 2).unwrap();
    world.advance(secs(12));
    world.log.clear();
    let told: Vec<_> = world.semaphores(owner).iter().map(|status| status.quarantine).collect();
    assert_eq!(told, [Some(secs(18)); 2]);
    assert_eq!(world.calls().iter().filter(|call| **call == "era").count(), 1);
    world.advance(secs(18));
    assert!(world.semaphores(owner).iter().all(|status| status.quarantine.is_none()));
}
