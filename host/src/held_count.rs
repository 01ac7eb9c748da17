//! How much a session may hold. Only the component knows what it holds; the count only tells when to ask it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Grants of a session: how many there ever were, and how many may still be held. One that was forgotten, written out
/// or could not be given back counts for good.
#[derive(Default)]
pub(crate) struct HeldCount {
    ever: AtomicU64,
    now: AtomicU64,
}

impl HeldCount {
    pub(crate) fn taken(&self) {
        self.ever.fetch_add(1, Ordering::Relaxed);
        self.now.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn given_back(&self) {
        // Each is given back once at most; more would only make the session ask where it need not.
        self.now.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn ever(&self) -> u64 {
        self.ever.load(Ordering::Relaxed)
    }

    pub(crate) fn is_any(&self) -> bool {
        self.now.load(Ordering::Relaxed) > 0
    }
}
