//! Conflict retry: a try under the lock, a reservation between two tries, and how it ends.

mod nesting;
mod reservation;
#[path = "../support/mod.rs"]
mod support;
mod trouble;
mod trying;

use std::time::Duration;

use kvlock_machine::{
    AcquireError, AskFor, AskState, Asked, BeginTry, FollowAsk, GrantError, Key, KeyState, LockOptions, Mode, NextTry,
    Released, Retry, RetryOptions, StoreError, Try, Ttl, Unreported, Validity, WaitingFor, WorkOutcome,
};
use support::{Drive, Fault, Op, Owner, World, lease, millis, once, secs, waiting};

const RESERVE: Duration = secs(1);

/// Tries under a lease of 30 s that reserve the lock for 1 s and wait for ever.
fn options() -> RetryOptions {
    RetryOptions::new(lease(secs(30))).reserve(RESERVE).unwrap()
}

fn retry(options: RetryOptions) -> Retry {
    Retry::new(Key::new("k").unwrap(), options, 7)
}

fn beginning(world: &mut World, owner: Owner, retry: Retry) -> Op<BeginTry> {
    let nonce = world.nonce();
    Op::new(world, owner, retry.begin(nonce))
}

fn begin(world: &mut World, owner: Owner, retry: Retry) -> Result<Try, AcquireError> {
    let op = beginning(world, owner, retry);
    world.finish(op)
}

fn report(world: &mut World, owner: Owner, running: Try, work: WorkOutcome) -> Result<NextTry, Unreported> {
    world.drive(owner, running.report(work))
}

/// Reports a conflict that is not the last try's.
#[track_caller]
fn conflict(world: &mut World, owner: Owner, running: Try) -> (Duration, Retry) {
    match report(world, owner, running, WorkOutcome::Conflict(None)) {
        Ok(NextTry::RetryAfter(pause, retry)) => (pause, *retry),
        other => panic!("{other:?}"),
    }
}

/// A world with two owners, of which the first runs its first try.
fn running(options: RetryOptions) -> (World, Owner, Try, Owner) {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
    let running = begin(&mut world, owner, retry(options)).unwrap();
    world.log.clear();
    (world, owner, running, other)
}

fn give_up(world: &mut World, owner: Owner, retry: &Retry) -> Option<()> {
    let discard = retry.give_up(world.session(owner))?;
    world.drive(owner, discard);
    Some(())
}

fn status(world: &mut World) -> KeyState {
    let looking = world.owner("looking");
    let status = world.status(looking, &["k"]).unwrap().remove(0);
    world.log.pop();
    status.state
}

fn holder(world: &mut World) -> Option<String> {
    match status(world) {
        KeyState::Held(holder) => Some(holder.owner),
        _ => None,
    }
}

/// What the store keeps the record for.
fn kept_for(world: &mut World) -> Option<Duration> {
    let now = world.now;
    world.servers.entry("k", now).map(|entry| match entry.time_left {
        Some(Ttl::After(left)) => left,
        other => panic!("{other:?}"),
    })
}
