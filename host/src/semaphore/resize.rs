//! Making, resizing and destroying a semaphore.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;

use crate::acquire::{WaitOptions, wait_setters};
use crate::component::{ResizeId, ResizeStep};
use crate::debug::debug_fields;
use crate::error::{CallError, ResizeError};
use crate::now::now;
use crate::owner::Owner;
use crate::ride_out::{Outage, RideOut};
use crate::signal::Signal;
use crate::status::SemaphoreStatus;
use crate::store::StoreError;

/// A change of a semaphore's size, and how long to wait for permits that have to come back: for ever, unless said.
#[derive(Clone)]
#[must_use = "nothing is changed until it is run"]
pub struct Resize {
    owner: Owner,
    name: String,
    /// None destroys it.
    permits: Option<u32>,
    /// The lease is of no use: a size has none.
    options: WaitOptions,
}

/// A change in progress. Dropping it ends the wait, and leaves the size as it was set.
pub struct Resizing {
    owner: Owner,
    name: String,
    id: ResizeId,
    ride_out: RideOut,
    outage: Outage,
}

/// How a change stands.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "as std has Poll: ready or not")]
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

debug_fields!(Resize, |it| semaphore = it.name, permits = it.permits);
debug_fields!(Resizing, |it| semaphore = it.name);

impl Resize {
    pub(crate) fn new(owner: Owner, name: String, permits: Option<u32>) -> Self {
        Resize { owner, name, permits, options: WaitOptions::default() }
    }

    wait_setters! {
        /// Sets how long to wait for permits that have to come back; zero looks once.
        wait
        /// Sets the longest pause between two looks: 1 ms to an hour.
        interval
        /// Sets how long to ride out an outage of the store: see [`Lock::ride_out`](crate::Lock::ride_out).
        ride_out
    }

    /// Does it, and waits; the size before, none if the semaphore is new.
    pub fn run(&self) -> Result<Option<u32>, ResizeError> {
        now(self.carried_out(None))
    }

    /// Does what [`run`](Self::run) does. A task that is told to stop gives up, and leaves the size as it was set.
    pub(crate) async fn carried_out(&self, stop: Option<Arc<Signal>>) -> Result<Option<u32>, ResizeError> {
        let mut resizing = self.begun().await?;
        loop {
            let (pause, status) = match resizing.advance().await? {
                ResizePoll::Ready(before) => return Ok(before),
                ResizePoll::Pending { pause, status, outage: Some(error) } => {
                    tracing::debug!(semaphore = resizing.name, "waiting for the store: {error:#}");
                    (pause, status)
                }
                ResizePoll::Pending { pause, status, outage: None } => {
                    tracing::debug!(semaphore = resizing.name, "waiting for permits: {status}");
                    (pause, status)
                }
            };
            match &stop {
                None => resizing.owner.clock().sleep(pause),
                Some(stop) => future::or(stop.wait(), resizing.owner.clock().sleep_async(pause)).await,
            }
            if stop.as_ref().is_some_and(|stop| stop.is_stopped()) {
                return Err(ResizeError::StillHeld { name: self.name.clone(), status });
            }
        }
    }

    /// Begins, for callers with an event loop. Nothing is sent until it is polled.
    pub fn begin(&self) -> Result<Resizing, ResizeError> {
        now(self.begun())
    }

    async fn begun(&self) -> Result<Resizing, ResizeError> {
        let owner = self.owner.here().clone();
        let WaitOptions { wait, interval, ride_out, .. } = self.options;
        let mut guest = owner.enter::<ResizeError>(&self.name).await?;
        let id = guest.begin_resize(&self.name, self.permits, wait, interval).await?;
        drop(guest);
        Ok(Resizing { owner, name: self.name.clone(), id, ride_out, outage: Outage::default() })
    }
}

impl Resizing {
    /// Goes on as far as it can without sleeping.
    pub fn poll(&mut self) -> Result<ResizePoll, ResizeError> {
        now(self.advance())
    }

    async fn advance(&mut self) -> Result<ResizePoll, ResizeError> {
        if !self.owner.is_own_process() {
            let reason = "this resizing is of the process before the fork; begin another";
            return Err(ResizeError::invalid(&self.name, reason));
        }
        let mut guest = self.owner.enter::<ResizeError>(&self.name).await?;
        let polled = guest.poll_resize(&self.name, self.id).await;
        if guest.has_reached_the_store() {
            self.outage.reached();
        }
        drop(guest);
        Ok(match polled? {
            ResizeStep::Pending { pause, status, outage } => {
                ResizePoll::Pending { pause, status, outage: self.bear(outage)? }
            }
            ResizeStep::Done(before) => ResizePoll::Ready(before),
        })
    }

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
        self.owner.discard(self.id);
    }
}
