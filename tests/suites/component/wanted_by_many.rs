//! What a lock costs that is wanted all the time.

use std::time::Duration;

use kvlock::clock::Clock;
use kvlock::{AcquirePoll, Acquisition, Session};

use crate::world::{World, millis};

const SESSIONS: usize = 8;
const GRANTS: usize = 500;
/// How long each holder keeps it.
const INSIDE: Duration = millis(1);

/// A session that wants the lock, and when it asks again.
struct Waiter {
    session: Session,
    wait: Acquisition,
    due: Duration,
}

impl Waiter {
    fn new(session: Session, now: Duration) -> Waiter {
        let wait = session.lock("k").begin().unwrap();
        Waiter { session, wait, due: now }
    }
}

/// Lets everybody ask whenever it is due, until somebody has the lock.
fn next_grant(world: &World, waiters: &mut [Waiter]) -> (usize, kvlock::Grant) {
    for _ in 0..1_000_000 {
        let next = (0..waiters.len()).min_by_key(|n| waiters[*n].due).unwrap();
        world.clock.advance(waiters[next].due.saturating_sub(world.clock.now()));
        match waiters[next].wait.poll().unwrap() {
            AcquirePoll::Ready(grant) => return (next, grant),
            AcquirePoll::Pending { pause, .. } => waiters[next].due = world.clock.now() + pause,
        }
    }
    panic!("nobody gets the lock");
}

/// Lets everybody ask who asks before the clock shows `until`; nobody gets the lock.
fn ask_until(world: &World, waiters: &mut [Waiter], until: Duration) {
    while let Some(waiter) = waiters.iter_mut().filter(|waiter| waiter.due < until).min_by_key(|waiter| waiter.due) {
        world.clock.advance(waiter.due.saturating_sub(world.clock.now()));
        match waiter.wait.poll().unwrap() {
            AcquirePoll::Ready(_) => panic!("two hold the lock"),
            AcquirePoll::Pending { pause, .. } => waiter.due = world.clock.now() + pause,
        }
    }
    world.clock.advance(until.saturating_sub(world.clock.now()));
}

#[test]
fn a_grant_among_eight_loops_costs_at_most_ten_calls() {
    let world = World::new();
    let start = world.clock.now();
    let mut waiters: Vec<Waiter> =
        (0..SESSIONS).map(|n| Waiter::new(world.session(&format!("session {n}")), start)).collect();
    for _ in 0..GRANTS {
        let (winner, grant) = next_grant(&world, &mut waiters);
        let session = waiters.swap_remove(winner).session;
        let until = world.clock.now() + INSIDE;
        ask_until(&world, &mut waiters, until);
        grant.release().unwrap();
        waiters.push(Waiter::new(session, world.clock.now()));
    }
    let calls = world.ops().len();
    assert!(calls <= 10 * GRANTS, "{calls} calls for {GRANTS} grants");
}
