//! django-dbsemaphore 0.1.2: a forerunner.

use std::time::Duration;

use kvlock::{
    error::{AcquireError, WithLockError},
    semaphore::{ResizeError, ResizePoll},
};

use crate::world::{World, busy, refused, secs};

/// Bug 1: the scoped form hangs for ever if the store fails.
#[test]
fn the_scoped_permit_fails_at_once_if_the_store_does() {
    let (world, [session]) = World::with(["one"]);
    session.semaphore("s").make(1).run().unwrap();
    world.store.down();
    let run = session.semaphore("s").permit().wait(Duration::ZERO).with_permit(|_| unreachable!("there is no permit"));
    assert!(matches!(run, Err(WithLockError::<()>::Acquire(AcquireError::Store { .. }))));
}

/// Bug 2: a semaphore that shrinks waits for a permit that is held although others are free.
#[test]
fn shrinking_takes_the_free_permits_whichever_are_held() {
    for kept in 0..3 {
        let (_, [session]) = World::with(["one"]);
        let semaphore = session.semaphore("s");
        semaphore.make(3).run().unwrap();
        let mut held: Vec<_> = (0..3).map(|_| semaphore.permit().acquire().unwrap()).collect();
        let _one = held.swap_remove(kept);
        for grant in held {
            grant.release().unwrap();
        }
        assert_eq!(semaphore.make(1).wait(Duration::ZERO).run(), Ok(Some(3)), "{kept}");
        busy(semaphore.permit().wait(Duration::ZERO).acquire());
    }
}

/// Bug 3: a size below zero takes exactly one permit away.
#[test]
fn a_size_of_zero_is_refused() {
    let (_, [session]) = World::with(["one"]);
    assert!(matches!(session.semaphore("s").make(0).run(), Err(ResizeError::Invalid { .. })));
}

/// Bug 4: while one semaphore waits to shrink, no other can be made.
#[test]
fn a_semaphore_that_waits_to_shrink_keeps_nobody_from_another() {
    let (_, [one, two]) = World::with(["one", "two"]);
    one.semaphore("s").make(2).run().unwrap();
    let _held = [one.semaphore("s").permit().acquire().unwrap(), one.semaphore("s").permit().acquire().unwrap()];
    let mut shrinking = one.semaphore("s").make(1).begin().unwrap();
    assert!(matches!(shrinking.poll().unwrap(), ResizePoll::Pending { .. }));
    assert_eq!(two.semaphore("other").make(5).wait(Duration::ZERO).run(), Ok(None));
    two.semaphore("other").permit().acquire().unwrap().release().unwrap();
}

/// Bug 5: a semaphore that does not exist is answered for as one that is exhausted.
#[test]
fn unknown_is_not_exhausted() {
    let (_, [session]) = World::with(["one"]);
    let permit = |name: &str| session.semaphore(name).permit().wait(Duration::ZERO).acquire();
    session.semaphore("s").make(1).run().unwrap();
    let _held = permit("s").unwrap();
    busy(permit("s"));
    assert!(matches!(refused(permit("t")), AcquireError::UnknownSemaphore { .. }));
}

/// Bug 6: a holder that hangs keeps its permit for ever, and nobody can see who it is.
#[test]
fn the_permit_of_a_holder_that_hangs_comes_back_and_the_holder_is_named() {
    let (world, [one, two]) = World::with(["hangs", "two"]);
    one.semaphore("s").make(1).run().unwrap();
    let _hangs = one.semaphore("s").permit().lease(secs(10)).acquire().unwrap();
    assert_eq!(two.semaphore("s").status().unwrap().unwrap().holders[0].owner, "hangs");
    let (_permit, took) = world.timed(|| two.semaphore("s").permit().acquire().unwrap());
    assert!(took >= secs(10) && took < secs(11), "{took:?}");
}
