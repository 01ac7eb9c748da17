//! Waiting for one key while others are held.

use kvlock_machine::{AcquireError, Grant, Mode, Validity, WaitingFor};

use super::support::{Op, Owner, World, millis, once, secs, waiting};
use super::{acquire, acquiring, forever, holders, keys, release};

fn patient(lease_secs: u64) -> kvlock_machine::LockOptions {
    once(lease_secs).wait(forever()).unwrap()
}

#[test]
fn a_waiter_holds_the_keys_before_the_busy_one_and_none_behind_it() {
    let mut world = World::new();
    let [holder, owner] = ["holder", "owner"].map(|name| world.acquainted(name));
    let busy = world.acquire(holder, "b", once(30)).unwrap();
    let mut op = acquiring(&mut world, owner, &["c", "b", "a"], patient(30));
    world.run_for(secs(1), &mut [&mut op]);
    assert_eq!(holders(&mut world, &["a", "b", "c"]), ["owner", "holder", ""]);
    assert_eq!(op.machine.key(), "b");
    let WaitingFor::Holder(by) = op.machine.waiting_for() else { panic!("{:?}", op.machine.waiting_for()) };
    assert_eq!(by.owner, "holder");
    world.release(holder, &busy).unwrap();
    world.run_for(secs(1), &mut [&mut op]);
    assert_eq!(keys(&op.outcome().unwrap().unwrap()), ["c", "b", "a"]);
}

#[test]
fn what_is_held_is_kept_alive_during_a_wait_of_many_leases_and_is_fresh_at_its_end() {
    let mut world = World::new();
    let [holder, owner] = ["holder", "owner"].map(|name| world.acquainted(name));
    let busy = world.acquire(holder, "c", once(3600)).unwrap();
    let mut op = acquiring(&mut world, owner, &["a", "b", "c"], patient(3));
    for _ in 0..300 {
        world.run_for(millis(200), &mut [&mut op]);
        assert_eq!(holders(&mut world, &["a", "b"]), ["owner", "owner"], "at {:?}", world.now);
    }
    world.release(holder, &busy).unwrap();
    world.run_for(secs(1), &mut [&mut op]);
    let grants = op.outcome().unwrap().unwrap();
    for grant in &grants {
        let Validity::Valid(left) = world.validity(owner, grant) else { panic!("{}", grant.key()) };
        assert!(left > millis(1600), "{} is valid for {left:?}", grant.key());
    }
}

#[test]
fn one_limit_counts_for_the_whole_wait_and_not_for_each_key() {
    let mut world = World::new();
    let [first, second, owner] = ["first", "second", "owner"].map(|name| world.acquainted(name));
    let a = world.acquire(first, "a", once(60)).unwrap();
    world.acquire(second, "b", once(60)).unwrap();
    let began = world.now;
    let mut op = acquiring(&mut world, owner, &["a", "b", "c"], waiting(60, secs(10)));
    world.run_for(secs(8), &mut [&mut op]);
    world.release(first, &a).unwrap();
    world.run_for(secs(1), &mut [&mut op]);
    assert_eq!(holders(&mut world, &["a", "b", "c"]), ["owner", "second", ""]);
    world.run_until(began + millis(10_100), &mut [&mut op]);
    let error = op.outcome().expect("it ended").unwrap_err();
    let AcquireError::Busy { waited, waiting_for: WaitingFor::Holder(by) } = error else { panic!("{error:?}") };
    assert!(waited >= secs(10) && waited < millis(10_100), "{waited:?}");
    assert_eq!((by.owner.as_str(), op.machine.key()), ("second", "b"));
    assert_eq!(holders(&mut world, &["a", "b", "c"]), ["", "second", ""], "what was taken is given back");
}

#[test]
fn owners_that_name_the_same_keys_in_every_order_all_have_their_turns() {
    let mut world = World::new();
    let orders = [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"], ["c", "a", "b"]];
    let owners: Vec<Owner> = (0..orders.len()).map(|n| world.acquainted(&format!("owner {n}"))).collect();
    let mut held: Vec<Option<Vec<Grant>>> = vec![None; owners.len()];
    let mut turns = vec![0; owners.len()];
    let mut ops: Vec<Op<_>> =
        owners.iter().zip(orders).map(|(owner, order)| acquiring(&mut world, *owner, &order, patient(30))).collect();
    for _ in 0..4000 {
        for n in 0..owners.len() {
            world.run_for(millis(1), &mut [&mut ops[n]]);
            if let Some(outcome) = ops[n].outcome() {
                held[n] = Some(outcome.unwrap());
            }
            assert!(held.iter().flatten().count() <= 1, "two have all keys");
            if let Some(grants) = held[n].take() {
                release(&mut world, owners[n], &grants).unwrap();
                turns[n] += 1;
                ops[n] = acquiring(&mut world, owners[n], &orders[n], patient(30));
            }
        }
    }
    assert!(turns.iter().all(|turns| *turns > 20), "{turns:?}");
}

#[test]
fn a_wait_that_is_dropped_gives_back_what_it_has_and_leaves_its_line() {
    let mut world = World::new();
    let [holder, owner, next] = ["holder", "owner", "next"].map(|name| world.acquainted(name));
    let busy = world.acquire(holder, "c", once(60)).unwrap();
    let mut op = acquiring(&mut world, owner, &["a", "b", "c"], patient(30).at_least(secs(9)).unwrap());
    world.run_for(secs(1), &mut [&mut op]);
    world.calls();
    let abandon = op.machine.abandon(world.session(owner));
    world.drive(owner, abandon);
    assert_eq!(world.calls()[0], "all", "one call for what it held");
    assert_eq!(holders(&mut world, &["a", "b"]), ["", ""], "no minimum hold for work that did not happen");
    assert_eq!(world.servers.value("n:line:c", world.now), None);
    world.release(holder, &busy).unwrap();
    assert!(acquire(&mut world, next, &["a", "b", "c"], once(30)).is_ok());
}

#[test]
fn a_reader_of_several_keys_waits_for_the_writer_of_one() {
    let mut world = World::new();
    let [writer, reader] = ["writer", "reader"].map(|name| world.acquainted(name));
    let busy = world.acquire(writer, "b", once(60)).unwrap();
    let mut op = acquiring(&mut world, reader, &["c", "b", "a"], patient(30).mode(Mode::Shared));
    world.run_for(secs(2), &mut [&mut op]);
    assert_eq!(holders(&mut world, &["a", "b", "c"]), ["reader", "writer", ""]);
    world.release(writer, &busy).unwrap();
    world.run_for(secs(2), &mut [&mut op]);
    assert_eq!(keys(&op.outcome().unwrap().unwrap()), ["c", "b", "a"]);
}

#[test]
fn a_hint_that_a_key_was_freed_ends_the_pause_for_it() {
    let mut world = World::new();
    let [holder, owner] = ["holder", "owner"].map(|name| world.acquainted(name));
    let busy = world.acquire(holder, "b", once(60)).unwrap();
    let mut op = acquiring(&mut world, owner, &["a", "b"], patient(30).interval(secs(20)).unwrap());
    world.run_for(secs(30), &mut [&mut op]);
    let watched = op.machine.store_key().unwrap().to_string();
    assert_eq!(watched, "n:lock:b");
    world.release(holder, &busy).unwrap();
    op.hear_of_release(&world);
    world.run_for(millis(1), &mut [&mut op]);
    assert!(op.outcome().is_some_and(|outcome| outcome.is_ok()));
}
