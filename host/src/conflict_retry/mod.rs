//! Conflict retry: work that has its own optimistic concurrency control, tried under a lock until it commits.

mod attempt;
mod error;
mod steps;
mod work;

use std::sync::Arc;
use std::time::Duration;

use crate::acquire::{Acquiring, WaitOptions, wait_setters};
use crate::component::{TryTerms, What};
use crate::debug::debug_fields;
use crate::error::AcquireError;
use crate::now::now;
pub use crate::outcome::NextTry;
use crate::owner::Owner;
pub use attempt::Try;
pub use error::ConflictRetryError;
pub(crate) use steps::Follow;
pub use steps::RetrySteps;
pub use work::WorkOutcome;

/// How often work is tried in all unless set: once, and ten times more.
pub const DEFAULT_TRIES: u32 = 11;
/// How long the lock stays reserved after a conflict unless set: time to begin again, no more.
pub const DEFAULT_RESERVE: Duration = Duration::from_secs(1);

/// How to try work that may run into a conflict: a transaction of a database that serialises, a commit to a
/// repository, an upload with a precondition.
///
/// The work runs while its lock is held, so that callers of the lock do not run into each other, and throw no work
/// away. If it conflicts all the same, with a writer that asks for no lock, the lock stays reserved for a moment, and
/// the next try goes first.
///
/// Each option has a default that serves: a lease of 30 s, renewed while the work runs; eleven tries; a reservation of
/// a second; and waiting for ever.
///
/// ```
/// use kvlock::{conflict_retry::{ConflictRetryError, WorkOutcome}, Client};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let session = Client::connect("memory:")?.session().open()?;
/// let mut somebody_else = 2;
/// let sum = session.conflict_retry("account:7").tries(5).run(|attempt| {
///     // Begin the transaction; read, compute, write; commit, and tell what came of it:
///     if somebody_else > 0 {
///         somebody_else -= 1;
///         return WorkOutcome::Conflict("could not serialize access");
///     }
///     WorkOutcome::Committed(40 + attempt.number())
/// })?;
/// assert_eq!(sum, 43);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing runs until it is run"]
pub struct ConflictRetry {
    owner: Owner,
    key: Arc<str>,
    options: WaitOptions,
    terms: TryTerms,
}

debug_fields!(ConflictRetry, |it| key = it.key, lease = it.options.lease, tries = it.terms.tries);
impl ConflictRetry {
    pub(crate) fn new(owner: Owner, key: Arc<str>) -> Self {
        let terms = TryTerms { tries: DEFAULT_TRIES, reserve: DEFAULT_RESERVE, reservation: None };
        ConflictRetry { owner, key, options: WaitOptions::default(), terms }
    }

    wait_setters! {
        /// Sets how long the lock is held for each try unless renewed: 1 ms to a year.
        lease
        /// Sets how long to wait for the lock at most, over all tries and counted from the first on; zero never waits. A
        /// try that finds its reservation goes all the same.
        wait
        /// Sets the longest pause between two looks at a lock that is busy: 1 ms to an hour. For work that takes
        /// milliseconds choose a few of them.
        interval
        /// Sets what the work is: see [`Lock::note`](crate::Lock::note).
        note
        /// Sets how long to ride out an outage of the store: see [`Lock::ride_out`](crate::Lock::ride_out).
        ride_out
    }

    /// Sets how often to try in all: 1 to a million.
    pub fn tries(mut self, tries: u32) -> Self {
        self.terms.tries = tries;
        self
    }

    /// Sets how long the lock stays reserved after a conflict, should the next try never come: 1 ms to an hour.
    pub fn reserve(mut self, reserve: Duration) -> Self {
        self.terms.reserve = reserve;
        self
    }

    /// Names the unit of work, such as a request by its id: a conflict retry of the same name finds the reservation in
    /// any session, thread or process. For platforms where the next try is elsewhere. 1 to 255 bytes.
    pub fn reservation(mut self, name: impl Into<String>) -> Self {
        self.terms.reservation = Some(name.into());
        self
    }

    /// Sets all that a wait has.
    pub(crate) fn with(mut self, options: WaitOptions) -> Self {
        self.options = options;
        self
    }

    pub(crate) fn ride_out_softly(mut self, moment: Duration) -> Self {
        self.options.ride_out.set_soft(moment);
        self
    }

    /// Runs `work` under the lock until it commits, fails, or has run into a conflict as often as it may. If it
    /// panics, the lock is released.
    pub fn run<T, E>(&self, mut work: impl FnMut(&Try) -> WorkOutcome<T, E>) -> Result<T, ConflictRetryError<T, E>> {
        let mut conflict = None;
        let mut retrying = self.begin().map_err(|error| ConflictRetryError::Acquire { error, conflict: None })?;
        loop {
            let grant = match retrying.block() {
                Ok(grant) => grant,
                Err(error) => return Err(ConflictRetryError::Acquire { error, conflict }),
            };
            let attempt = now(retrying.try_of(grant));
            let span = attempt.kept.handle().hold.span();
            let outcome = retrying.as_outermost(span.within_here(|| work(&attempt)));
            let reported = retrying.report(attempt, &outcome);
            match now(retrying.follow(outcome, reported)) {
                Follow::End(end) => return end,
                Follow::Again { error, pause } => {
                    conflict = Some(error);
                    pause.into_iter().for_each(|pause| retrying.waiting.owner().clock().sleep(pause));
                }
            }
        }
    }

    /// Begins to try step by step. Nothing is sent until it is polled.
    pub fn begin(&self) -> Result<RetrySteps, AcquireError> {
        let what = What::Try(self.terms.clone());
        let waiting = Acquiring::new(self.owner.clone(), self.key.clone(), self.options.clone(), what);
        waiting.check()?;
        Ok(RetrySteps::new(waiting))
    }

    /// Begins in another owner with the same options.
    pub(crate) fn of_another_owner(&self) -> Self {
        ConflictRetry { owner: self.owner.another(), ..self.clone() }
    }
}
