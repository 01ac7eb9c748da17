//! A clock on which only what wakes a thread or a task counts.

use std::thread;
use std::time::Duration;

use kvlock::clock::{Clock, Pause};

/// A clock that stands still: no pause is ever over, and who is parked goes on only if woken.
#[derive(Debug, Clone, Copy)]
pub struct StandingClock;

impl Clock for StandingClock {
    fn now(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn sleep(&self, _: Duration) {
        thread::sleep(Duration::from_millis(1));
    }

    fn park(&self, _: Duration) {
        thread::park_timeout(Duration::from_secs(1));
    }

    fn park_async(&self, _: Duration) -> Pause {
        Box::pin(std::future::pending())
    }
}
