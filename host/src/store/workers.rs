//! Threads that call a store for tasks: how a store whose calls block is awaited.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_io::Timer;
use futures_lite::future;

use super::awaited::{Answer, Answers, AwaitedStore};
use super::{
    DeleteOutcome, Entry, EraInfo, Keys, KvStore, OnGone, StoreError, Ttl, Version, Watch, Write, WriteOutcome,
};

/// How many threads call one store at most. A store with an answer in a millisecond serves eight thousand calls a second
/// so; where it does not answer, more threads would only wait.
const MOST: usize = 8;

/// How long a call waits for a thread: about as long as a store takes to give up a call.
const PATIENCE: Duration = Duration::from_secs(2);

/// The threads of a store, which begin when they are needed and end with it.
pub(crate) struct Workers {
    store: Arc<dyn KvStore>,
    calls: Sender<Call>,
    shared: Arc<Shared>,
}

struct Shared {
    calls: Receiver<Call>,
    threads: AtomicUsize,
    idle: AtomicUsize,
}

type Call = Box<dyn FnOnce() + Send>;

/// How far a call is. One that no thread has begun can be taken back.
const WAITS: u8 = 0;
const BEGUN: u8 = 1;
const TAKEN_BACK: u8 = 2;

impl Workers {
    pub(crate) fn new(store: Arc<dyn KvStore>) -> Self {
        let (calls, received) = async_channel::unbounded();
        let shared = Shared { calls: received, threads: AtomicUsize::new(0), idle: AtomicUsize::new(0) };
        Workers { store, calls, shared: Arc::new(shared) }
    }

    /// Makes a call on one of the threads.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn KvStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move {
            let state = Arc::new(AtomicU8::new(WAITS));
            let (tell, told) = async_channel::bounded(1);
            let (store, of_call) = (self.store.clone(), state.clone());
            let call = move || {
                if of_call.swap(BEGUN, Ordering::AcqRel) == WAITS {
                    // Whoever asked may have gone.
                    let _ = tell.try_send(call(store.as_ref()));
                }
            };
            self.begin(Box::new(call))?;
            let patience = async {
                Timer::after(PATIENCE).await;
                match state.compare_exchange(WAITS, TAKEN_BACK, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => Err(unavailable("all threads that call it wait for its answers")),
                    Err(_) => future::pending().await,
                }
            };
            let told = async { told.recv().await.unwrap_or_else(|_| Err(StoreError::UnknownOutcome(PANICKED.into()))) };
            future::or(told, patience).await
        })
    }

    /// Gives a call to a thread that has nothing to do, or to a new one.
    fn begin(&self, call: Call) -> Result<(), StoreError> {
        // INVARIANT: the channel is open for as long as there is its receiver, which is beside it.
        let _ = self.calls.try_send(call);
        let Shared { threads, idle, .. } = &*self.shared;
        if idle.load(Ordering::Acquire) >= self.shared.calls.len().max(1) || threads.load(Ordering::Relaxed) >= MOST {
            return Ok(());
        }
        let shared = self.shared.clone();
        threads.fetch_add(1, Ordering::Relaxed);
        let begun = std::thread::Builder::new().name("kvlock-store".into()).spawn(move || shared.work());
        match begun {
            Ok(_) => Ok(()),
            // The others get to it.
            Err(_) if threads.fetch_sub(1, Ordering::Relaxed) > 1 => Ok(()),
            Err(error) => Err(unavailable(&format!("no thread to call it: {error}"))),
        }
    }
}

const PANICKED: &str = "the thread that called the store panicked";

fn unavailable(reason: &str) -> StoreError {
    StoreError::Unavailable(reason.to_string())
}

impl Shared {
    /// Makes calls until the store is dropped.
    fn work(&self) {
        /// Counts a thread that panics in a store no more.
        struct Thread<'a>(&'a Shared);
        impl Drop for Thread<'_> {
            fn drop(&mut self) {
                self.0.threads.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let _counted = Thread(self);
        loop {
            self.idle.fetch_add(1, Ordering::Release);
            let call = self.calls.recv_blocking();
            self.idle.fetch_sub(1, Ordering::Release);
            let Ok(call) = call else { return };
            call();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.calls.close();
    }
}

impl AwaitedStore for Workers {
    fn get_many(&self, keys: Vec<String>) -> Answer<'_, Vec<Option<Entry>>> {
        self.call(move |store| match keys.as_slice() {
            [key] => Ok(vec![store.get(key)?]),
            keys => store.get_many(keys),
        })
    }

    fn add(&self, key: String, value: Vec<u8>, ttl: Ttl) -> Answer<'_, WriteOutcome> {
        self.call(move |store| store.add(&key, &value, ttl))
    }

    fn replace(&self, key: String, value: Vec<u8>, ttl: Ttl, if_version: Version) -> Answer<'_, WriteOutcome> {
        self.call(move |store| store.replace(&key, &value, ttl, if_version))
    }

    fn delete(&self, key: String, if_version: Version) -> Answer<'_, DeleteOutcome> {
        self.call(move |store| store.delete(&key, if_version))
    }

    fn write_many(&self, writes: Vec<Write>) -> Answers<'_> {
        Box::pin(async move {
            let count = writes.len();
            let answers = self.call(move |store| Ok(store.write_many(&writes))).await;
            answers.unwrap_or_else(|error| vec![Err(error); count])
        })
    }

    fn era(&self, key: String) -> Answer<'_, EraInfo> {
        self.call(move |store| store.era(&key))
    }

    fn keys(&self, prefix: String) -> Answer<'_, Keys> {
        self.call(move |store| store.keys(&prefix))
    }

    fn watch(&self, key: String, on_gone: OnGone) -> Answer<'_, Option<Watch>> {
        self.call(move |store| Ok(store.watch(&key, on_gone)))
    }
}
