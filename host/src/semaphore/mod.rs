//! Semaphores: at most so many holders at a time.

mod permit;
mod resize;

pub use permit::Permit;
pub use resize::{Resize, ResizeError, ResizePoll, Resizing};

use std::fmt;
use std::time::Duration;

use crate::component::bindings::exports::kvlock::lock::mutex::KeyError as KeyErrorOut;
use crate::component::bindings::exports::kvlock::lock::semaphore as wit;
use crate::error::{KeyError, trap};
use crate::holder::Holder;
use crate::owner::{Guest, Owner};
use crate::status::Broken;
use crate::text::{permits, shown};

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

/// How a semaphore stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SemaphoreStatus {
    /// Its name as its user wrote it.
    pub name: String,
    /// How many permits it has; 0 while it is being destroyed.
    pub size: u32,
    /// Who holds permits, by permit number. More than `size` while it shrinks.
    pub holders: Vec<Holder>,
    /// How much longer no permit is granted, as in [`KeyStatus`](crate::KeyStatus), by the server that keeps the
    /// semaphore. None in what a [`Resizing`] tells.
    pub quarantine: Option<Duration>,
}

impl Semaphore {
    pub(crate) fn new(owner: Owner, name: String) -> Self {
        Semaphore { owner, name }
    }

    /// Its name.
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
    pub fn permit(&self) -> Permit {
        Permit::new(self.owner.clone(), self.name.clone())
    }

    /// Tells how it stands; none if there is no semaphore of the name.
    pub fn status(&self) -> Result<Option<SemaphoreStatus>, KeyError> {
        let status = self.owner.here().call(|Guest { instance, session, .. }| {
            let exports = instance.exports.kvlock_lock_semaphore();
            exports.call_status(&mut instance.store, *session, &self.name)
        });
        Ok(answer(&self.name, status)?.map(SemaphoreStatus::from))
    }

    /// Ends somebody's permit by force and tells whose it was; none if it was free. The holder learns that it lost
    /// the permit at its next renewal or release, and [may be at work](Holder::at_work_until) until then.
    pub fn break_permit(&self, permit: u32) -> Result<Option<Holder>, KeyError> {
        Ok(self.break_by_force(permit, None)?.ended())
    }

    /// Does the same to the grant with this fencing token, as [`status`](Self::status) tells it, and to no other.
    pub fn break_permit_if(&self, permit: u32, token: u64) -> Result<Broken, KeyError> {
        self.break_by_force(permit, Some(token))
    }

    fn break_by_force(&self, permit: u32, if_token: Option<u64>) -> Result<Broken, KeyError> {
        let broken = self.owner.here().call(|Guest { instance, session, .. }| {
            let exports = instance.exports.kvlock_lock_semaphore();
            exports.call_break_permit(&mut instance.store, *session, &self.name, permit, if_token)
        });
        let broken = answer(&self.name, broken)?.into();
        if let Broken::Ended(holder) = &broken {
            tracing::info!(
                semaphore = self.name,
                permit,
                token = holder.token,
                "broken by force; it was {}",
                holder.who()
            );
        }
        Ok(broken)
    }
}

/// All semaphores of a session's namespace, by name.
pub(crate) fn list(owner: &Owner) -> Result<Vec<SemaphoreStatus>, KeyError> {
    let listed = owner.here().call(|Guest { instance, session, .. }| {
        instance.exports.kvlock_lock_semaphore().call_list(&mut instance.store, *session)
    });
    Ok(answer("the list of semaphores or one of them", listed)?.into_iter().map(SemaphoreStatus::from).collect())
}

fn answer<T>(name: &str, answer: wasmtime::Result<Result<T, KeyErrorOut>>) -> Result<T, KeyError> {
    answer.map_err(|error| KeyError::Component(trap(&error)))?.map_err(|error| KeyError::of(name, error))
}

impl From<wit::SemaphoreStatus> for SemaphoreStatus {
    fn from(status: wit::SemaphoreStatus) -> Self {
        let wit::SemaphoreStatus { name, size, holders, quarantine } = status;
        let (holders, quarantine) =
            (holders.into_iter().map(Holder::from).collect(), quarantine.map(Duration::from_nanos));
        SemaphoreStatus { name, size, holders, quarantine }
    }
}

/// So many holders are named in a message; of more, their number is told.
const NAMED: usize = 4;

impl fmt::Display for SemaphoreStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size {
            0 => write!(f, "`{}` is being destroyed", shown(&self.name))?,
            size => write!(f, "`{}` has {}", shown(&self.name), permits(size))?,
        }
        write!(f, ", {} held", self.holders.len())?;
        for (place, holder) in self.holders.iter().take(NAMED).enumerate() {
            f.write_str(if place == 0 { ": " } else { "; " })?;
            write!(f, "{} {holder}", holder.permit.unwrap_or_default())?;
        }
        match self.holders.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
