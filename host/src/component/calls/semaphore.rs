//! Calls about semaphores.

use std::time::Duration;

use crate::component::bindings::exports::kvlock::lock::semaphore as wit;
use crate::component::convert::{At, error_in, nanos, ttl_out, wait_left};
use crate::component::guest::{Guest, call};
use crate::component::values::{ResizeId, ResizeStep, Target, WaitId};
use crate::error::{AcquireError, ResizeError, StatusError};
use crate::status::{Broken, SemaphoreStatus};

impl Guest {
    /// Begins to make a semaphore of this many permits, or to destroy it. Sends nothing.
    pub(crate) async fn begin_resize(
        &mut self,
        name: &str,
        permits: Option<u32>,
        wait: Option<Duration>,
        interval: Duration,
    ) -> Result<ResizeId, ResizeError> {
        let options = wit::ResizeOptions { wait: wait.map(nanos), interval: nanos(interval) };
        let exports = self.exports.kvlock_lock_semaphore();
        let begun = match permits {
            Some(permits) => call(&mut self.store, exports.func_make(), (self.session, name, permits, options)).await,
            None => call(&mut self.store, exports.func_destroy(), (self.session, name, options)).await,
        };
        self.answer(name, begun)
    }

    pub(crate) async fn poll_resize(&mut self, name: &str, resize: ResizeId) -> Result<ResizeStep, ResizeError> {
        let progress =
            call(&mut self.store, self.exports.kvlock_lock_semaphore().resizing().func_poll(), (resize.0,)).await;
        match self.returned(name, progress)? {
            wit::ResizeProgress::Pending(wit::ResizePending { pause, status, outage }) => {
                let (pause, outage) = (Duration::from_nanos(pause), outage.map(error_in));
                Ok(ResizeStep::Pending { pause, status: status.into(), outage })
            }
            wit::ResizeProgress::Done(before) => Ok(ResizeStep::Done(before)),
            wit::ResizeProgress::Failed(error) => Err(error.at(name)),
        }
    }

    pub(super) async fn begin_permit(
        &mut self,
        name: &str,
        target: &Target,
        waited: Duration,
    ) -> Result<WaitId, AcquireError> {
        let wait = wait_left(target, waited);
        let (lease, interval, note) = (ttl_out(target.lease), nanos(target.interval), target.note());
        let options = wit::PermitOptions { lease, wait, interval, note };
        let begun =
            call(&mut self.store, self.exports.kvlock_lock_semaphore().func_acquire(), (self.session, name, &options))
                .await;
        self.answer(name, begun)
    }

    pub(crate) async fn semaphore_status(&mut self, name: &str) -> Result<Option<SemaphoreStatus>, StatusError> {
        let status =
            call(&mut self.store, self.exports.kvlock_lock_semaphore().func_status(), (self.session, name)).await;
        let status: Option<wit::SemaphoreStatus> = self.answer(name, status)?;
        Ok(status.map(SemaphoreStatus::from))
    }

    pub(crate) async fn semaphores(&mut self) -> Result<Vec<SemaphoreStatus>, StatusError> {
        let listed = call(&mut self.store, self.exports.kvlock_lock_semaphore().func_list(), (self.session,)).await;
        let listed: Vec<_> = self.answer("the list of semaphores or one of them", listed)?;
        Ok(listed.into_iter().map(wit::SemaphoreStatus::into).collect())
    }

    pub(crate) async fn break_permit(
        &mut self,
        name: &str,
        permit: u32,
        if_token: Option<u64>,
    ) -> Result<Broken, StatusError> {
        let exports = self.exports.kvlock_lock_semaphore();
        let broken = call(&mut self.store, exports.func_break_permit(), (self.session, name, permit, if_token)).await;
        self.answer(name, broken)
    }
}
