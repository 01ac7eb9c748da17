//! Calls of threads: written as the calls of tasks are, and never suspended.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Returns what a call of a thread returns. All that it waits for blocks the thread, so that it is ready at once.
pub(crate) fn now<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        // INVARIANT: a call is suspended in a lock, a pause or a call of the store that is awaited, and threads have
        // none of them: see `Callers`.
        Poll::Pending => unreachable!("a call of a thread was suspended"),
    }
}
