//! A wait for a lock or a permit, and its present obstacle.

use crate::error::{AcquireError, WaitingFor};
use crate::records::Nonce;
use crate::values::{LockOptions, StoreError, Time};
use crate::wait::Wait;

/// How long to wait, and for what at present.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Waiting {
    pub(crate) wait: Wait,
    pub(crate) waiting_for: WaitingFor,
}

impl Waiting {
    pub(crate) fn new(options: &LockOptions, nonce: Nonce) -> Self {
        Waiting { wait: Wait::new(options.wait, options.interval, nonce.0), waiting_for: WaitingFor::Turn }
    }

    /// Notes an outage: it is ridden out as long as the wait lasts, from the first try on. Returns the error with which
    /// the wait ends if it is over, or if the store refuses.
    pub(crate) fn ride_out(&mut self, now: Time, error: StoreError, in_doubt: bool) -> Result<(), AcquireError> {
        if !error.is_outage() || self.wait.is_over(now) {
            return Err(error.after_doubt(in_doubt).into());
        }
        self.waiting_for = WaitingFor::Outage(error);
        Ok(())
    }

    /// Returns the error with which the wait ends, if it is over.
    pub(crate) fn check(&self, now: Time, in_doubt: bool) -> Result<(), AcquireError> {
        if !self.wait.is_over(now) {
            return Ok(());
        }
        Err(match self.waiting_for.clone() {
            WaitingFor::Outage(error) => error.after_doubt(in_doubt).into(),
            waiting_for => AcquireError::Busy { waited: self.wait.waited(now), waiting_for },
        })
    }
}
