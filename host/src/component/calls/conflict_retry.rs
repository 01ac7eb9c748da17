//! Calls about conflict retries.

use std::time::Duration;

use crate::component::bindings::exports::kvlock::lock::conflict_retry as wit;
use crate::component::convert::{nanos, ttl_out, wait_left};
use crate::component::guest::Guest;
use crate::component::values::{Outcome, Target, TryTerms, WaitId};
use crate::error::{AcquireError, GrantError};
use crate::outcome::NextTry;

impl Guest {
    pub(super) fn begin_retry(
        &mut self,
        key: &str,
        target: &Target,
        terms: &TryTerms,
        waited: Duration,
    ) -> Result<WaitId, AcquireError> {
        let options = wit::RetryOptions {
            lease: ttl_out(target.lease),
            wait: wait_left(target, waited),
            interval: nanos(target.interval),
            tries: terms.tries,
            reserve: nanos(terms.reserve),
            reservation: terms.reservation.clone(),
        };
        let exports = self.exports.kvlock_lock_conflict_retry();
        let begun = exports.call_begin(&mut self.store, self.session, key, &options);
        self.answer(key, begun)
    }

    /// Reports the outcome of the present try, and returns what follows.
    pub(crate) fn report(&mut self, key: &str, retry: WaitId, outcome: Outcome) -> Result<NextTry, GrantError> {
        let outcome = match outcome {
            Outcome::Committed => wit::WorkOutcome::Committed,
            Outcome::Conflict(back_in) => wit::WorkOutcome::Conflict(back_in.map(nanos)),
            Outcome::Failed => wit::WorkOutcome::Failed,
        };
        let next = self.exports.kvlock_lock_conflict_retry().retry().call_report(&mut self.store, retry.0, outcome);
        self.answer(key, next)
    }

    pub(crate) fn tries(&mut self, key: &str, retry: WaitId) -> Result<u32, AcquireError> {
        let tries = self.exports.kvlock_lock_conflict_retry().retry().call_tries(&mut self.store, retry.0);
        self.returned(key, tries)
    }

    pub(crate) fn is_overtaken(&mut self, key: &str, retry: WaitId) -> Result<bool, AcquireError> {
        let overtaken = self.exports.kvlock_lock_conflict_retry().retry().call_overtaken(&mut self.store, retry.0);
        self.returned(key, overtaken)
    }

    pub(crate) fn give_up(&mut self, key: &str, retry: WaitId) -> Result<(), AcquireError> {
        let given_up = self.exports.kvlock_lock_conflict_retry().retry().call_give_up(&mut self.store, retry.0);
        self.returned(key, given_up)
    }
}
