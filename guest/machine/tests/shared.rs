//! Locks that readers share: who comes in and when, at what cost, and what a crash of one of them costs the others.

mod support;

use std::collections::BTreeSet;

use kvlock_machine::{
    AcquireError, AcquireShared, Downgrade, Grant, GrantError, Key, KeyState, LockOptions, MAX_READERS, Mode, Nonce,
    Released, Validity, WaitingFor,
};
use support::{Drive, Fault, Op, Owner, World, kind, lease, millis, once, secs, waiting};

/// Begins to wait for a share of `k`.
fn sharing(world: &mut World, owner: Owner, options: LockOptions) -> Op<AcquireShared> {
    world.sharing(owner, "k", options)
}

fn share(world: &mut World, owner: Owner, options: LockOptions) -> Result<Grant, AcquireError> {
    let op = sharing(world, owner, options);
    world.finish(op)
}

#[test]
fn a_reader_comes_in_by_two_calls_and_leaves_by_one() {
    let mut world = World::new();
    let owner = world.acquainted("reader");
    let grant = share(&mut world, owner, once(30)).unwrap();
    assert_eq!(world.calls(), ["get-many", "add"]);
    world.renew(owner, &grant).unwrap();
    assert_eq!(world.calls(), ["replace"]);
    assert_eq!(world.release(owner, &grant), Ok(Released::Freed));
    assert_eq!(world.calls(), ["delete"]);
    assert_eq!(world.servers.text("k", world.now), None);
}

#[test]
fn readers_have_the_lock_together_and_each_of_them_costs_as_little() {
    let mut world = World::new();
    let [first, second] = ["first", "second"].map(|name| world.acquainted(name));
    let one = share(&mut world, first, once(30)).unwrap();
    world.calls();
    let other = share(&mut world, second, once(30)).unwrap();
    assert_eq!(world.calls(), ["get-many", "replace"]);
    for (owner, grant) in [(first, &one), (second, &other)] {
        assert!(matches!(world.validity(owner, grant), Validity::Valid(_)));
    }
    assert_eq!(world.release(second, &other), Ok(Released::Freed));
    assert_eq!(world.calls(), ["replace"], "nobody has written the record since");
    // The other has: the record is read, and written again.
    world.release(first, &one).unwrap();
    assert_eq!(world.calls(), ["delete", "get", "delete"]);
}

#[test]
fn nobody_has_alone_what_readers_have_and_nobody_reads_what_another_has_alone() {
    let mut world = World::new();
    let [reader, writer] = ["reader", "writer"].map(|name| world.acquainted(name));
    let shared = share(&mut world, reader, once(30)).unwrap();
    let busy = world.acquire(writer, "k", once(30)).unwrap_err();
    let AcquireError::Busy { waiting_for: WaitingFor::Holder(holder), .. } = busy else { panic!("{busy:?}") };
    assert_eq!((holder.owner.as_str(), holder.readers), ("reader", 1));
    world.release(reader, &shared).unwrap();
    world.calls();
    let alone = world.acquire(writer, "k", once(30)).unwrap();
    assert_eq!(world.calls(), ["add"], "as if there had never been a reader");
    assert!(matches!(share(&mut world, reader, once(30)), Err(AcquireError::Busy { .. })));
    world.release(writer, &alone).unwrap();
    share(&mut world, reader, once(30)).unwrap();
}

#[test]
fn the_token_of_whoever_has_it_alone_is_above_that_of_every_earlier_reader() {
    let mut world = World::new();
    let in_there = world.readers(3);
    let tokens: BTreeSet<u64> = in_there.iter().map(|(_, grant)| grant.token()).collect();
    for (owner, grant) in &in_there {
        world.renew(*owner, grant).unwrap();
    }
    for (owner, grant) in &in_there {
        world.release(*owner, grant).unwrap();
    }
    let writer = world.acquainted("writer");
    let alone = world.acquire(writer, "k", once(30)).unwrap();
    assert!(alone.token() > *tokens.last().unwrap());
    world.release(writer, &alone).unwrap();
    assert!(share(&mut world, in_there[0].0, once(30)).unwrap().token() > alone.token());
}

#[test]
fn readers_that_come_later_wait_behind_a_writer_that_waits() {
    let mut world = World::new();
    let in_there = world.readers(1);
    let [writer, late] = ["writer", "late"].map(|name| world.acquainted(name));
    let mut alone = world.acquiring(writer, "k", waiting(30, secs(60)));
    world.run_for(millis(100), &mut [&mut alone]);
    let mut reading = sharing(&mut world, late, waiting(30, secs(60)));
    world.run_for(secs(20), &mut [&mut alone, &mut reading]);
    assert!(alone.outcome().is_none() && reading.outcome().is_none(), "the first reader is in");
    world.renew(in_there[0].0, &in_there[0].1).unwrap();
    world.run_for(secs(20), &mut [&mut alone, &mut reading]);
    assert!(alone.outcome().is_none() && reading.outcome().is_none(), "the first reader is in");
    world.release(in_there[0].0, &in_there[0].1).unwrap();
    world.run_for(secs(1), &mut [&mut alone, &mut reading]);
    let grant = alone.outcome().expect("the writer is next").unwrap();
    assert!(reading.outcome().is_none());
    world.release(writer, &grant).unwrap();
    world.run_for(secs(1), &mut [&mut reading]);
    assert!(reading.outcome().is_some_and(|outcome| outcome.is_ok()));
}

#[test]
fn a_writer_is_let_in_although_readers_come_and_go_without_a_break() {
    let mut world = World::new();
    let owners: Vec<Owner> = (0..10).map(|n| world.acquainted(&format!("reader {n}"))).collect();
    let mut inside: Vec<(Owner, Grant, std::time::Duration)> = Vec::new();
    let mut coming: Vec<(Owner, Op<AcquireShared>)> = Vec::new();
    for (n, owner) in owners.iter().enumerate() {
        let grant = share(&mut world, *owner, waiting(30, secs(60))).unwrap();
        inside.push((*owner, grant, world.now + millis(20 * n as u64)));
    }
    let writer = world.acquainted("writer");
    let mut alone = world.acquiring(writer, "k", waiting(30, secs(60)));
    let began = world.now;
    while alone.due().is_some() {
        assert!(world.now < began + secs(5), "the writer starves");
        let mut ops: Vec<&mut dyn Drive> = vec![&mut alone];
        ops.extend(coming.iter_mut().map(|(_, op)| op as &mut dyn Drive));
        world.run_for(millis(1), &mut ops);
        let now = world.now;
        for (owner, mut op) in std::mem::take(&mut coming) {
            match op.outcome() {
                Some(outcome) => inside.push((owner, outcome.unwrap(), now + millis(200))),
                None => coming.push((owner, op)),
            }
        }
        for (owner, grant, until) in std::mem::take(&mut inside) {
            if until > now {
                inside.push((owner, grant, until));
                continue;
            }
            world.release(owner, &grant).unwrap();
            let again = sharing(&mut world, owner, waiting(30, secs(60)));
            coming.push((owner, again));
        }
    }
    assert!(inside.is_empty(), "it has the lock alone");
}

#[test]
fn a_reader_that_crashed_holds_a_writer_up_for_its_lease_whatever_the_others_renew() {
    let mut world = World::new();
    let mut in_there = world.readers(2);
    let (living, grant) = in_there.pop().unwrap();
    let writer = world.acquainted("writer");
    let mut alone = world.acquiring(writer, "k", waiting(30, secs(300)));
    let began = world.now;
    for _ in 0..4 {
        world.run_for(secs(5), &mut [&mut alone]);
        world.renew(living, &grant).unwrap();
    }
    world.release(living, &grant).unwrap();
    world.run_until(began + secs(29), &mut [&mut alone]);
    assert!(alone.outcome().is_none());
    world.run_until(began + millis(30_200), &mut [&mut alone]);
    let taken = alone.outcome().expect("the other is gone").unwrap();
    assert!(matches!(world.validity(writer, &taken), Validity::Valid(_)));
}

#[test]
fn a_reader_that_goes_on_renewing_takes_those_out_that_crashed() {
    let mut world = World::new();
    let mut in_there = world.readers(3);
    let (living, grant) = in_there.remove(0);
    for _ in 0..5 {
        world.advance(secs(8));
        world.renew(living, &grant).unwrap();
    }
    let text = world.servers.text("k", world.now).unwrap();
    assert_eq!(text.matches("reader: ").count(), 1, "{text}");
    assert!(world.release(in_there[0].0, &in_there[0].1).is_err());
}

#[test]
fn a_reader_beyond_the_most_is_told_that_readers_have_the_lock_and_comes_in_after_one_of_them() {
    let mut world = World::new();
    let (first, grant) = world.readers(1).remove(0);
    let text = world.servers.text("k", world.now).unwrap();
    let (head, own) = text.split_at(text.find("reader: ").unwrap());
    let others = (1..MAX_READERS).map(|n| own.replacen(&own[8..24], &format!("{n:016x}"), 1));
    let full = format!("{head}{own}{}", others.collect::<String>());
    world.servers.set("k", full.as_bytes());
    let late = world.acquainted("late");
    let refused = share(&mut world, late, once(30));
    let Err(AcquireError::Busy { waiting_for: WaitingFor::Holder(holder), .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(holder.readers as usize, MAX_READERS);
    let mut wait = sharing(&mut world, late, waiting(30, secs(60)));
    world.run_for(secs(1), &mut [&mut wait]);
    assert!(wait.outcome().is_none());
    world.release(first, &grant).unwrap();
    world.run_for(secs(1), &mut [&mut wait]);
    assert!(wait.outcome().is_some_and(|outcome| outcome.is_ok()));
}

#[test]
fn a_reader_that_does_not_wait_is_not_told_busy_because_other_readers_were_faster() {
    let mut world = World::new();
    let in_there = world.readers(1);
    let late = world.acquainted("late");
    let mut op = sharing(&mut world, late, once(30));
    // Between its look and its write another one writes, five times.
    for _ in 0..5 {
        while !op.is_executing() || world.log.last().is_none_or(|call| kind(&call.request) != "replace") {
            op.step(&mut world);
        }
        world.renew(in_there[0].0, &in_there[0].1).unwrap();
        op.step(&mut world);
    }
    assert!(world.finish(op).is_ok());
}

#[test]
fn two_hundred_readers_come_and_go_in_few_calls() {
    const READERS: usize = 200;
    let mut world = World::new();
    let owners: Vec<Owner> = (0..READERS).map(|n| world.acquainted(&format!("reader {n}"))).collect();
    world.weather = Fault::SlowReply(millis(1));
    // All at the same moment.
    let mut coming: Vec<_> = owners.iter().map(|owner| sharing(&mut world, *owner, waiting(30, secs(60)))).collect();
    while coming.iter().any(|op| op.due().is_some()) {
        let mut ops: Vec<&mut dyn Drive> = coming.iter_mut().map(|op| op as &mut dyn Drive).collect();
        world.run_for(millis(1), &mut ops);
    }
    let calls = world.calls().len();
    assert!(calls <= 12 * READERS, "{calls} calls to come in");
    let grants: Vec<Grant> = coming.iter_mut().map(|op| op.outcome().unwrap().unwrap()).collect();
    let mut going: Vec<_> = owners.iter().zip(&grants).map(|(owner, grant)| world.releasing(*owner, grant)).collect();
    while going.iter().any(|op| op.due().is_some()) {
        let mut ops: Vec<&mut dyn Drive> = going.iter_mut().map(|op| op as &mut dyn Drive).collect();
        world.run_for(millis(1), &mut ops);
    }
    let calls = world.calls().len();
    assert!(going.iter_mut().all(|op| op.outcome().unwrap() == Ok(Released::Freed)));
    assert!(calls <= 12 * READERS, "{calls} calls to leave");
    assert_eq!(world.servers.text("k", world.now), None);
}

#[test]
fn who_asks_for_the_other_mode_is_told_so_and_for_the_same_one_too() {
    let mut world = World::new();
    let owner = world.acquainted("owner");
    let shared = share(&mut world, owner, once(30)).unwrap();
    assert_eq!(world.acquire(owner, "k", once(30)), Err(AcquireError::HeldInOtherMode));
    assert_eq!(share(&mut world, owner, once(30)), Err(AcquireError::AlreadyHeld));
    world.release(owner, &shared).unwrap();
    let alone = world.acquire(owner, "k", once(30)).unwrap();
    assert_eq!(share(&mut world, owner, once(30)), Err(AcquireError::HeldInOtherMode));
    world.release(owner, &alone).unwrap();
}

#[test]
fn who_has_it_alone_gives_it_down_to_readers_by_one_call() {
    let mut world = World::new();
    let [owner, other, writer] = ["owner", "other", "writer"].map(|name| world.acquainted(name));
    let grant = world.acquire(owner, "k", once(30)).unwrap();
    world.calls();
    world.drive(owner, Downgrade::new(grant.clone())).unwrap();
    assert_eq!(world.calls(), ["replace"]);
    let second = share(&mut world, other, once(30)).unwrap();
    assert!(world.acquire(writer, "k", once(30)).is_err());
    world.renew(owner, &grant).unwrap();
    world.release(owner, &grant).unwrap();
    world.release(other, &second).unwrap();
    let alone = world.acquire(writer, "k", once(30)).unwrap();
    assert!(alone.token() > grant.token() && alone.token() > second.token());
    assert!(matches!(world.drive(owner, Downgrade::new(grant)), Err(GrantError::Lost(_))));
}

#[test]
fn what_cannot_be_shared_is_refused() {
    let mut world = World::new();
    let owner = world.acquainted("owner");
    for options in [once(30).adopt(true), once(30).at_least(secs(5)).unwrap()] {
        let key = Key::new("k").unwrap();
        assert!(AcquireShared::new(world.session(owner), key, options, Nonce(1)).is_err());
    }
    let nested = LockOptions::new(lease(secs(30))).mode(Mode::Reentrant);
    let outer = world.acquire(owner, "k", nested.clone()).unwrap();
    let inner = world.acquire(owner, "k", nested).unwrap();
    assert!(matches!(world.drive(owner, Downgrade::new(inner.clone())), Err(GrantError::Invalid(_))));
    world.release(owner, &inner).unwrap();
    world.drive(owner, Downgrade::new(outer.clone())).unwrap();
    assert!(matches!(world.drive(owner, Downgrade::new(outer)), Err(GrantError::Invalid(_))));
}

#[test]
fn a_lost_answer_is_read_back_by_the_nonce_of_its_write() {
    for fault in [Fault::LostReply, Fault::LostRequest] {
        let mut world = World::new();
        let [owner, other] = ["owner", "other"].map(|name| world.acquainted(name));
        world.script([Fault::Fine, fault]);
        let grant = share(&mut world, owner, waiting(30, secs(5))).unwrap();
        let second = share(&mut world, other, once(30)).unwrap();
        world.script([fault]);
        world.renew(owner, &grant).unwrap();
        world.script([Fault::Fine, fault]);
        world.renew(other, &second).unwrap();
        world.script([Fault::Fine, Fault::Fine, fault]);
        assert_eq!(world.release(owner, &grant), Ok(Released::Freed), "{fault:?}");
        world.script([fault]);
        assert_eq!(world.release(other, &second), Ok(Released::Freed), "{fault:?}");
        assert_eq!(world.servers.text("k", world.now), None);
    }
}

#[test]
fn a_share_is_lost_with_its_record_and_with_its_entry() {
    let mut world = World::new();
    let in_there = world.readers(2);
    let breaker = world.acquainted("breaker");
    let holder = world.break_lock(breaker, "k").unwrap().expect("readers");
    assert_eq!(holder.readers, 2);
    for (owner, grant) in &in_there {
        assert!(matches!(world.renew(*owner, grant), Err(GrantError::Lost(None))));
    }
    let again = world.readers(1);
    world.servers.lose(0, world.now);
    assert!(matches!(world.renew(again[0].0, &again[0].1), Err(GrantError::Lost(_))));
}

#[test]
fn a_share_that_is_written_out_is_renewed_and_released_elsewhere_beside_other_readers() {
    let mut world = World::new();
    let in_there = world.readers(2);
    let (owner, grant) = &in_there[0];
    let word = world.write_out(*owner, grant).unwrap();
    let elsewhere = world.acquainted("elsewhere");
    let resumed = world.resume(elsewhere, &word);
    assert_eq!(resumed.token(), grant.token());
    world.renew(in_there[1].0, &in_there[1].1).unwrap();
    world.renew(elsewhere, &resumed).unwrap();
    assert!(matches!(world.renew(*owner, grant), Err(GrantError::Lost(_))), "it was renewed elsewhere");
    assert_eq!(world.release(elsewhere, &resumed), Ok(Released::Freed));
    let text = world.servers.text("k", world.now).unwrap();
    assert_eq!(text.matches("reader: ").count(), 1, "{text}");
}

#[test]
fn status_tells_how_many_read_and_how_many_wait() {
    let mut world = World::new();
    world.readers(3);
    let [writer, looker] = ["writer", "looker"].map(|name| world.acquainted(name));
    let mut alone = world.acquiring(writer, "k", waiting(30, secs(60)));
    world.run_for(secs(1), &mut [&mut alone]);
    let status = world.status(looker, &["k"]).unwrap().remove(0);
    let KeyState::Held(holder) = status.state else { panic!("{status:?}") };
    assert_eq!((holder.owner.as_str(), holder.readers, status.waiters), ("reader 0", 3, 1));
}

#[test]
fn in_a_young_era_no_reader_comes_in_and_none_stays_in_the_record() {
    let mut world = World::new();
    world.servers.lose(0, world.now);
    let owner = world.owner("owner");
    let busy = share(&mut world, owner, once(30)).unwrap_err();
    assert!(matches!(busy, AcquireError::Busy { waiting_for: WaitingFor::Quarantine(_), .. }), "{busy:?}");
    assert_eq!(world.servers.text("k", world.now), None);
    let grant = share(&mut world, owner, waiting(30, secs(60))).unwrap();
    assert!(matches!(world.validity(owner, &grant), Validity::Valid(_)));
}

#[test]
fn a_writer_that_met_readers_pauses_through_a_quarantine() {
    let mut world = World::new();
    world.readers(1);
    let writer = world.acquainted("writer");
    let mut alone = world.acquiring(writer, "k", waiting(30, secs(120)));
    world.run_for(secs(3), &mut [&mut alone]);
    world.servers.lose(0, world.now);
    world.run_for(millis(100), &mut [&mut alone]);
    world.calls();
    world.run_for(secs(20), &mut [&mut alone]);
    assert!(world.calls().len() < 10, "nobody is granted anything for thirty seconds");
    assert!(world.finish(alone).is_ok());
}

#[test]
fn a_foreign_value_is_named_and_left_as_it_is() {
    let mut world = World::new();
    let owner = world.acquainted("owner");
    for value in ["42", "kvlock/1 shared\nkey: k\n", "kvlock/1 shared\nkey: other\nwriter: 0\n"] {
        world.servers.set("k", value.as_bytes());
        assert!(matches!(share(&mut world, owner, once(30)), Err(AcquireError::Corrupt(_))), "{value}");
        assert!(matches!(world.acquire(owner, "k", once(30)), Err(AcquireError::Corrupt(_))), "{value}");
        assert_eq!(world.servers.text("k", world.now).as_deref(), Some(value));
    }
}
