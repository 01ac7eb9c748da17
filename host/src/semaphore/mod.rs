//! Semaphores: at most n holders at a time.

mod permit;
mod resize;

pub use permit::PermitRequest;
pub use resize::{Resize, ResizePoll, Resizing};

use crate::asking::AskRequest;
use crate::component::AskPlace;
use crate::debug::debug_fields;
pub use crate::error::ResizeError;
use crate::error::StatusError;
use crate::now::now;
use crate::owner::Owner;
use crate::status::Broken;
pub use crate::status::SemaphoreStatus;

/// A semaphore by its name, whether or not it is there.
///
/// A semaphore is made once and stands in the store until it is destroyed. A permit of it is a
/// [`Grant`](crate::Grant): it has a lease, and comes back by itself when its holder crashed.
///
/// ```
/// use kvlock::Client;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let session = Client::connect("memory:")?.session().open()?;
/// let printers = session.semaphore("printers");
/// printers.make(2).run()?;
///
/// let (one, two) = (printers.permit().acquire()?, printers.permit().acquire()?);
/// assert!(printers.permit().try_acquire()?.is_none());
/// one.release()?;
/// drop(two); // released as well
///
/// // Scoped, with the lease renewed in the background:
/// let kept = printers.permit().with_permit(|permit| permit.lost().is_none())?;
/// assert!(kept);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Semaphore {
    owner: Owner,
    name: String,
}

debug_fields!(Semaphore, |it| name = it.name);

impl Semaphore {
    pub(crate) fn new(owner: Owner, name: String) -> Self {
        Semaphore { owner, name }
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes it with 1 to 1,000,000 permits, or gives it that size: it grows at once, and shrinks as permits come
    /// back, the free ones first. Of that size already: nothing is changed.
    pub fn make(&self, permits: u32) -> Resize {
        Resize::new(self.owner.clone(), self.name.clone(), Some(permits))
    }

    /// Destroys it: nobody gets in any more, and it is gone when all permits are back.
    pub fn destroy(&self) -> Resize {
        Resize::new(self.owner.clone(), self.name.clone(), None)
    }

    /// Begins to acquire one permit. A session may hold several.
    pub fn permit(&self) -> PermitRequest {
        PermitRequest::new(self.owner.clone(), self.name.as_str().into())
    }

    /// Tells how it stands; none if there is no semaphore of the name.
    pub fn status(&self) -> Result<Option<SemaphoreStatus>, StatusError> {
        now(self.owner.here().semaphore_status(&self.name))
    }

    /// Begins to ask the holder of a permit to give it back: see [`asking`](crate::asking).
    pub fn ask_permit(&self, permit: u32) -> AskRequest {
        AskRequest::new(self.owner.clone(), AskPlace::Permit(self.name.as_str().into(), permit))
    }

    /// Ends the grant of the permit's present holder by force, and tells whose it was. The holder learns that it lost
    /// the permit at its next renewal or release, and [may be at work](crate::Holder::at_work_until) until then. If that grant
    /// ends by itself meanwhile, its successor keeps the permit.
    pub fn break_permit(&self, permit: u32) -> Result<Broken, StatusError> {
        now(self.owner.here().break_permit(&self.name, permit, None))
    }

    /// Does the same to the grant with this fencing token, as [`status`](Self::status) tells it, and to no other.
    pub fn break_permit_if(&self, permit: u32, token: u64) -> Result<Broken, StatusError> {
        now(self.owner.here().break_permit(&self.name, permit, Some(token)))
    }
}
