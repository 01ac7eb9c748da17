//! Outages, quarantines, losses and force while some keys are held.

use kvlock_machine::{AcquireError, Validity, WaitingFor};

use super::support::{Drive, Fault, World, millis, once, secs, waiting};
use super::{acquire, acquiring, forever, holders, release};

fn patient(lease_secs: u64) -> kvlock_machine::LockOptions {
    once(lease_secs).wait(forever()).unwrap()
}

#[test]
fn an_outage_while_half_is_held_is_ridden_out() {
    let mut world = World::new();
    let [holder, owner] = ["holder", "owner"].map(|name| world.acquainted(name));
    let busy = world.acquire(holder, "b", once(600)).unwrap();
    let mut op = acquiring(&mut world, owner, &["a", "b", "c"], patient(30));
    world.run_for(secs(1), &mut [&mut op]);
    world.weather = Fault::Unavailable;
    world.run_for(secs(12), &mut [&mut op]);
    assert!(matches!(op.machine.waiting_for(), WaitingFor::Outage(_)), "{:?}", op.machine.waiting_for());
    world.weather = Fault::Fine;
    world.run_for(secs(60), &mut [&mut op]);
    assert_eq!(holders(&mut world, &["a", "b", "c"]), ["owner", "holder", ""], "its renewal caught up");
    world.release(holder, &busy).unwrap();
    world.run_for(secs(1), &mut [&mut op]);
    assert!(op.outcome().unwrap().is_ok());
}

#[test]
fn a_key_whose_lease_ends_in_an_outage_is_taken_again_and_nobody_believes_in_it_meanwhile() {
    let mut world = World::new();
    let [holder, owner, other] = ["holder", "owner", "other"].map(|name| world.acquainted(name));
    let busy = world.acquire(holder, "c", once(600)).unwrap();
    let mut op = acquiring(&mut world, owner, &["a", "b", "c"], patient(3));
    world.run_for(secs(1), &mut [&mut op]);
    world.weather = Fault::Unavailable;
    world.run_for(secs(20), &mut [&mut op]);
    world.weather = Fault::Fine;
    // Somebody else is faster.
    let a = world.acquire(other, "a", once(600)).unwrap();
    world.run_for(secs(5), &mut [&mut op]);
    assert_eq!(holders(&mut world, &["a", "b", "c"]), ["other", "", "holder"]);
    world.release(other, &a).unwrap();
    world.run_for(secs(5), &mut [&mut op]);
    assert_eq!(holders(&mut world, &["a", "b", "c"]), ["owner", "owner", "holder"]);
    world.release(holder, &busy).unwrap();
    world.run_for(secs(5), &mut [&mut op]);
    assert!(op.outcome().unwrap().is_ok());
}

#[test]
fn an_answer_that_is_lost_leaves_nothing_behind_that_outlives_the_wait() {
    for fault in [Fault::LostReply, Fault::LostRequest, Fault::Late(millis(300)), Fault::Unavailable] {
        let mut world = World::new();
        let owner = world.acquainted("owner");
        world.script([fault]);
        let grants = acquire(&mut world, owner, &["a", "b", "c"], waiting(30, secs(10))).unwrap();
        assert_eq!(grants.len(), 3, "{fault:?}");
        for grant in &grants {
            assert!(matches!(world.validity(owner, grant), Validity::Valid(_)), "{fault:?}");
        }
        release(&mut world, owner, &grants).unwrap();
        assert_eq!(holders(&mut world, &["a", "b", "c"]), [""; 3], "{fault:?}");
    }
}

#[test]
fn a_wait_that_ends_in_an_outage_says_so_and_claims_nothing() {
    let mut world = World::new();
    let owner = world.acquainted("owner");
    world.weather = Fault::Unavailable;
    let mut op = acquiring(&mut world, owner, &["a", "b"], waiting(30, secs(3)));
    world.run_for(secs(4), &mut [&mut op]);
    let error = op.outcome().unwrap().unwrap_err();
    assert!(matches!(error, AcquireError::Store(_)), "{error:?}");
    world.weather = Fault::Fine;
    assert_eq!(holders(&mut world, &["a", "b"]), ["", ""]);
}

#[test]
fn each_server_has_its_own_quarantine_and_what_others_keep_is_held_meanwhile() {
    let mut world = World::new();
    let server = world.servers.place("b");
    let owner = world.acquainted("owner");
    let now = world.now;
    world.servers.lose(server, now);
    let mut op = acquiring(&mut world, owner, &["a", "b", "c"], patient(3));
    world.run_for(secs(10), &mut [&mut op]);
    assert!(matches!(op.machine.waiting_for(), WaitingFor::Quarantine(_)), "{:?}", op.machine.waiting_for());
    assert_eq!(op.machine.key(), "b");
    assert_eq!(holders(&mut world, &["a", "b", "c"]), ["owner", "", ""]);
    world.run_for(secs(21), &mut [&mut op]);
    assert_eq!(op.outcome().expect("the quarantine is over").unwrap().len(), 3);
}

#[test]
fn a_server_that_loses_everything_takes_all_keys_with_it_and_they_are_taken_again() {
    let mut world = World::new();
    let [holder, owner] = ["holder", "owner"].map(|name| world.acquainted(name));
    let server = world.servers.place("a");
    let busy = world.acquire(holder, "c", once(600)).unwrap();
    let mut op = acquiring(&mut world, owner, &["a", "b", "c"], patient(3));
    world.run_for(secs(1), &mut [&mut op]);
    let now = world.now;
    world.servers.lose(server, now);
    world.run_for(secs(10), &mut [&mut op]);
    assert_eq!(op.machine.key(), "a", "it waits for the quarantine of the first key");
    assert_eq!(holders(&mut world, &["a", "b", "c"]), ["", "", "holder"], "and holds none behind it");
    world.release(holder, &busy).unwrap();
    world.run_for(secs(40), &mut [&mut op]);
    assert_eq!(op.outcome().unwrap().unwrap().len(), 3);
}

#[test]
fn a_key_that_is_broken_during_the_wait_is_waited_for_again() {
    let mut world = World::new();
    let [holder, owner, other] = ["holder", "owner", "other"].map(|name| world.acquainted(name));
    let busy = world.acquire(holder, "c", once(600)).unwrap();
    let mut op = acquiring(&mut world, owner, &["a", "b", "c"], patient(3));
    world.run_for(secs(1), &mut [&mut op]);
    world.break_lock(other, "a").unwrap().unwrap();
    let a = world.acquire(other, "a", once(600)).unwrap();
    world.run_for(secs(5), &mut [&mut op]);
    assert_eq!(holders(&mut world, &["a", "b", "c"]), ["other", "", "holder"]);
    world.release(other, &a).unwrap();
    world.release(holder, &busy).unwrap();
    world.run_for(secs(5), &mut [&mut op]);
    assert_eq!(op.outcome().unwrap().unwrap().len(), 3);
}

#[test]
fn a_waiter_that_crashes_costs_the_others_a_lease_at_most() {
    let mut world = World::new();
    let [holder, crashes, next] = ["holder", "crashes", "next"].map(|name| world.acquainted(name));
    world.acquire(holder, "c", once(5)).unwrap();
    let mut op = acquiring(&mut world, crashes, &["a", "b", "c"], patient(5));
    world.run_for(secs(2), &mut [&mut op]);
    drop(op);
    let began = world.now;
    let mut op = acquiring(&mut world, next, &["c", "b", "a"], patient(5));
    while !matches!(op.outcome(), Some(Ok(_))) {
        op.step(&mut world);
        assert!(world.now - began < secs(8), "{:?}", world.now - began);
    }
}

#[test]
fn a_host_that_polls_too_late_gets_no_keys_that_it_has_lost() {
    let mut world = World::new();
    let [holder, owner, other] = ["holder", "owner", "other"].map(|name| world.acquainted(name));
    let busy = world.acquire(holder, "b", once(600)).unwrap();
    let mut op = acquiring(&mut world, owner, &["a", "b"], patient(3));
    world.run_for(secs(1), &mut [&mut op]);
    // It is suspended, and somebody else gets both.
    op.oversleep(secs(60));
    world.advance(secs(30));
    world.release(holder, &busy).unwrap();
    let a = world.acquire(other, "a", once(600)).unwrap();
    world.run_for(secs(60), &mut [&mut op]);
    assert!(op.outcome().is_none());
    assert_eq!(holders(&mut world, &["a", "b"]), ["other", ""]);
    world.release(other, &a).unwrap();
    world.run_for(secs(2), &mut [&mut op]);
    assert!(op.outcome().unwrap().is_ok());
}
