//! Conflict retry for tasks.

use std::sync::Arc;
use std::time::Duration;

use crate::component::Outcome;
use crate::conflict_retry::{ConflictRetryError, Follow, RetrySteps, WorkOutcome};
use crate::debug::debug_fields;
use crate::error::{AcquireError, GrantError};
use crate::outcome::NextTry;
use crate::owner::Tasks;
use crate::renewal::{AutoRenew, LostReason};
use crate::signal::Signal;
use crate::store::Ttl;

use super::guard::LockGuard;
use super::lock::Owners;
use super::same_setters;
use super::wait::StopOnDrop;

/// How to try work that may run into a conflict: see [`crate::ConflictRetry`].
///
/// A retry of the same key and session within a try is refused, as
/// [`AlreadyHeld`](crate::error::AcquireError::AlreadyHeld): a task has no name that would tell it from another.
///
/// ```
/// use kvlock::{asynch::Client, conflict_retry::WorkOutcome};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { futures_lite::future::block_on(async {
/// let client = Client::connect("memory:")?;
/// let mut somebody_else = 2;
/// let sum = client.conflict_retry("account:7").tries(5).run(async |attempt| {
///     // Begin the transaction; read, compute, write; commit, and tell what came of it:
///     if somebody_else > 0 {
///         somebody_else -= 1;
///         return WorkOutcome::Conflict("could not serialize access");
///     }
///     WorkOutcome::Committed(40 + attempt.number())
/// }).await?;
/// assert_eq!(sum, 43);
/// # Ok(()) }) }
/// ```
#[derive(Clone)]
#[must_use = "nothing runs until it is run"]
pub struct ConflictRetry(crate::ConflictRetry, Arc<Tasks>, Owners);

/// A try that runs, as its work sees it. The lease is renewed in the background.
#[derive(Debug)]
pub struct Try {
    number: u32,
    overtaken: bool,
    kept: LockGuard,
}

debug_fields!(ConflictRetry, |it| retry = it.0);

impl ConflictRetry {
    pub(super) fn new(tasks: Arc<Tasks>, retry: crate::ConflictRetry, owners: Owners) -> Self {
        ConflictRetry(retry, tasks, owners)
    }

    same_setters! { "ConflictRetry":
        lease(lease: impl Into<Ttl>)
        wait(wait: Duration)
        interval(interval: Duration)
        note(note: impl Into<String>)
        ride_out(longest: Duration)
        ride_out_first(longest: Duration)
        tries(tries: u32)
        reserve(reserve: Duration)
        reservation(name: impl Into<String>)
    }

    /// Runs `work` under the lock until it commits, fails, or has run into a conflict as often as it may. If the future is
    /// dropped, the lock is released.
    ///
    /// # Errors
    ///
    /// As [`crate::ConflictRetry::run`].
    pub async fn run<T, E>(
        &self,
        mut work: impl AsyncFnMut(&Try) -> WorkOutcome<T, E>,
    ) -> Result<T, ConflictRetryError<T, E>> {
        let signal = Arc::<Signal>::default();
        let _stop = StopOnDrop(signal.clone());
        let (tasks, mut conflict) = (&self.1, None);
        let mut steps = match self.begin(signal).await {
            Ok(steps) => steps,
            Err(error) => return Err(ConflictRetryError::Acquire { error, conflict }),
        };
        loop {
            let owner = steps.owner().clone();
            let (number, overtaken, guard) = match owner.run(tasks, Box::pin(begin_try(steps))).await {
                (back, Ok(begun)) => {
                    steps = back;
                    begun
                }
                (_, Err(error)) => return Err(ConflictRetryError::Acquire { error, conflict }),
            };
            let attempt = Try { number, overtaken, kept: LockGuard::new(tasks.clone(), guard) };
            let outcome = steps.as_outermost(attempt.kept.hold_span().within(work(&attempt)).await);
            let (grant, _) = attempt.kept.stop().into_parts();
            let (back, reported) = owner.run(tasks, Box::pin(report(steps, grant, outcome.kind()))).await;
            steps = back;
            match steps.follow(outcome, reported).await {
                Follow::End(end) => return end,
                Follow::Again { error, pause } => {
                    conflict = Some(error);
                    if let Some(pause) = pause {
                        steps.owner().clock().sleep_async(pause).await;
                    }
                }
            }
        }
    }

    /// Begins, as an owner that all the tries have.
    async fn begin(&self, signal: Arc<Signal>) -> Result<RetrySteps, AcquireError> {
        let retry = match self.2 {
            Owners::Session => self.0.clone(),
            Owners::OfEachAcquire => self.0.of_another_owner(),
        };
        let begun = self.1.runner().run(Box::pin(async move { retry.begin() })).await;
        begun.map(|mut steps| {
            steps.wake_by(signal);
            steps
        })
    }
}

impl Try {
    /// Returns the number of the try; the first is 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns true if somebody else may have held the lock: see [`conflict_retry::Try`](crate::conflict_retry::Try::is_overtaken).
    pub fn is_overtaken(&self) -> bool {
        self.overtaken
    }

    /// Returns the key.
    pub fn key(&self) -> &str {
        self.kept.key()
    }

    /// Returns the fencing token: see [`crate::Grant::token`].
    pub fn token(&self) -> u64 {
        self.kept.token()
    }

    /// Waits until the lock is lost, and returns why.
    pub async fn lost(&self) -> LostReason {
        self.kept.lost().await
    }

    /// Returns why the lock is lost; none while it is held.
    pub fn loss(&self) -> Option<LostReason> {
        self.kept.loss()
    }

    /// Returns how long the lock is surely held; none if without end.
    pub fn valid_for(&self) -> Option<Duration> {
        self.kept.valid_for()
    }
}

/// Waits for the next try, and renews its lease from then on. Returns its number, and if it was overtaken, with that.
async fn begin_try(mut steps: RetrySteps) -> (RetrySteps, Result<(u32, bool, crate::LockGuard), AcquireError>) {
    let grant = match steps.waited().await {
        Ok(grant) => grant,
        Err(error) => return (steps, Err(error)),
    };
    let (number, overtaken) = steps.standing().await;
    let guard = crate::LockGuard::new(grant, AutoRenew::default()).await;
    (steps, Ok((number, overtaken, guard)))
}

/// Reports the outcome of a try.
async fn report(
    mut steps: RetrySteps,
    grant: crate::Grant,
    outcome: Outcome,
) -> (RetrySteps, Result<NextTry, GrantError>) {
    let reported = steps.report_as(grant, outcome).await;
    (steps, reported)
}
