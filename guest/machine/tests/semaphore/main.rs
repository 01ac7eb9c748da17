//! Semaphores: sizes, permits, and what happens when they meet.

mod permits;
mod sizes;
#[path = "../support/mod.rs"]
mod support;
mod trouble;

use kvlock_machine::{
    AcquireError, Break, Broken, Grant, Key, List, MAX_PERMITS, Released, ResizeError, Size, StoreError, Validity,
    WaitingFor,
};
use std::collections::BTreeSet;
use std::time::Duration;
use support::{Drive, Fault, Owner, World, lease, millis, once, secs, waiting};

/// A world with a semaphore, and somebody who knows the store.
fn pool(size: u32) -> (World, Owner) {
    let mut world = World::new();
    let owner = world.acquainted("a");
    assert_eq!(world.resize(owner, "pool", size), Ok(None));
    world.log.clear();
    (world, owner)
}

fn permits(world: &mut World, owner: Owner, count: usize) -> Vec<Grant> {
    (0..count).map(|_| world.permit(owner, "pool", once(30)).unwrap()).collect()
}

fn status(world: &mut World, owner: Owner) -> (u32, Vec<u32>) {
    let status = world.drive(owner, List::one(Key::semaphore("pool").unwrap())).unwrap().pop().unwrap();
    (status.size, status.holders.iter().map(|holder| holder.permit.unwrap()).collect())
}

/// Gives a semaphore a size, with some time to spare.
fn finish_resize(world: &mut World, owner: Owner, size: u32) -> Result<Option<u32>, ResizeError> {
    let resizing = world.resizing(owner, "pool", size, secs(5));
    world.finish(resizing)
}

fn release(world: &mut World, owner: Owner, grant: &Grant) {
    assert_eq!(world.release(owner, grant), Ok(Released::Freed));
}
