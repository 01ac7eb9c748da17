//! Locks that readers share, through the shipped component.

use std::time::Duration;

use kvlock::store::Op;
use kvlock::{AcquirePoll, Released, Validity, WaitingFor, error::AcquireError, error::GrantError};

use crate::world::{World, busy_with, millis, refused, secs};

#[test]
fn readers_have_a_lock_together_and_nobody_has_it_alone_meanwhile() {
    let (world, [one, two, writer]) = World::with(["one", "two", "writer"]);
    let first = one.lock("k").shared().acquire().unwrap();
    let second = two.lock("k").shared().acquire().unwrap();
    let holder = busy_with(writer.lock("k").wait(Duration::ZERO).acquire());
    assert_eq!((holder.owner.as_str(), holder.readers), ("one", 2));
    assert!(holder.to_string().starts_with("shared by 2 readers, the first of them one"), "{holder}");
    assert!(matches!(first.validity(), Ok(Validity::Valid(_))) && matches!(second.validity(), Ok(Validity::Valid(_))));
    assert_eq!((first.release(), second.release()), (Ok(Released::Freed), Ok(Released::Freed)));
    assert!(world.holder("k").is_none());
    let alone = writer.lock("k").acquire().unwrap();
    assert!(one.lock("k").shared().try_acquire().unwrap().is_none());
    alone.release().unwrap();
}

#[test]
fn a_reader_costs_two_calls_to_come_in_and_one_to_leave_and_a_lone_holder_one_each() {
    let (world, [one, two, three]) = World::with(["one", "two", "three"]);
    let ops = || world.ops();
    let first = one.lock("k").shared().acquire().unwrap();
    assert_eq!(ops(), [Op::GetMany, Op::Add]);
    let second = two.lock("k").shared().acquire().unwrap();
    assert_eq!(ops(), [Op::GetMany, Op::Replace]);
    second.release().unwrap();
    assert_eq!(ops(), [Op::Replace]);
    drop(first);
    assert_eq!(ops(), [Op::Delete, Op::Get, Op::Delete], "the other has written the record since");
    three.lock("k").acquire().unwrap().release().unwrap();
    assert_eq!(ops(), [Op::Add, Op::Delete]);
}

#[test]
fn readers_that_come_later_wait_behind_a_writer_of_their_own_process_and_of_another() {
    let (world, [one, two, writer]) = World::with(["one", "two", "writer"]);
    let reading = one.lock("k").shared().acquire().unwrap();
    let mut writing = writer.lock("k").begin().unwrap();
    assert!(matches!(writing.poll(), Ok(AcquirePoll::Pending { .. })));
    let elsewhere = world.elsewhere().session().owner("elsewhere").open().unwrap();
    for session in [&two, &elsewhere] {
        let late = session.lock("k").shared().wait(Duration::ZERO).acquire();
        assert!(matches!(refused(late), AcquireError::Busy { waiting_for: WaitingFor::Holder(_), .. }));
    }
    reading.release().unwrap();
    let granted = loop {
        match writing.poll().unwrap() {
            AcquirePoll::Ready(grant) => break grant,
            AcquirePoll::Pending { pause, .. } => world.clock.advance(pause),
        }
    };
    granted.release().unwrap();
    two.lock("k").shared().acquire().unwrap().release().unwrap();
}

#[test]
fn whoever_has_a_lock_alone_gives_it_down_and_shares_it() {
    let (world, [one, two, writer]) = World::with(["one", "two", "writer"]);
    let mut first = one.lock("k").acquire().unwrap();
    first.downgrade().unwrap();
    assert!(matches!(first.downgrade(), Err(GrantError::Invalid { .. })));
    let second = two.lock("k").shared().acquire().unwrap();
    world.clock.advance(secs(20));
    first.renew().unwrap();
    assert!(writer.lock("k").try_acquire().unwrap().is_none());
    assert!(matches!(first.validity(), Ok(Validity::Valid(left)) if left > secs(29)));
    second.release().unwrap();
    first.release().unwrap();
    assert!(writer.lock("k").acquire().unwrap().token() > 0);
}

#[test]
fn the_other_mode_is_an_error_of_its_own_and_what_cannot_be_shared_is_refused() {
    let (_, [one]) = World::with(["one"]);
    let reading = one.lock("k").shared().acquire().unwrap();
    assert!(matches!(refused(one.lock("k").acquire()), AcquireError::HeldInOtherMode { key } if key == "k"));
    assert!(matches!(refused(one.lock("k").shared().acquire()), AcquireError::AlreadyHeld { .. }));
    reading.release().unwrap();
    let alone = one.lock("k").acquire().unwrap();
    let error = refused(one.lock("k").shared().acquire());
    assert!(matches!(&error, AcquireError::HeldInOtherMode { .. }), "{error}");
    assert!(error.to_string().contains("downgrade"), "{error}");
    alone.release().unwrap();
    for lock in [one.lock("k").shared().adopt(), one.lock("k").shared().at_least(secs(1))] {
        assert!(matches!(refused(lock.acquire()), AcquireError::Invalid { .. }));
    }
}

#[test]
fn a_share_is_written_out_and_taken_up_by_another_process() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let word = one.lock("k").shared().acquire().unwrap().write_out().unwrap();
    let other = two.lock("k").shared().acquire().unwrap();
    let elsewhere = world.elsewhere().session().owner("elsewhere").open().unwrap();
    let mut taken_up = elsewhere.resume(&word).unwrap();
    taken_up.renew().unwrap();
    world.clock.advance(millis(10));
    taken_up.release().unwrap();
    other.release().unwrap();
    assert!(world.holder("k").is_none());
}

#[test]
fn a_break_ends_the_grants_of_all_readers() {
    let (_, [one, two, operator]) = World::with(["one", "two", "operator"]);
    let mut readers = [&one, &two].map(|session| session.lock("k").shared().acquire().unwrap());
    let kvlock::status::Broken::Ended(holder) = operator.break_lock("k").unwrap() else { panic!("nobody had it") };
    assert_eq!(holder.readers, 2);
    for reader in &mut readers {
        assert!(matches!(reader.renew(), Err(GrantError::Lost { .. })));
    }
    operator.lock("k").acquire().unwrap().release().unwrap();
}
