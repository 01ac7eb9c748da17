//! Making, resizing and destroying a semaphore.

use std::time::Duration;

use wasmtime::component::ResourceAny;

use super::SemaphoreStatus;
use crate::component::bindings::exports::kvlock::lock::semaphore as wit;
use crate::component::convert;
use crate::error::trap;
use crate::lock::DEFAULT_INTERVAL;
use crate::owner::{Guest, Owner};
use crate::ride_out::{Outage, RideOut};
use crate::store::StoreError;
use crate::text::{permits, shown};

/// A change of a semaphore's size, and how long to wait for permits that have to come back: for ever, unless said.
#[derive(Clone)]
#[must_use = "nothing is changed until it is run"]
pub struct Resize {
    owner: Owner,
    name: String,
    /// None destroys it.
    permits: Option<u32>,
    wait: Option<Duration>,
    interval: Duration,
    ride_out: RideOut,
}

/// Why a semaphore was not made, resized or destroyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// The wait is over, and more permits than the new size are still held. The new size stands: nobody gets in until
    /// they are back.
    #[error("{status}: wait for those by asking again, or make it another size to take this one back")]
    StillHeld {
        /// How the semaphore stands.
        status: SemaphoreStatus,
    },
    /// Somebody else made it another size, or destroyed it, while this one waited.
    #[error("{}", superseded(.name, *.size))]
    Superseded {
        /// The semaphore.
        name: String,
        /// Its present size; 0 if it was or is being destroyed.
        size: u32,
    },
    /// There is no semaphore of this name to destroy.
    #[error("there is no semaphore `{}`: nothing to destroy", shown(.name))]
    Unknown {
        /// The semaphore.
        name: String,
    },
    /// What the store has in the semaphore's place is not ours. It was left as it is.
    #[error(
        "what the store has in the place of the semaphore `{}`, of one of its permits or of the list of semaphores is \
         not kvlock's, {excerpt}: remove it with the store's own tools, or use another namespace",
        shown(.name)
    )]
    Corrupt {
        /// The semaphore.
        name: String,
        /// The value's beginning.
        excerpt: String,
    },
    /// An argument is not legal; nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// The store failed. After an unknown outcome the size may be the new one; asking again is safe.
    #[error("semaphore `{}`: {error}", shown(.name))]
    Store {
        /// The semaphore.
        name: String,
        /// What the store says.
        error: StoreError,
    },
    /// The component failed, which is a bug; the session cannot be used any more.
    #[error("semaphore `{}`: the lock component failed: {text}", shown(.name))]
    Component {
        /// The semaphore.
        name: String,
        /// What wasmtime says.
        text: String,
    },
}

fn superseded(name: &str, size: u32) -> String {
    let name = shown(name);
    match size {
        0 => format!("`{name}` was destroyed by somebody else meanwhile"),
        size => format!("`{name}` was given {} by somebody else meanwhile", permits(size)),
    }
}

/// A change in progress. Dropping it ends the wait, and leaves the size as it was set.
pub struct Resizing {
    owner: Owner,
    name: String,
    resource: ResourceAny,
    ride_out: RideOut,
    outage: Outage,
}

/// How a change stands.
pub enum ResizePoll {
    /// Permits have to come back: poll again after the pause.
    Pending {
        /// When to poll again; sooner is harmless.
        pause: Duration,
        /// How the semaphore stands, as it was seen last.
        status: SemaphoreStatus,
        /// Why the store does not answer, if that is what is waited for.
        outage: Option<StoreError>,
    },
    /// Done: the size before; none if the semaphore is new.
    Ready(Option<u32>),
}

impl Resize {
    pub(crate) fn new(owner: Owner, name: String, permits: Option<u32>) -> Self {
        Resize { owner, name, permits, wait: None, interval: DEFAULT_INTERVAL, ride_out: RideOut::default() }
    }

    /// How long to wait for permits that have to come back; zero looks once.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// The longest pause between two looks: 1 ms to an hour.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How long an outage of the store is ridden out: see [`Lock::ride_out`](crate::Lock::ride_out).
    pub fn ride_out(mut self, longest: Duration) -> Self {
        self.ride_out.set(longest);
        self
    }

    /// How long an outage is ridden out that the session's first call finds; see
    /// [`Lock::ride_out_first`](crate::Lock::ride_out_first).
    pub fn ride_out_first(mut self, longest: Duration) -> Self {
        self.ride_out.set_first(longest);
        self
    }

    /// Does it, and waits; the size before, none if the semaphore is new.
    pub fn run(self) -> Result<Option<u32>, ResizeError> {
        let mut resizing = self.begin()?;
        loop {
            match resizing.poll()? {
                ResizePoll::Ready(before) => return Ok(before),
                ResizePoll::Pending { pause, status, outage } => {
                    match outage {
                        Some(error) => tracing::debug!(semaphore = resizing.name, "waiting for the store: {error}"),
                        None => tracing::debug!(semaphore = resizing.name, "waiting for permits: {status}"),
                    }
                    resizing.owner.clock().sleep(pause);
                }
            }
        }
    }

    /// Begins, for callers with an event loop. Nothing is sent until it is polled.
    pub fn begin(self) -> Result<Resizing, ResizeError> {
        let (wait, interval) = (self.wait.map(convert::nanos), convert::nanos(self.interval));
        let options = wit::ResizeOptions { wait, interval };
        let owner = self.owner.here().clone();
        let begun = owner.call(|Guest { instance, session, .. }| {
            let exports = instance.exports.kvlock_lock_semaphore();
            match self.permits {
                Some(permits) => exports.call_make(&mut instance.store, *session, &self.name, permits, options),
                None => exports.call_destroy(&mut instance.store, *session, &self.name, options),
            }
        });
        match begun {
            Ok(Ok(resource)) => {
                let (ride_out, outage) = (self.ride_out, Outage::default());
                Ok(Resizing { owner, name: self.name, resource, ride_out, outage })
            }
            Ok(Err(text)) => Err(ResizeError::Invalid(text)),
            Err(error) => Err(ResizeError::Component { text: trap(&error), name: self.name }),
        }
    }
}

impl Resizing {
    /// Goes on as far as it can without sleeping.
    pub fn poll(&mut self) -> Result<ResizePoll, ResizeError> {
        if !self.owner.is_own_process() {
            return Err(ResizeError::Invalid(
                "this resizing is of the process before the fork; begin another".to_string(),
            ));
        }
        let polled = self.owner.call(|Guest { instance, .. }| {
            let exports = instance.exports.kvlock_lock_semaphore().resizing();
            let polled = exports.call_poll(&mut instance.store, self.resource)?;
            Ok((polled, instance.has_reached_the_store()))
        });
        if let Ok((_, true)) = polled {
            self.outage.reached();
        }
        match polled {
            Ok((wit::ResizeProgress::Pending(wit::ResizePending { pause, status, outage }), _)) => {
                let outage = self.bear(outage.map(convert::error_in))?;
                Ok(ResizePoll::Pending { pause: Duration::from_nanos(pause), status: status.into(), outage })
            }
            Ok((wit::ResizeProgress::Done(before), _)) => Ok(ResizePoll::Ready(before)),
            Ok((wit::ResizeProgress::Failed(error), _)) => Err(ResizeError::of(&self.name, error)),
            Err(error) => Err(ResizeError::Component { text: trap(&error), name: self.name.clone() }),
        }
    }
}

impl Resizing {
    /// Gives up if an outage has lasted longer than is to be ridden out.
    fn bear(&mut self, outage: Option<StoreError>) -> Result<Option<StoreError>, ResizeError> {
        match outage {
            None => self.outage.over(),
            Some(ref error) if !self.outage.is_borne(self.owner.clock().now(), self.ride_out) => {
                return Err(ResizeError::Store { name: self.name.clone(), error: error.clone() });
            }
            Some(_) => {}
        }
        Ok(outage)
    }
}

impl Drop for Resizing {
    fn drop(&mut self) {
        self.owner.drop_resource(self.resource);
    }
}

impl ResizeError {
    fn of(name: &str, error: wit::ResizeError) -> Self {
        let name = name.to_string();
        match error {
            wit::ResizeError::StillHeld(status) => ResizeError::StillHeld { status: status.into() },
            wit::ResizeError::Superseded(size) => ResizeError::Superseded { name, size },
            wit::ResizeError::Unknown => ResizeError::Unknown { name },
            wit::ResizeError::Corrupt(excerpt) => ResizeError::Corrupt { name, excerpt },
            wit::ResizeError::Ended => ResizeError::Invalid("this resizing has ended; begin another".to_string()),
            wit::ResizeError::Store(error) => ResizeError::Store { name, error: convert::error_in(error) },
        }
    }
}
