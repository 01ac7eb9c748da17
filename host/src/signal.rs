//! What wakes a waiting task: to a task what being unparked is to a thread.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Wakes one task. A wake that comes before the task waits is kept for it.
#[derive(Debug, Default)]
pub(crate) struct Signal(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    woken: bool,
    /// Nobody wants to know any more what the task waits for.
    stopped: bool,
    waker: Option<Waker>,
}

impl Signal {
    /// Wakes the task.
    pub(crate) fn wake(&self) {
        self.change(|state| state.woken = true);
    }

    /// Wakes the task for good: it is to wait no more.
    pub(crate) fn stop(&self) {
        self.change(|state| state.stopped = true);
    }

    /// Tells if the task is to wait no more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Waits until the task is woken.
    pub(crate) async fn wait(&self) {
        std::future::poll_fn(|context| {
            let mut state = self.lock();
            if std::mem::take(&mut state.woken) || state.stopped {
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
