//! Calls about conflict retries.

use std::time::Duration;

use crate::component::bindings::exports::kvlock::lock::conflict_retry as wit;
use crate::component::convert::{nanos, ttl_out, wait_left};
use crate::component::guest::{Guest, call};
use crate::component::values::{Outcome, Target, TryTerms, WaitId};
use crate::error::{AcquireError, GrantError};
use crate::outcome::NextTry;

impl Guest {
    pub(super) async fn begin_retry(
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
            note: target.note(),
        };
        let exports = self.exports.kvlock_lock_conflict_retry();
        let begun = call(&mut self.store, exports.func_begin(), (self.session, key, &options)).await;
        self.answer(key, begun)
    }

    /// Reports the outcome of the present try, and returns what follows.
    pub(crate) async fn report(&mut self, key: &str, retry: WaitId, outcome: Outcome) -> Result<NextTry, GrantError> {
        let outcome = match outcome {
            Outcome::Committed => wit::WorkOutcome::Committed,
            Outcome::Conflict(back_in) => wit::WorkOutcome::Conflict(back_in.map(nanos)),
            Outcome::Failed => wit::WorkOutcome::Failed,
        };
        let next =
            call(&mut self.store, self.exports.kvlock_lock_conflict_retry().retry().func_report(), (retry.0, outcome))
                .await;
        self.answer(key, next)
    }

    pub(crate) async fn tries(&mut self, key: &str, retry: WaitId) -> Result<u32, AcquireError> {
        let tries =
            call(&mut self.store, self.exports.kvlock_lock_conflict_retry().retry().func_tries(), (retry.0,)).await;
        self.returned(key, tries)
    }

    pub(crate) async fn is_overtaken(&mut self, key: &str, retry: WaitId) -> Result<bool, AcquireError> {
        let overtaken =
            call(&mut self.store, self.exports.kvlock_lock_conflict_retry().retry().func_overtaken(), (retry.0,)).await;
        self.returned(key, overtaken)
    }

    pub(crate) async fn give_up(&mut self, key: &str, retry: WaitId) -> Result<(), AcquireError> {
        let given_up =
            call(&mut self.store, self.exports.kvlock_lock_conflict_retry().retry().func_give_up(), (retry.0,)).await;
        self.returned(key, given_up)
    }
}
