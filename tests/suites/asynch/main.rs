//! The API for async code, on tokio and on another executor.

mod conflicts;
mod dropped;
mod exclusion;
mod guards;
mod memcached;
mod outage;
mod several;
mod waking;

use std::sync::atomic::{AtomicU32, Ordering};

/// Counts those who are inside at a time.
#[derive(Debug, Default)]
struct Inside {
    now: AtomicU32,
    most: AtomicU32,
    ever: AtomicU32,
}

impl Inside {
    fn enter(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.ever.fetch_add(1, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> u32 {
        self.most.load(Ordering::SeqCst)
    }

    fn ever(&self) -> u32 {
        self.ever.load(Ordering::SeqCst)
    }
}

#[test]
fn a_future_that_waits_for_a_lock_is_small_whatever_a_poll_takes() {
    let client = kvlock::asynch::Client::connect("memory:").unwrap();
    let lock = client.lock("k");
    assert!(size_of_val(&lock.acquire()) <= 1024, "{} bytes", size_of_val(&lock.acquire()));
}
