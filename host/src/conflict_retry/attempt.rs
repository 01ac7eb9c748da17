//! A try, as its work sees it.

use std::time::Duration;

use crate::grant::Grant;
use crate::renewal::{LockGuard, LostReason};

/// A try that runs, as its work sees it. The lease is renewed in the background.
#[derive(Debug)]
pub struct Try {
    pub(super) number: u32,
    pub(super) overtaken: bool,
    pub(super) kept: LockGuard,
}

impl Try {
    /// Returns the number of the try; the first is 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns true if somebody else may have held the lock since this try was first polled, or since the last report
    /// if that reserved the lock. Only then is what was read before the grant stale, as where the transaction began
    /// first.
    pub fn is_overtaken(&self) -> bool {
        self.overtaken
    }

    /// Returns the key.
    pub fn key(&self) -> &str {
        self.kept.key()
    }

    /// Returns the fencing token: see [`Grant::token`]. A try that found its reservation has that of the try before.
    pub fn token(&self) -> u64 {
        self.kept.token()
    }

    /// Returns true if the lock is still held.
    pub fn is_held(&self) -> bool {
        self.lost().is_none()
    }

    /// Returns why the lock is lost; none while it is held.
    pub fn lost(&self) -> Option<LostReason> {
        self.kept.lost()
    }

    /// Returns how long the lock is surely held; none if without end.
    pub fn valid_for(&self) -> Option<Duration> {
        self.kept.valid_for()
    }
}

impl From<Try> for Grant {
    /// Returns the grant, which is not renewed in the background any more.
    fn from(attempt: Try) -> Self {
        attempt.kept.stop()
    }
}
