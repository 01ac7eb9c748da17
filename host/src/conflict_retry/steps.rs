//! Tries step by step: begun, reported, and what follows.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::Try;
use super::error::ConflictRetryError;
use super::work::WorkOutcome;
use crate::acquire::{AcquirePoll, Acquiring};
use crate::component::{GrantId, Outcome, WaitId};
use crate::debug::debug_fields;
use crate::error::{AcquireError, CallError, GrantError, chain};
use crate::events::HoldEnd;
use crate::grant::Grant;
use crate::now::now;
use crate::outcome::NextTry;
use crate::owner::{Entered, Owner};
use crate::queue::Kind;
use crate::renewal::{AutoRenew, LockGuard};
use crate::signal::Signal;

/// Work that is tried step by step: for callers with an event loop, and for work that ends elsewhere than in a
/// function. Keep the lock until the transaction has ended. Begin a try ([`next_try`](Self::next_try)), or
/// [`poll`](Self::poll) until there is a grant; run the work and commit; [`report`](Self::report) its outcome; and so
/// on.
///
/// ```
/// use kvlock::{conflict_retry::{NextTry, WorkOutcome}, Client};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let session = Client::connect("memory:")?.session().open()?;
/// let mut retrying = session.conflict_retry("account:7").begin()?;
/// let end = loop {
///     let attempt = retrying.next_try()?;
///     // Whatever is done until the transaction ends, in functions of its own; then, in its hook:
///     let outcome: WorkOutcome<(), &str> = WorkOutcome::Committed(());
///     match retrying.report(attempt, &outcome)? {
///         NextTry::RetryAfter(pause) => std::thread::sleep(pause),
///         end => break end,
///     }
/// };
/// assert_eq!(end, NextTry::Finished);
/// # Ok(())
/// # }
/// ```
///
/// Dropping it gives up a reservation without a name, and the lock of a try that was not reported. A named reservation
/// is left for the next retry of that name.
pub struct RetrySteps {
    /// The grant of the try that runs.
    granted: Option<GrantId>,
    /// The lock is reserved: the session's count of what it holds has it.
    reserved: bool,
    pub(super) waiting: Acquiring,
}

debug_fields!(RetrySteps, |it| key = it.waiting.key());

impl RetrySteps {
    pub(super) fn new(waiting: Acquiring) -> Self {
        RetrySteps { granted: None, reserved: false, waiting }
    }

    /// Begins the next try, waiting for the lock, and renews its lease in the background until it is reported.
    pub fn next_try(&mut self) -> Result<Try, AcquireError> {
        let grant = self.block()?;
        Ok(now(self.try_of(grant)))
    }

    pub(super) async fn try_of(&self, grant: Grant) -> Try {
        let (number, overtaken) = self.standing().await;
        Try { number, overtaken, kept: LockGuard::new(grant, AutoRenew::default()).await }
    }

    /// Returns the number of the present try, and if somebody else may have held the lock.
    pub(crate) async fn standing(&self) -> (u32, bool) {
        (self.count().await, self.overtaken().await)
    }

    /// Takes what work within the present try ran into for the work's own conflict: the work knows it for an error only.
    pub(crate) fn as_outermost<T, E>(&self, outcome: WorkOutcome<T, E>) -> WorkOutcome<T, E> {
        match outcome {
            WorkOutcome::Failed(error) if self.has_conflict_within() => WorkOutcome::Conflict(error),
            outcome => outcome,
        }
    }

    /// Tells what follows a try.
    pub(crate) async fn follow<T, E>(
        &self,
        outcome: WorkOutcome<T, E>,
        reported: Result<NextTry, GrantError>,
    ) -> Follow<T, E> {
        Follow::End(match (outcome, reported) {
            (WorkOutcome::Committed(value), Ok(_)) => Ok(value),
            (WorkOutcome::Committed(value), Err(error)) => Err(ConflictRetryError::Release { value, error }),
            (WorkOutcome::Failed(error), reported) => Err(ConflictRetryError::Failed { error, lock: reported.err() }),
            (WorkOutcome::Conflict(conflict), Ok(NextTry::Exhausted)) => {
                Err(ConflictRetryError::Exhausted { conflict, tries: self.count().await })
            }
            (WorkOutcome::Conflict(error), Ok(NextTry::RetryAfter(pause))) => {
                return Follow::Again { error, pause: Some(pause) };
            }
            (WorkOutcome::Conflict(conflict), Ok(NextTry::Outermost)) => {
                Err(ConflictRetryError::Outermost { conflict })
            }
            // A conflict is never finished, and only a component that failed does not take its report: the next poll
            // tells.
            (WorkOutcome::Conflict(error), Ok(NextTry::Finished) | Err(_)) => {
                return Follow::Again { error, pause: None };
            }
        })
    }

    /// Begins the next try, as far as it can without sleeping; with a grant it runs. The grant does not renew itself:
    /// see [`Grant::auto_renew`].
    pub fn poll(&mut self) -> Result<AcquirePoll, AcquireError> {
        self.check_thread()?;
        Ok(match now(self.waiting.poll())? {
            AcquirePoll::Ready(grant) => AcquirePoll::Ready(now(self.note(grant))?),
            pending => pending,
        })
    }

    /// Begins the next try, waiting for the lock.
    pub fn block(&mut self) -> Result<Grant, AcquireError> {
        now(self.waited())
    }

    /// Does what [`block`](Self::block) does.
    pub(crate) async fn waited(&mut self) -> Result<Grant, AcquireError> {
        self.check_thread()?;
        let grant = self.waiting.wait().await?;
        self.note(grant).await
    }

    /// Lets a task wait, which this wakes, and stops.
    pub(crate) fn wake_by(&mut self, signal: Arc<Signal>) {
        self.waiting.wake_by(signal);
    }

    pub(crate) fn owner(&self) -> &Owner {
        self.waiting.owner()
    }

    /// Refuses a thread while a try of another thread runs in the session: both would be at work.
    fn check_thread(&self) -> Result<(), AcquireError> {
        let (owner, key) = (self.waiting.owner(), self.waiting.key());
        let is_open = owner.tries().is_open(key, self.waiting.worker()) || !owner.is_own_process();
        if is_open { Ok(()) } else { Err(AcquireError::AlreadyHeld { key: key.to_string() }) }
    }

    async fn note(&mut self, grant: Grant) -> Result<Grant, AcquireError> {
        self.settle();
        self.granted = Some(grant.id());
        if self.waiting.is_within_another() {
            // It began meanwhile.
            let _ = self.tell(grant, Outcome::Failed).await;
            return Err(AcquireError::AlreadyHeld { key: self.waiting.key().to_string() });
        }
        Ok(grant)
    }

    /// Counts the reservation no more: it is not the session's any longer, or it is a grant again.
    fn settle(&mut self) {
        if std::mem::take(&mut self.reserved) {
            self.waiting.owner().held_count().given_back();
        }
    }

    fn has_conflict_within(&self) -> bool {
        self.waiting.owner().tries().has_conflict_within(self.waiting.key())
    }

    /// Returns true if somebody else may have held the lock: see [`Try::is_overtaken`].
    pub fn is_overtaken(&self) -> bool {
        now(self.overtaken())
    }

    async fn overtaken(&self) -> bool {
        let Some((mut guest, key, retry)) = self.enter().await else { return false };
        guest.is_overtaken(key, retry).await.unwrap_or_default()
    }

    /// Gives up the reservation, if there is one, in one call and best effort. The work can be tried again all the same.
    pub fn give_up(&mut self) {
        now(async {
            let Some((mut guest, key, retry)) = self.enter().await else { return };
            let _ = guest.give_up(key, retry).await;
        });
        self.settle();
    }

    /// Reports the outcome of the present try, and reserves the lock or gives it back. Takes the [`Try`], or the grant that
    /// came with it. An error tells that the lock was lost while work ran that committed or failed, or that it could not
    /// be given back and ends with its lease.
    pub fn report<T, E>(
        &mut self,
        grant: impl Into<Grant>,
        outcome: &WorkOutcome<T, E>,
    ) -> Result<NextTry, GrantError> {
        now(self.report_as(grant.into(), outcome.kind()))
    }

    /// Reports a conflict of a caller that is back after this time, whatever pause the answer names. If that is longer
    /// than the reservation lasts, the lock is released, so that nobody waits for it.
    pub fn report_conflict(&mut self, grant: impl Into<Grant>, back_in: Duration) -> Result<NextTry, GrantError> {
        now(self.report_as(grant.into(), Outcome::Conflict(Some(back_in))))
    }

    /// Does what [`report`](Self::report) does.
    pub(crate) async fn report_as(&mut self, grant: Grant, outcome: Outcome) -> Result<NextTry, GrantError> {
        let is_running = self.granted == Some(grant.id());
        let next = self.tell(grant, outcome).await;
        if is_running {
            let (tries, key) = (self.waiting.owner().tries(), self.waiting.key());
            tries.end(key);
            if next == Ok(NextTry::Outermost) {
                tries.pass_on_conflict(key);
            }
        }
        next
    }

    async fn tell(&mut self, grant: Grant, outcome: Outcome) -> Result<NextTry, GrantError> {
        let Some(retry) = self.waiting.id().filter(|_| self.granted == Some(grant.id())) else {
            // The drop releases it.
            return Err(GrantError::invalid(grant.key(), "this grant is not the one of the try that runs"));
        };
        self.granted = None;
        let handle = grant.handle().clone();
        grant.hand_in();
        let next = match handle.enter().await {
            Ok(mut guest) => guest.report(&handle.key, retry, outcome).await,
            Err(error) => Err(error),
        };
        handle.tell_end(match &next {
            Ok(NextTry::RetryAfter(_)) => HoldEnd::Reserved,
            Ok(_) => HoldEnd::Released,
            Err(GrantError::Lost { .. }) => HoldEnd::Lost,
            Err(_) => HoldEnd::Failed,
        });
        if let Outcome::Conflict(_) = outcome {
            handle.owner.events().conflict(&handle.key);
        }
        if let Ok(NextTry::RetryAfter(pause)) = next {
            self.reserved = true;
            tracing::debug!(key = &*handle.key, "conflict: the next try follows in {pause:?}");
            return next;
        }
        handle.note_end(&next, Kind::Lock);
        next.inspect_err(|error| tracing::warn!(key = &*handle.key, "release failed: {}", chain(error)))
    }

    /// Returns how many tries have begun; 0 where the component failed.
    pub fn tries(&self) -> u32 {
        now(self.count())
    }

    async fn count(&self) -> u32 {
        let Some((mut guest, key, retry)) = self.enter().await else { return 0 };
        guest.tries(key, retry).await.unwrap_or_default()
    }

    /// Enters the instance, if the component knows of the work and has not failed.
    async fn enter(&self) -> Option<(Entered<'_>, &str, WaitId)> {
        let (retry, key) = (self.waiting.id()?, self.waiting.key());
        Some((self.waiting.owner().enter::<AcquireError>(key).await.ok()?, key, retry))
    }
}

/// What follows a try.
pub(crate) enum Follow<T, E> {
    End(Result<T, ConflictRetryError<T, E>>),
    /// Another one.
    Again {
        error: E,
        pause: Option<Duration>,
    },
}

impl Drop for RetrySteps {
    /// Gives up the reservation, or the lock of a running try, by dropping the component's resource.
    fn drop(&mut self) {
        if self.granted.take().is_some() && self.waiting.owner().is_own_process() {
            self.waiting.owner().tries().end(self.waiting.key());
        }
        self.settle();
    }
}
