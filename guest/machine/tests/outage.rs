//! An outage at any call of a wait is ridden out: no phase of it ends while there is time left.

mod support;

use std::time::Duration;

use kvlock_machine::{LockOptions, Machine, ResizeError, RetryOptions, StoreError};
use support::{Drive, Fault, Op, Owner, World, lease, millis, nested, secs, waiting};

/// How the outage begins, at this call and at all that follow.
const BEGINNINGS: [Fault; 3] = [Fault::Unavailable, Fault::LostRequest, Fault::LostReply];
/// In how many calls it may begin.
const CALLS: usize = 14;
/// How many calls find the store down.
const DOWN: usize = 30;

/// Lets the outage begin after so many calls.
fn outage(world: &mut World, calls: usize, beginning: Fault) {
    world.script(std::iter::repeat_n(Fault::Fine, calls));
    world.script([beginning]);
    world.script(std::iter::repeat_n(Fault::Unavailable, DOWN));
}

/// Plays it for each beginning of the outage.
fn at_every_call(play: impl Fn(&mut World, &dyn Fn(&mut World)) -> Result<(), String>) {
    for (calls, beginning) in (0..CALLS).flat_map(|calls| BEGINNINGS.map(|beginning| (calls, beginning))) {
        let mut world = World::new();
        let begin = |world: &mut World| outage(world, calls, beginning);
        play(&mut world, &begin).unwrap_or_else(|error| panic!("{beginning:?} at call {calls}: {error}"));
    }
}

fn patient() -> LockOptions {
    waiting(30, secs(600))
}

/// Moves one to its end; whether it went well.
fn finish<M: Machine<Outcome = Result<T, E>>, T, E: std::fmt::Debug>(
    world: &mut World,
    op: Op<M>,
) -> Result<T, String> {
    world.finish(op).map_err(|error| format!("{error:?}"))
}

fn acquire(world: &mut World, owner: Owner, options: LockOptions) -> Result<(), String> {
    let op = world.acquiring(owner, "k", options);
    finish(world, op).map(drop)
}

#[test]
fn of_a_session_s_first_lock() {
    at_every_call(|world, begin| {
        let owner = world.owner("a");
        begin(world);
        acquire(world, owner, patient())
    });
}

#[test]
fn of_one_who_waits_in_line_for_a_holder() {
    at_every_call(|world, begin| {
        let (holder, owner) = (world.acquainted("holder"), world.acquainted("a"));
        let grant = world.acquire(holder, "k", waiting(3600, secs(1))).unwrap();
        begin(world);
        let mut op = world.acquiring(owner, "k", patient());
        world.run_for(secs(10), &mut [&mut op]);
        if op.due().is_none() {
            return Err(format!("{:?}", op.outcome()));
        }
        world.weather = Fault::Fine;
        world.release(holder, &grant).map_err(|error| format!("released: {error:?}"))?;
        finish(world, op).map(drop)
    });
}

#[test]
fn of_one_who_had_to_wait_before_and_looks_first() {
    at_every_call(|world, begin| {
        let (holder, owner) = (world.acquainted("holder"), world.acquainted("a"));
        let first = world.acquire(holder, "k", waiting(30, secs(1))).unwrap();
        let mut op = world.acquiring(owner, "k", patient());
        world.run_for(millis(20), &mut [&mut op]);
        world.release(holder, &first).unwrap();
        let second = world.finish(op).unwrap();
        world.release(owner, &second).unwrap();
        begin(world);
        acquire(world, owner, patient())
    });
}

#[test]
fn of_one_who_waits_for_a_quarantine_after_everything_was_lost() {
    at_every_call(|world, begin| {
        let owner = world.owner("a");
        world.servers.lose(0, world.now);
        begin(world);
        let began = world.now;
        acquire(world, owner, patient())?;
        assert!(world.now >= began + secs(29), "it was in quarantine");
        Ok(())
    });
}

#[test]
fn of_one_who_adopts() {
    at_every_call(|world, begin| {
        let (one, other) = (world.acquainted("a"), world.acquainted("a"));
        world.acquire(one, "k", waiting(30, secs(1))).unwrap();
        begin(world);
        acquire(world, other, patient().adopt(true))
    });
}

#[test]
fn of_one_who_holds_the_lock_and_locks_it_again() {
    at_every_call(|world, begin| {
        let owner = world.acquainted("a");
        let options = nested(3600).wait(Some(secs(600))).unwrap();
        let outer = world.acquire(owner, "k", options.clone()).unwrap();
        begin(world);
        acquire(world, owner, options)?;
        let depth = world.session(owner).depth(&outer);
        if depth == 2 { Ok(()) } else { Err(format!("held {depth} times")) }
    });
}

#[test]
fn of_one_who_waits_for_a_permit() {
    at_every_call(|world, begin| {
        let (holder, owner) = (world.acquainted("holder"), world.owner("a"));
        world.resize(holder, "s", 1).unwrap();
        let grant = world.permit(holder, "s", waiting(3600, secs(1))).unwrap();
        begin(world);
        let mut op = world.acquiring_permit(owner, "s", patient());
        world.run_for(secs(10), &mut [&mut op]);
        if op.due().is_none() {
            return Err(format!("{:?}", op.outcome()));
        }
        world.release(holder, &grant).map_err(|error| format!("released: {error:?}"))?;
        finish(world, op).map(drop)
    });
}

#[test]
fn of_a_semaphore_that_is_made_or_changed() {
    for sizes in [&[2][..], &[2, 3], &[3, 2], &[2, 0]] {
        at_every_call(|world, begin| {
            let owner = world.owner("a");
            let (last, before) = sizes.split_last().unwrap();
            for size in before {
                world.resize(owner, "s", *size).unwrap();
            }
            begin(world);
            let op = world.resizing(owner, "s", *last, secs(600));
            finish(world, op).map(drop)
        });
    }
}

#[test]
fn of_work_that_may_conflict() {
    at_every_call(|world, begin| {
        let owner = world.owner("a");
        let options = RetryOptions::new(lease(secs(30))).wait(Some(secs(600))).unwrap();
        begin(world);
        let (key, nonce) = (kvlock_machine::Key::new("k").unwrap(), world.nonce());
        let machine = kvlock_machine::Retry::new(key, options, 1).begin(nonce);
        let op = Op::new(world, owner, machine);
        finish(world, op).map(drop)
    });
}

#[test]
fn a_change_of_size_tells_that_it_waits_for_the_store() {
    let mut world = World::new();
    let owner = world.owner("a");
    world.weather = Fault::Unavailable;
    let mut op = world.resizing(owner, "s", 2, secs(10));
    world.run_for(secs(1), &mut [&mut op]);
    assert!(matches!(op.machine.outage(), Some(StoreError::Unavailable(_))));
    let began = world.now;
    assert!(matches!(world.finish(op), Err(ResizeError::Store(StoreError::Unavailable(_)))));
    assert_eq!(world.now - began, Duration::from_secs(9), "when its wait is over");
}
