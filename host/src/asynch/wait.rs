//! A wait of a task: it runs on the client's threads, and ends when its future is dropped.

use std::sync::Arc;

use crate::acquire::Acquiring;
use crate::error::AcquireError;
use crate::owner::Tasks;
use crate::runner::Work;
use crate::signal::Signal;

/// Tells what waits to stop when it is dropped.
pub(super) struct StopOnDrop(pub(super) Arc<Signal>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Waits for a grant. If this future is dropped, the wait ends, and gives back what it may still get.
pub(super) fn wait(
    tasks: &Tasks,
    mut waiting: Acquiring,
) -> impl Future<Output = Result<crate::Grant, AcquireError>> + Send {
    let signal = Arc::<Signal>::default();
    let stop = StopOnDrop(signal.clone());
    let owner = waiting.owner().clone();
    waiting.wake_by(signal);
    // A task that waits is no larger than what it waits by.
    let work: Work<_> = Box::pin(async move { waiting.wait().await });
    async move {
        let _stop = stop;
        owner.run(tasks, work).await
    }
}
