//! Who stands in line: when it joins, and when it tries all the same.

mod support;

use std::sync::Arc;
use std::time::Duration;

use kvlock_machine::{Acquire, AcquireError, Entry, Grant, LockOptions, Reply, Request, Ttl, WaitingFor, WriteOutcome};
use support::{Drive, Fault, Op, Owner, World, kind, lease, millis, secs, waiting};

/// The line of `k`, with so many in it who never come.
fn crashed(world: &mut World, waiting: usize) {
    let tickets: Vec<String> = (1..=waiting).map(|ticket| format!("{ticket:016x}")).collect();
    let value = format!("kvlock/1 line\nkey: k\nwaiting: {}\n", tickets.join(" ")).into_bytes();
    let (key, ttl) = (Arc::<str>::from("n:line:k"), Ttl::After(secs(3600)));
    let there = world.servers.execute(&Request::Get { key: key.clone() }, world.now);
    let write = match there {
        Reply::Entry(Ok(Some(Entry { version: if_version, .. }))) => Request::Replace { key, value, ttl, if_version },
        _ => Request::Add { key, value, ttl },
    };
    let written = world.servers.execute(&write, world.now);
    assert!(matches!(written, Reply::Write(Ok(WriteOutcome::Written(_)))), "{written:?}");
}

/// An owner that had to wait for `k` a moment ago, and so looks before it tries.
fn contender(world: &mut World, name: &str) -> Owner {
    let (other, owner) = (world.acquainted("other"), world.acquainted(name));
    let taken = world.acquire(other, "k", waiting(30, secs(30))).unwrap();
    let mut op = world.acquiring(owner, "k", waiting(30, secs(30)));
    world.run_for(millis(20), &mut [&mut op]);
    world.release(other, &taken).unwrap();
    let grant = world.finish(op).unwrap();
    world.release(owner, &grant).unwrap();
    world.log.clear();
    owner
}

#[test]
fn a_waiter_that_finds_the_list_full_gets_a_free_lock_all_the_same() {
    let mut world = World::new();
    let (holder, owner) = (world.acquainted("holder"), world.acquainted("owner"));
    let grant = world.acquire(holder, "k", waiting(3600, secs(1))).unwrap();
    crashed(&mut world, 64);
    let mut op = world.acquiring(owner, "k", LockOptions::new(lease(secs(30))));
    world.run_for(secs(10), &mut [&mut op]);
    assert!(op.outcome().is_none(), "it is held");
    world.release(holder, &grant).unwrap();
    world.run_for(secs(10), &mut [&mut op]);
    assert!(op.outcome().is_some_and(|outcome| outcome.is_ok()), "free for ten seconds, and nobody comes");
}

#[test]
fn a_waiter_in_doubt_that_finds_its_list_gone_tries_a_free_lock() {
    let mut world = World::new();
    let owner = world.acquainted("owner");
    crashed(&mut world, 3);
    world.script([Fault::LostRequest]);
    let mut op = world.acquiring(owner, "k", LockOptions::new(lease(secs(30))));
    world.run_for(millis(201), &mut [&mut op]);
    assert_eq!(world.calls(), ["add", "get-many", "replace"]);
    world.servers.remove("n:line:k");
    world.run_for(secs(10), &mut [&mut op]);
    assert!(op.outcome().is_some_and(|outcome| outcome.is_ok()), "free for ten seconds, and nobody is there");
}

#[test]
fn a_wait_that_is_over_after_the_first_look_has_one_try() {
    let mut world = World::new();
    let owner = contender(&mut world, "owner");
    crashed(&mut world, 3);
    world.script([Fault::SlowReply(secs(2))]);
    world.acquire(owner, "k", waiting(30, secs(1))).unwrap();
    assert_eq!(world.calls(), ["get-many", "add"]);
}

#[test]
fn a_waiter_that_gives_up_does_not_join_any_more() {
    let mut world = World::new();
    let (holder, owner) = (world.acquainted("holder"), world.acquainted("owner"));
    world.acquire(holder, "k", waiting(3600, secs(1))).unwrap();
    world.log.clear();
    world.script([Fault::SlowReply(secs(2))]);
    let busy = world.acquire(owner, "k", waiting(30, secs(1)));
    assert!(matches!(busy, Err(AcquireError::Busy { waiting_for: WaitingFor::Holder(_), .. })), "{busy:?}");
    assert_eq!(world.log.iter().map(|call| kind(&call.request)).collect::<Vec<_>>(), ["add", "get-many"]);
}

/// Lets the holder go and the next one come, whoever that is.
fn pass_on(world: &mut World, holder: (Owner, Grant), waiting: &mut Vec<(Owner, Op<Acquire>)>) -> (Owner, Grant) {
    world.release(holder.0, &holder.1).unwrap();
    await_next(world, waiting)
}

fn await_next(world: &mut World, waiting: &mut Vec<(Owner, Op<Acquire>)>) -> (Owner, Grant) {
    loop {
        let mut ops: Vec<&mut dyn Drive> = waiting.iter_mut().map(|(_, op)| op as &mut dyn Drive).collect();
        world.run_for(millis(1), &mut ops);
        let served = waiting.iter_mut().position(|(_, op)| op.due().is_none());
        if let Some(served) = served {
            let (owner, mut op) = waiting.remove(served);
            return (owner, op.outcome().unwrap().unwrap());
        }
    }
}

#[test]
fn a_waiter_that_comes_when_a_crowd_was_served_does_not_wait_for_it() {
    let mut world = World::new();
    let options = || LockOptions::new(lease(secs(3600)));
    let first = world.acquainted("first");
    let mut holder = (first, world.acquire(first, "k", options()).unwrap());
    let mut waiting = Vec::new();
    for number in 0..30 {
        let owner = world.acquainted(&number.to_string());
        waiting.push((owner, world.acquiring(owner, "k", options())));
    }
    let hold = millis(10);
    for _ in 0..30 {
        let mut ops: Vec<&mut dyn Drive> = waiting.iter_mut().map(|(_, op)| op as &mut dyn Drive).collect();
        world.run_for(hold, &mut ops);
        holder = pass_on(&mut world, holder, &mut waiting);
    }
    let late = world.acquainted("late");
    let mut waiting = vec![(late, world.acquiring(late, "k", options()))];
    world.run_for(hold, &mut [&mut waiting[0].1]);
    let freed = world.now;
    pass_on(&mut world, holder, &mut waiting);
    assert!(world.now < freed + 3 * hold, "it took {:?}", world.now - freed);
}

/// How long turns are, as the lock's record and the line tell it.
fn turns(world: &mut World) -> Vec<f64> {
    let entries = ["n:lock:k", "n:line:k"].map(|key| {
        let (key, now) = (Arc::from(key), world.now);
        world.servers.execute(&Request::Get { key }, now)
    });
    let texts = entries.into_iter().filter_map(|reply| match reply {
        Reply::Entry(Ok(Some(entry))) => String::from_utf8(entry.value).ok(),
        _ => None,
    });
    let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter_map(|line| line.strip_prefix("turn: ")?.strip_suffix('s')?.parse().ok()).collect()
}

#[test]
fn a_quarantine_that_was_waited_for_is_no_turn() {
    let mut all = 0;
    for (members, apart) in (2..=6).flat_map(|members| (0..16).map(move |apart| (members, apart))) {
        let mut world = World::new();
        let began = world.now;
        world.servers.lose(0, began);
        world.weather = Fault::SlowRequest(millis(1));
        let mut waiting = Vec::new();
        for number in 0..members {
            let owner = world.owner(&number.to_string());
            waiting.push((owner, world.acquiring(owner, "k", LockOptions::new(lease(secs(20))))));
            let mut ops: Vec<&mut dyn Drive> = waiting.iter_mut().map(|(_, op)| op as &mut dyn Drive).collect();
            world.run_for(Duration::from_micros(250 * apart), &mut ops);
        }
        let mut told = Vec::new();
        while !waiting.is_empty() {
            let holder = await_next(&mut world, &mut waiting);
            assert!(world.now > began + secs(20), "it was in quarantine");
            told.extend(turns(&mut world));
            let mut ops: Vec<&mut dyn Drive> = waiting.iter_mut().map(|(_, op)| op as &mut dyn Drive).collect();
            world.run_for(millis(10), &mut ops);
            world.release(holder.0, &holder.1).unwrap();
        }
        all += told.len();
        assert!(told.iter().all(|turn| *turn < 2.0), "{members} so far apart: {apart}: {told:?}");
    }
    assert!(all > 0, "nobody told any");
}
