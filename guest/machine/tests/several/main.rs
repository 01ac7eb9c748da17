//! Several keys at once: all or none, whatever happens on the way.

#[path = "../support/mod.rs"]
mod support;

mod held;
mod trouble;
mod trying;
mod waiting;

use std::time::Duration;

use kvlock_machine::{AcquireAll, AcquireError, Grant, Invalid, KeyState, LockOptions, ReleaseAll, Released, RenewAll};
use support::{Op, Owner, World};

/// Begins to wait for these keys.
fn acquiring(world: &mut World, owner: Owner, keys: &[&str], options: LockOptions) -> Op<AcquireAll> {
    let machine = begun(world, owner, keys, options).unwrap();
    Op::new(world, owner, machine)
}

fn begun(world: &mut World, owner: Owner, keys: &[&str], options: LockOptions) -> Result<AcquireAll, Invalid> {
    let nonce = world.nonce();
    let session = world.session(owner);
    let keys: Vec<_> = keys.iter().map(|key| session.key(key).unwrap()).collect();
    AcquireAll::new(session, &keys, options, nonce)
}

fn acquire(world: &mut World, owner: Owner, keys: &[&str], options: LockOptions) -> Result<Vec<Grant>, AcquireError> {
    let op = acquiring(world, owner, keys, options);
    world.finish(op)
}

fn renew(world: &mut World, owner: Owner, grants: &[Grant]) -> Result<(), kvlock_machine::GrantError> {
    world.drive(owner, RenewAll::new(grants, None))
}

fn release(world: &mut World, owner: Owner, grants: &[Grant]) -> Result<Released, kvlock_machine::Unreleased> {
    world.drive(owner, ReleaseAll::new(grants.to_vec()))
}

/// Who has each of these keys; nobody where it is free.
fn holders(world: &mut World, keys: &[&str]) -> Vec<String> {
    let looker = world.owner("looker");
    let statuses = world.status(looker, keys).unwrap();
    let holder = |state| match state {
        KeyState::Held(holder) => holder.owner,
        KeyState::Free => String::new(),
        other => format!("{other:?}"),
    };
    statuses.into_iter().map(|status| holder(status.state)).collect()
}

fn keys(grants: &[Grant]) -> Vec<&str> {
    grants.iter().map(Grant::key).collect()
}

const fn forever() -> Option<Duration> {
    None
}
