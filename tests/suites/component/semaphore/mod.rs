//! Semaphores: permits, sizes, and what becomes of them when the store misbehaves.

mod permits;
mod races;
mod sizes;
mod trouble;

use std::time::Duration;

use kvlock::{Grant, Holder, Semaphore, WaitingFor, error::AcquireError};

use crate::world::{World, busy, refused};

const DEFINITION: &str = "kvlock:semaphore:pool";
const LIST: &str = "kvlock:semaphores";

/// The semaphore `pool`, as a session of this owner has it.
fn pool(world: &World, owner: &str) -> Semaphore {
    world.session(owner).semaphore("pool")
}

/// The semaphore `pool`, which is made with this size by the owner `one`; the making is not in the log.
fn made(world: &World, size: u32) -> Semaphore {
    let pool = pool(world, "one");
    assert_eq!(pool.make(size).run(), Ok(None));
    world.calls();
    pool
}

impl World {
    /// A world with the semaphore of [`made`].
    fn with_pool(size: u32) -> (Self, Semaphore) {
        let world = World::new();
        let pool = made(&world, size);
        (world, pool)
    }
}

/// So many permits, at once.
#[track_caller]
fn permits(semaphore: &Semaphore, count: usize) -> Vec<Grant> {
    (0..count).map(|_| semaphore.permit().wait(Duration::ZERO).acquire().unwrap()).collect()
}

/// Nobody gets a permit now: the size, how many are held, and one of the holders.
#[track_caller]
fn exhausted(semaphore: &Semaphore) -> (u32, u32, Holder) {
    match busy(semaphore.permit().wait(Duration::ZERO).acquire()) {
        (_, WaitingFor::Exhausted { size, held, holder }) => (size, held, *holder.expect("somebody holds one")),
        (_, other) => panic!("not exhausted: {other}"),
    }
}

/// There is no semaphore, or it lets nobody in for good.
#[track_caller]
fn assert_unknown(semaphore: &Semaphore) {
    let error = refused(semaphore.permit().acquire());
    assert!(matches!(&error, AcquireError::UnknownSemaphore { key } if key == semaphore.name()), "{error}");
}

/// Its size, and the owners of its permits by number.
#[track_caller]
fn standing(semaphore: &Semaphore) -> (u32, Vec<String>) {
    let status = semaphore.status().unwrap().expect("there is one");
    assert!(status.holders.is_sorted_by_key(|holder| holder.permit), "{status}");
    (status.size, status.holders.into_iter().map(|holder| holder.owner).collect())
}
