//! The threads of a client that run what tasks ask for. Nothing of it runs on the tasks' own executor: a future that is
//! dropped there stops waiting, and what had begun comes to its end here.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use async_channel::{Receiver, Sender};
use async_executor::{Executor, Task};

use crate::fork::PerProcess;

/// What is to be done, in a box: whoever passes it on is the smaller for it.
pub(crate) type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How many threads there are at most: what they do between two calls of the store takes some microseconds.
const MOST_THREADS: usize = 4;

/// Threads that begin with the first work, and end when nobody has more. A fork has its own.
pub(crate) struct Runner(PerProcess<State>);

struct State {
    executor: Arc<Executor<'static>>,
    threads: AtomicUsize,
    /// Never used: the threads end when it is dropped.
    _goes_on: Sender<()>,
    ended: Receiver<()>,
}

impl State {
    fn new() -> Self {
        let (goes_on, ended) = async_channel::bounded(1);
        State { executor: Arc::default(), threads: AtomicUsize::new(0), _goes_on: goes_on, ended }
    }

    /// Begins the threads. Returns false if there is none.
    fn begin(&self) -> bool {
        if self.threads.load(Ordering::Relaxed) == 0 {
            let wanted = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS));
            if self.threads.compare_exchange(0, wanted, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                let begun = (0..wanted).filter(|_| self.begin_thread()).count();
                self.threads.fetch_sub(wanted - begun, Ordering::Relaxed);
            }
        }
        self.threads.load(Ordering::Relaxed) > 0
    }

    fn begin_thread(&self) -> bool {
        let (executor, ended) = (self.executor.clone(), self.ended.clone());
        let run = move || {
            // It is closed, and has nothing to tell.
            let _ = async_io::block_on(executor.run(ended.recv()));
        };
        std::thread::Builder::new().name("kvlock-tasks".into()).spawn(run).is_ok()
    }
}

/// Work that is run. Dropping it leaves the work running.
struct Running<T>(Option<Task<T>>);

impl<T> Future for Running<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match &mut self.0 {
            Some(task) => Pin::new(task).poll(context),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.detach();
        }
    }
}

/// Work that runs where it is awaited.
struct Here<T: Send + 'static> {
    /// None once it has ended.
    work: Option<Work<T>>,
    has_begun: bool,
    runner: Arc<Runner>,
}

impl<T: Send + 'static> Future for Here<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // If it panics, nobody polls it again.
        let Some(mut work) = self.work.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            (self.work, self.has_begun) = (Some(work), true);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Here<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take()
            && self.has_begun
        {
            self.runner.spawn(async move { drop(work.await) });
        }
    }
}

impl Default for Runner {
    fn default() -> Self {
        Runner(PerProcess::new(State::new()))
    }
}

impl Runner {
    /// Runs work to its end, whoever waits for it.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let state = self.state();
        state.begin();
        state.executor.spawn(work).detach();
    }

    /// Runs work, and returns its value. The work goes on to its end if that is not waited for any more.
    pub(crate) async fn run<T: Send + 'static>(&self, work: Work<T>) -> T {
        let state = self.state();
        let running = Running(Some(state.executor.spawn(work)));
        if state.begin() {
            return running.await;
        }
        // The system has no thread for it: that of the caller does the work.
        state.executor.run(running).await
    }

    /// Runs work where it is awaited, and returns its value. If that is not waited for any more, the work goes on to its
    /// end on the threads.
    pub(crate) async fn run_here<T: Send + 'static>(self: &Arc<Self>, work: Work<T>) -> T {
        Here { work: Some(work), has_begun: false, runner: self.clone() }.await
    }

    fn state(&self) -> &State {
        self.0.get_or_recreate(State::new)
    }
}
