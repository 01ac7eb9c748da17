//! The thread on which the connections of a store live: callers block, and the driver of PostgreSQL's protocol does not.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::super::StoreError;
use super::conninfo::Conninfo;
use super::pool::Pool;
use super::watcher::Watcher;

/// A thread with a runtime of its own. It ends with this value.
pub(super) struct Engine {
    pub(super) pool: Arc<Pool>,
    pub(super) watcher: Arc<Watcher>,
    handle: Handle,
    /// Dropped, it lets the thread end.
    _stop: oneshot::Sender<()>,
}

impl Engine {
    /// Starts the thread. Nothing is sent yet.
    pub(super) fn start(info: Conninfo) -> io::Result<Engine> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let (handle, (stop, stopped)) = (runtime.handle().clone(), oneshot::channel::<()>());
        std::thread::Builder::new().name("kvlock-postgres".to_string()).spawn(move || {
            // Ends in an error once the sender is dropped, which is what it waits for.
            let _ = runtime.block_on(stopped);
            // A look-up of a name may take longer than anybody waits.
            runtime.shutdown_background();
        })?;
        Ok(Engine { pool: Arc::new(Pool::new(info)), watcher: Arc::default(), handle, _stop: stop })
    }

    /// Runs a call on the thread, and waits for its end. Every call bounds its own time.
    pub(super) fn call<T, F>(&self, call: impl FnOnce(Arc<Pool>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (answer, answered) = sync_channel(1);
        let call = call(Arc::clone(&self.pool));
        self.handle.spawn(async move {
            // Whoever called waits below.
            let _ = answer.send(call.await);
        });
        answered.recv().unwrap_or_else(|_| {
            let why = "the thread of its connections failed, which is a bug";
            Err(StoreError::UnknownOutcome(format!("PostgreSQL {}: {why}", self.pool.name())))
        })
    }

    /// Starts something that nobody waits for.
    pub(super) fn start_call<F>(&self, call: impl FnOnce(Arc<Pool>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.handle.spawn(call(Arc::clone(&self.pool))));
    }
}
