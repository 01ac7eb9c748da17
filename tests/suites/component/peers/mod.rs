//! The races of kvlock's forerunners and peers, replayed: each test does to kvlock what broke another lock, at the very
//! moment at which it broke, and names the lock and what went wrong there.
//!
//! Races that only a real server shows are in `memcached_store/peers.rs`, and that of a fork in `fork.rs`.

mod dbsemaphore;
mod dogpile;
mod mongolock;
mod others;
mod python_redis_lock;
mod sherlock;
mod tooz;
mod unimr;

use std::sync::Mutex;

use kvlock::Grant;

use crate::world::World;

/// The successor has the lock undisturbed: it is shown as the holder, and renews and releases it with success.
#[track_caller]
pub(crate) fn assert_undisturbed(world: &World, successor: &Mutex<Option<Grant>>) {
    let mut grant = successor.lock().unwrap().take().expect("the race took place");
    assert_eq!(world.holder("k").unwrap().token, grant.token());
    grant.renew().unwrap();
    grant.release().unwrap();
}
