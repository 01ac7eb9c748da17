//! Semaphores for tasks.

use std::sync::Arc;
use std::time::Duration;

use crate::acquire::or_busy;
use crate::debug::debug_fields;
use crate::error::{AcquireError, ResizeError, StatusError, WithLockError};
use crate::owner::{Owner, Tasks};
use crate::signal::Signal;
use crate::status::{Broken, SemaphoreStatus};
use crate::store::Ttl;

use super::asking::AskRequest;
use super::grant::Grant;
use super::guard::{LockGuard, with_guard};
use super::lock::Owners;
use super::same_setters;
use super::wait::{StopOnDrop, wait};

/// A semaphore by its name, whether or not it is there: see [`crate::Semaphore`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { futures_lite::future::block_on(async {
/// let client = kvlock::asynch::Client::connect("memory:")?;
/// let printers = client.semaphore("printers");
/// printers.make(1).run().await?;
/// let one = printers.permit().acquire().await?;
/// assert!(printers.permit().try_acquire().await?.is_none());
/// one.release().await?;
/// # Ok(()) }) }
/// ```
#[derive(Clone)]
pub struct Semaphore {
    semaphore: crate::Semaphore,
    tasks: Arc<Tasks>,
    owners: Owners,
}

/// How to acquire a permit: see [`PermitRequest`](crate::semaphore::PermitRequest) of the blocking API.
#[derive(Clone)]
#[must_use = "nothing is held until it is acquired"]
pub struct PermitRequest(crate::semaphore::PermitRequest, Arc<Tasks>, Owners);

/// A change of a semaphore's size: see [`Resize`](crate::semaphore::Resize) of the blocking API.
#[derive(Clone)]
#[must_use = "nothing is changed until it is run"]
pub struct Resize(crate::semaphore::Resize, Arc<Tasks>);

debug_fields!(Semaphore, |it| semaphore = it.semaphore);
debug_fields!(PermitRequest, |it| request = it.0);
debug_fields!(Resize, |it| resize = it.0);

impl Semaphore {
    pub(super) fn new(tasks: Arc<Tasks>, semaphore: crate::Semaphore, owners: Owners) -> Self {
        Semaphore { semaphore, tasks, owners }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        self.semaphore.name()
    }

    /// Makes it with 1 to 1,000,000 permits, or gives it that size: see [`crate::Semaphore::make`].
    pub fn make(&self, permits: u32) -> Resize {
        Resize(self.semaphore.make(permits), self.tasks.clone())
    }

    /// Destroys it: nobody gets in any more, and it is gone when all permits are back.
    pub fn destroy(&self) -> Resize {
        Resize(self.semaphore.destroy(), self.tasks.clone())
    }

    /// Begins to acquire one permit. A session may hold several.
    pub fn permit(&self) -> PermitRequest {
        PermitRequest(self.semaphore.permit(), self.tasks.clone(), self.owners)
    }

    /// Tells how it stands; none if there is no semaphore of the name.
    ///
    /// # Errors
    ///
    /// As [`crate::Semaphore::status`].
    pub async fn status(&self) -> Result<Option<SemaphoreStatus>, StatusError> {
        let (owner, name) = self.owner_and_name();
        self.tasks.runner().run(Box::pin(async move { owner.semaphore_status(&name).await })).await
    }

    /// Begins to ask the holder of a permit to give it back: see [`crate::Semaphore::ask_permit`].
    pub fn ask_permit(&self, permit: u32) -> AskRequest {
        AskRequest::new(self.tasks.clone(), self.semaphore.ask_permit(permit))
    }

    /// Ends the grant of the permit's present holder by force: see [`crate::Semaphore::break_permit`].
    ///
    /// # Errors
    ///
    /// As the blocking call.
    pub async fn break_permit(&self, permit: u32) -> Result<Broken, StatusError> {
        self.break_by_force(permit, None).await
    }

    /// Does the same to the grant with this fencing token, and to no other.
    ///
    /// # Errors
    ///
    /// As the blocking call.
    pub async fn break_permit_if(&self, permit: u32, token: u64) -> Result<Broken, StatusError> {
        self.break_by_force(permit, Some(token)).await
    }

    async fn break_by_force(&self, permit: u32, if_token: Option<u64>) -> Result<Broken, StatusError> {
        let (owner, name) = self.owner_and_name();
        self.tasks.runner().run(Box::pin(async move { owner.break_permit(&name, permit, if_token).await })).await
    }

    fn owner_and_name(&self) -> (Owner, String) {
        (self.semaphore.owner().here().clone(), self.name().to_string())
    }
}

impl PermitRequest {
    same_setters! { "semaphore::PermitRequest":
        lease(lease: impl Into<Ttl>)
        wait(wait: Duration)
        interval(interval: Duration)
        note(note: impl Into<String>)
        ride_out(longest: Duration)
        ride_out_first(longest: Duration)
    }

    /// Acquires a permit, waiting as long as the options allow. To drop the future is to wait no more.
    ///
    /// # Errors
    ///
    /// As the blocking call.
    pub async fn acquire(&self) -> Result<Grant, AcquireError> {
        self.granted(wait(&self.1, self.owned().waiting()).await)
    }

    /// Tries once, without waiting. Returns none if all permits are held.
    ///
    /// # Errors
    ///
    /// As the blocking call.
    pub async fn try_acquire(&self) -> Result<Option<Grant>, AcquireError> {
        or_busy(self.granted(wait(&self.1, self.owned().waiting_once()).await))
    }

    /// Acquires a permit, runs `work` while the lease is renewed in the background, and releases the permit: see
    /// [`Lock::with_lock`](super::Lock::with_lock).
    ///
    /// # Errors
    ///
    /// As the blocking call.
    pub async fn with_permit<T>(&self, work: impl AsyncFnOnce(&LockGuard) -> T) -> Result<T, WithLockError<T>> {
        with_guard(self.acquire().await, work).await
    }

    fn granted(&self, acquired: Result<crate::Grant, AcquireError>) -> Result<Grant, AcquireError> {
        acquired.map(|grant| Grant::new(self.1.clone(), grant))
    }

    fn owned(&self) -> crate::semaphore::PermitRequest {
        match self.2 {
            Owners::Session => self.0.clone(),
            Owners::OfEachAcquire => self.0.of_another_owner(),
        }
    }
}

impl Resize {
    same_setters! { "semaphore::Resize":
        wait(wait: Duration)
        interval(interval: Duration)
        ride_out(longest: Duration)
        ride_out_first(longest: Duration)
    }

    /// Does it, and waits; the size before, none if the semaphore is new. To drop the future ends the wait for permits
    /// that have to come back, and leaves the size as it was set.
    ///
    /// # Errors
    ///
    /// As the blocking call.
    pub async fn run(&self) -> Result<Option<u32>, ResizeError> {
        let signal = Arc::<Signal>::default();
        let _stop = StopOnDrop(signal.clone());
        let resize = self.0.clone();
        self.1.runner().run(Box::pin(async move { resize.carried_out(Some(signal)).await })).await
    }
}
