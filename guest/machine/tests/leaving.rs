//! Whoever gives up leaves the line, and those who were killed in it cost the living next to nothing.

mod support;

use std::sync::Arc;
use std::time::Duration;

use kvlock_machine::{Acquire, AcquireError, Grant, LockOptions, Reply, Request, Ttl};
use support::{Drive, Fault, Op, Owner, World, lease, micros, millis, once, secs, waiting};

/// A line in which so many stand who were killed, told that turns are so long.
fn killed(world: &mut World, waiting: usize, turn: Option<Duration>) {
    let tickets: String = (1..=waiting).map(|ticket| format!(" {ticket:016x}")).collect();
    let turn = turn.map(|turn| format!("turn: {}s\n", turn.as_secs_f64())).unwrap_or_default();
    let value = format!("kvlock/1 line\nkey: k\n{turn}waiting:{tickets}\n").into_bytes();
    let (key, ttl) = (Arc::<str>::from("n:line:k"), Ttl::After(secs(3600)));
    world.servers.execute(&Request::Add { key, value, ttl }, world.now);
}

/// How many stand in the line of `k`.
fn length(world: &mut World) -> usize {
    let reply = world.servers.execute(&Request::Get { key: Arc::from("n:line:k") }, world.now);
    let Reply::Entry(Ok(entry)) = reply else { panic!("{reply:?}") };
    let text = entry.map(|entry| String::from_utf8(entry.value).unwrap()).unwrap_or_default();
    text.split("waiting:").nth(1).map_or(0, |waiting| waiting.split_whitespace().count())
}

/// Moves all of them up to a time.
fn run_all(world: &mut World, to: Duration, ops: &mut [Op<Acquire>]) {
    let mut all: Vec<&mut dyn Drive> = ops.iter_mut().map(|op| op as &mut dyn Drive).collect();
    world.run_until(to, &mut all);
}

/// A holder of `k`, and so many who wait for it as long as they may.
fn queue(world: &mut World, count: usize, wait: Duration) -> (Owner, kvlock_machine::Grant, Vec<(Owner, Op<Acquire>)>) {
    let holder = world.acquainted("holder");
    let owners: Vec<_> = (0..count).map(|n| world.acquainted(&format!("waiter {n}"))).collect();
    let grant = world.acquire(holder, "k", waiting(3600, secs(1))).unwrap();
    world.weather = Fault::SlowRequest(micros(50));
    let mut ops = Vec::new();
    for owner in owners {
        ops.push((owner, world.acquiring(owner, "k", waiting(30, wait))));
        let mut all: Vec<&mut dyn Drive> = ops.iter_mut().map(|(_, op)| op as &mut dyn Drive).collect();
        world.run_for(millis(2), &mut all);
    }
    (holder, grant, ops)
}

#[test]
fn a_wait_that_is_over_takes_its_ticket_out_of_the_list() {
    let mut world = World::new();
    let (_, _, ops) = queue(&mut world, 3, secs(2));
    assert_eq!(length(&mut world), 3);
    for (left, (_, op)) in ops.into_iter().enumerate() {
        assert!(matches!(world.finish(op), Err(AcquireError::Busy { .. })));
        assert_eq!(length(&mut world), 2 - left);
    }
}

#[test]
fn all_of_a_crowd_whose_waits_are_over_at_the_same_time_leave_nobody_behind() {
    let mut world = World::new();
    let (_, _, ops) = queue(&mut world, 30, secs(2));
    let mut ops: Vec<_> = ops.into_iter().map(|(_, op)| op).collect();
    let end = world.now + secs(3);
    run_all(&mut world, end, &mut ops);
    assert!(ops.iter_mut().all(|op| matches!(op.outcome(), Some(Err(AcquireError::Busy { .. })))));
    assert!(length(&mut world) <= 3, "{} stand there yet", length(&mut world));
}

#[test]
fn a_wait_that_is_dropped_takes_its_ticket_out_with_one_write_or_three_if_it_does_not_know_the_list() {
    let mut world = World::new();
    let (_, _, ops) = queue(&mut world, 2, secs(30));
    for ((owner, mut op), (left, calls)) in ops.into_iter().rev().zip([(1, 1), (0, 3)]) {
        world.log.clear();
        let leave = op.machine.leave().expect("it stands in the line");
        world.drive(owner, leave);
        assert_eq!((length(&mut world), world.log.len()), (left, calls));
        assert!(op.machine.leave().is_none(), "once");
    }
}

#[test]
fn a_waiter_that_leaves_does_not_take_out_one_that_joined_meanwhile() {
    let mut world = World::new();
    let (_, _, mut ops) = queue(&mut world, 1, secs(30));
    let late = world.acquainted("late");
    let mut late = world.acquiring(late, "k", waiting(30, secs(30)));
    world.run_for(millis(1), &mut [&mut late]);
    let (owner, mut op) = ops.remove(0);
    let leave = op.machine.leave().expect("it stands in the line");
    world.drive(owner, leave);
    assert_eq!(length(&mut world), 1);
    assert!(late.machine.leave().is_some());
}

#[test]
fn leaving_asks_nothing_of_a_store_that_does_not_answer_and_ends_soon_where_it_stops_to() {
    let mut world = World::new();
    let (_, _, mut ops) = queue(&mut world, 2, secs(30));
    let (first, mut op) = ops.remove(0);
    world.weather = Fault::Unavailable;
    let leave = op.machine.leave().expect("it does not know yet");
    world.log.clear();
    world.drive(first, leave);
    assert_eq!(world.log.len(), 1);
    let (_, mut op) = ops.remove(0);
    world.run_for(secs(1), &mut [&mut op]);
    assert!(op.machine.leave().is_none(), "it knows");
}

/// How long a free lock is not taken by one who stands behind so many that were killed.
fn idle(killed_before: usize, turn: Option<Duration>, held_for: Duration, seed: u64) -> Duration {
    let mut world = World::new();
    let (holder, owner) = (world.acquainted("holder"), world.acquainted("living"));
    (0..seed).for_each(|_| {
        world.nonce();
    });
    let grant = world.acquire(holder, "k", waiting(3600, secs(1))).unwrap();
    killed(&mut world, killed_before, turn);
    world.weather = Fault::SlowRequest(micros(50));
    let mut op = world.acquiring(owner, "k", LockOptions::new(lease(secs(30))));
    world.run_for(held_for, &mut [&mut op]);
    world.release(holder, &grant).unwrap();
    let freed = world.now;
    world.finish(op).unwrap();
    world.now - freed
}

#[test]
fn thirty_that_were_killed_cost_the_next_of_the_living_a_tenth_of_a_second() {
    for killed in [1, 5, 20, 30, 63] {
        for turn in [None, Some(millis(2)), Some(millis(300)), Some(secs(10))] {
            let helds = [millis(10), millis(200), secs(2), secs(20)];
            let all = helds.into_iter().flat_map(|held| (0..20).map(move |seed| (held, seed)));
            let all: Vec<Duration> = all.map(|(held, seed)| idle(killed, turn, held, seed)).collect();
            let (mean, longest) = (all.iter().sum::<Duration>() / all.len() as u32, *all.iter().max().unwrap());
            println!("{killed} killed, turns of {turn:?}: {mean:?} on the average, {longest:?} at most");
            // With nobody before it, it takes up to an interval of 50 ms.
            assert!(mean < millis(100) && longest < millis(150), "{killed}, {turn:?}: {mean:?}, {longest:?}");
        }
    }
}

#[test]
fn killed_waiters_cost_the_living_once_and_not_at_each_turn() {
    for seed in 0..10 {
        let mut world = World::new();
        (0..seed).for_each(|_| {
            world.nonce();
        });
        killed(&mut world, 30, Some(millis(300)));
        let (mut holder, mut grant, mut ops) = queue(&mut world, 4, secs(60));
        let (mut idle, mut served) = (Duration::ZERO, Vec::new());
        while !ops.is_empty() {
            let mut all: Vec<&mut dyn Drive> = ops.iter_mut().map(|(_, op)| op as &mut dyn Drive).collect();
            world.run_for(millis(300), &mut all);
            world.release(holder, &grant).unwrap();
            let freed = world.now;
            let (next, granted) = loop {
                let won = ops.iter_mut().position(|(_, op)| op.due().is_none());
                if let Some(next) = won {
                    let (owner, mut op) = ops.remove(next);
                    break (owner, op.outcome().unwrap().unwrap());
                }
                let (_, first) = ops.iter_mut().min_by_key(|(_, op)| op.due()).unwrap();
                first.step(&mut world);
            };
            idle += world.now - freed;
            served.push(next.0);
            (holder, grant) = (next, granted);
        }
        assert!(idle < millis(500), "seed {seed}: free for {idle:?} in all, served {served:?}");
    }
}

#[test]
fn a_writer_that_crashed_keeps_readers_out_for_a_few_seconds() {
    let mut world = World::new();
    let in_there = world.readers(1);
    let [writer, late] = ["writer", "late"].map(|name| world.acquainted(name));
    let mut alone = world.acquiring(writer, "k", waiting(30, secs(60)));
    world.run_for(secs(1), &mut [&mut alone]);
    drop(alone);
    let mut reading = world.sharing(late, "k", waiting(30, secs(60)));
    world.run_for(secs(4), &mut [&mut reading]);
    assert!(reading.outcome().is_none());
    world.renew(in_there[0].0, &in_there[0].1).unwrap();
    world.run_for(secs(2), &mut [&mut reading]);
    assert!(reading.outcome().is_some_and(|outcome| outcome.is_ok()), "the writer has said nothing for five seconds");
}

/// Tries once to read `k`.
fn share(world: &mut World, owner: Owner) -> Result<Grant, AcquireError> {
    let op = world.sharing(owner, "k", once(30));
    world.finish(op)
}

/// Returns true if the record says that a writer waits.
fn is_signed(world: &mut World) -> bool {
    world.servers.text("k", world.now).is_some_and(|text| text.contains("writer: "))
}

#[test]
fn a_writer_that_gives_up_lets_readers_in_at_once() {
    let mut world = World::new();
    let _in_there = world.readers(1);
    let [writer, late] = ["writer", "late"].map(|name| world.acquainted(name));
    // Its wait is over, or it is dropped.
    let given_up = world.acquire(writer, "k", waiting(30, secs(1)));
    assert!(matches!(given_up, Err(AcquireError::Busy { .. })) && !is_signed(&mut world));
    let mut dropped = world.acquiring(writer, "k", waiting(30, secs(60)));
    world.run_for(secs(1), &mut [&mut dropped]);
    assert!(is_signed(&mut world));
    let leave = dropped.machine.leave().expect("it has signed");
    world.drive(writer, leave);
    assert!(!is_signed(&mut world) && dropped.machine.leave().is_none());
    assert!(share(&mut world, late).is_ok());
}

#[test]
fn a_writer_that_gives_up_leaves_the_sign_of_another_alone() {
    let mut world = World::new();
    let _in_there = world.readers(1);
    let [first, second, late] = ["first", "second", "late"].map(|name| world.acquainted(name));
    let mut one = world.acquiring(first, "k", waiting(30, secs(60)));
    world.run_for(secs(1), &mut [&mut one]);
    // The first says nothing for so long that the second does.
    let mut two = world.acquiring(second, "k", waiting(30, secs(60)));
    world.run_for(secs(7), &mut [&mut two]);
    let before = world.servers.text("k", world.now);
    let leave = one.machine.leave().expect("it does not know");
    world.drive(first, leave);
    assert_eq!(world.servers.text("k", world.now), before);
    assert!(share(&mut world, late).is_err());
}

#[test]
fn a_writer_that_got_the_lock_makes_no_call_for_its_sign() {
    let mut world = World::new();
    let in_there = world.readers(1);
    let writer = world.acquainted("writer");
    let mut alone = world.acquiring(writer, "k", waiting(30, secs(60)));
    world.run_for(secs(1), &mut [&mut alone]);
    world.release(in_there[0].0, &in_there[0].1).unwrap();
    world.calls();
    assert!(world.finish(alone).is_ok());
    assert_eq!(world.calls().last(), Some(&"add"));
}
