//! The store for tasks: a connection to each server that they share.
//!
//! Connections are opened, and servers compared, as threads do it and by a thread. TLS stays with those threads.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures_lite::future;
use kvlock_protocol::{Failure, Talk, choose, requests};

use super::line::{Line, Share};
use super::server::Server;
use super::{Memcached, check_key};
use crate::runner::Runner;
use crate::store::awaited::{Answer, Answers, AwaitedStore};
use crate::store::{
    DeleteOutcome, Entry, EraInfo, Keys, KvStore, OnGone, StoreError, Ttl, Version, Watch, Workers, Write, WriteAnswer,
    WriteOutcome, check_value,
};

/// Calls of tasks on memcached.
pub(crate) struct AwaitedMemcached {
    store: Arc<Memcached>,
    /// They open connections, and serve what goes by TLS.
    workers: Workers,
    runner: Arc<Runner>,
    /// For each server.
    lines: Vec<Opened>,
}

/// The connection to one server.
#[derive(Default)]
struct Opened {
    line: Mutex<Option<Arc<Line>>>,
    /// How many attempts to open one have ended, and how the last of them failed. One task opens it for all that wait.
    attempts: async_lock::Mutex<(u64, Option<StoreError>)>,
    ended: std::sync::atomic::AtomicU64,
}

/// An operation, to be done once more if it was not done.
trait Operation: Send + Sync {
    type Outcome: Send;

    fn perform(
        &self,
        talk: &mut Talk,
        share: &mut Share,
    ) -> impl Future<Output = Result<Self::Outcome, Failure>> + Send;
}

/// What a failure of an operation means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Read,
    Write,
}

impl AwaitedMemcached {
    pub(crate) fn new(store: Arc<Memcached>, runner: Arc<Runner>) -> Self {
        let lines = store.servers.iter().map(|_| Opened::default()).collect();
        AwaitedMemcached { workers: Workers::new(store.clone()), store, runner, lines }
    }

    /// Does an operation on the server that keeps a key.
    async fn call<O: Operation>(&self, server: usize, effect: Effect, operation: &O) -> Result<O::Outcome, StoreError> {
        let mut again = true;
        loop {
            let (line, is_new) = self.line(server).await?;
            let before = line.epoch();
            let (mut talk, mut share) = (Talk::at(before), line.share());
            let failure = match operation.perform(&mut talk, &mut share).await {
                Ok(outcome) => {
                    self.store.servers[server].note_use(&line, &before, talk.epoch());
                    return Ok(outcome);
                }
                Err(failure) => failure,
            };
            line.end("an exchange on it failed");
            let not_done = match &failure {
                Failure::NotSent(_) => true,
                Failure::NoAnswer(_) => effect == Effect::Read,
                Failure::Refused(_) | Failure::Foreign(_) => false,
            };
            // The server may have closed it since it was used.
            if not_done && !is_new && std::mem::take(&mut again) {
                continue;
            }
            let server = &self.store.servers[server];
            return Err(match effect {
                Effect::Read => server.on_read(failure),
                Effect::Write => server.on_write(failure),
            });
        }
    }

    /// Returns the connection to a server, and whether it was opened for this call.
    async fn line(&self, number: usize) -> Result<(Arc<Line>, bool), StoreError> {
        let opened = &self.lines[number];
        if let Some(line) = opened.in_use(&self.store.servers[number]) {
            return Ok((line, false));
        }
        let seen = opened.ended.load(std::sync::atomic::Ordering::Acquire);
        let mut attempts = opened.attempts.lock().await;
        if let Some(line) = opened.in_use(&self.store.servers[number]) {
            return Ok((line, true));
        }
        if let (true, Some(error)) = (attempts.0 > seen, &attempts.1) {
            // It failed while this call waited for it.
            return Err(error.clone());
        }
        let store = self.store.clone();
        let line = self.workers.call(move |_| store.servers[number].open_line()).await;
        attempts.0 += 1;
        attempts.1 = line.as_ref().err().cloned();
        opened.ended.store(attempts.0, std::sync::atomic::Ordering::Release);
        let line = line?;
        self.runner.spawn(line.clone().run());
        *opened.line.lock().unwrap_or_else(PoisonError::into_inner) = Some(line.clone());
        Ok((line, true))
    }

    /// Returns the number of the server that keeps a key; none if it speaks TLS.
    fn server(&self, key: &str) -> Result<Option<usize>, StoreError> {
        check_key(key)?;
        let number = choose(&self.store.servers, key);
        Ok(Some(number).filter(|number| self.store.servers[*number].place.tls().is_none()))
    }
}

impl Opened {
    /// Returns the connection, if it is of use.
    fn in_use(&self, server: &Server) -> Option<Arc<Line>> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let of_use = line.as_ref().is_some_and(|line| !line.is_broken()) && server.is_settled();
        if !of_use && let Some(line) = line.take() {
            line.end("the server is looked at again");
        }
        line.clone()
    }
}

impl Drop for AwaitedMemcached {
    fn drop(&mut self) {
        for opened in &self.lines {
            if let Some(line) = opened.line.lock().unwrap_or_else(PoisonError::into_inner).take() {
                line.end("the client is gone");
            }
        }
    }
}

struct Get<'a>(Vec<&'a str>);
struct Add<'a>(&'a str, &'a [u8], Ttl, u32);
struct Replace<'a>(&'a str, &'a [u8], Ttl, Version, u32);
struct Delete<'a>(&'a str, Version);
struct Era;

impl Operation for Get<'_> {
    type Outcome = Vec<Option<Entry>>;

    async fn perform(&self, talk: &mut Talk, share: &mut Share) -> Result<Self::Outcome, Failure> {
        talk.get(share, &self.0).await
    }
}

impl Operation for Add<'_> {
    type Outcome = WriteOutcome;

    async fn perform(&self, talk: &mut Talk, share: &mut Share) -> Result<WriteOutcome, Failure> {
        talk.add(share, self.0, self.1, self.2, self.3).await
    }
}

impl Operation for Replace<'_> {
    type Outcome = WriteOutcome;

    async fn perform(&self, talk: &mut Talk, share: &mut Share) -> Result<WriteOutcome, Failure> {
        talk.replace(share, self.0, self.1, self.2, self.3, self.4).await
    }
}

impl Operation for Delete<'_> {
    type Outcome = DeleteOutcome;

    async fn perform(&self, talk: &mut Talk, share: &mut Share) -> Result<DeleteOutcome, Failure> {
        talk.delete(share, self.0, self.1).await
    }
}

impl Operation for Era {
    type Outcome = EraInfo;

    async fn perform(&self, talk: &mut Talk, share: &mut Share) -> Result<EraInfo, Failure> {
        talk.era(share).await
    }
}

impl AwaitedStore for AwaitedMemcached {
    fn get_many(&self, keys: Vec<String>) -> Answer<'_, Vec<Option<Entry>>> {
        Box::pin(async move {
            for key in &keys {
                if self.server(key)?.is_none() {
                    return self.workers.get_many(keys).await;
                }
            }
            let mut entries = vec![None; keys.len()];
            for (server, places) in requests(&self.store.servers, &keys) {
                let get = Get(places.iter().map(|place| keys[*place].as_str()).collect());
                for (place, entry) in places.iter().zip(self.call(server, Effect::Read, &get).await?) {
                    entries[*place] = entry;
                }
            }
            Ok(entries)
        })
    }

    fn add(&self, key: String, value: Vec<u8>, ttl: Ttl) -> Answer<'_, WriteOutcome> {
        Box::pin(async move {
            check_value(&value)?;
            let Some(server) = self.server(&key)? else { return self.workers.add(key, value, ttl).await };
            self.call(server, Effect::Write, &Add(&key, &value, ttl, self.store.next_mark())).await
        })
    }

    fn replace(&self, key: String, value: Vec<u8>, ttl: Ttl, if_version: Version) -> Answer<'_, WriteOutcome> {
        Box::pin(async move {
            check_value(&value)?;
            let Some(server) = self.server(&key)? else {
                return self.workers.replace(key, value, ttl, if_version).await;
            };
            let replace = Replace(&key, &value, ttl, if_version, self.store.next_mark());
            self.call(server, Effect::Write, &replace).await
        })
    }

    fn delete(&self, key: String, if_version: Version) -> Answer<'_, DeleteOutcome> {
        Box::pin(async move {
            let Some(server) = self.server(&key)? else { return self.workers.delete(key, if_version).await };
            self.call(server, Effect::Write, &Delete(&key, if_version)).await
        })
    }

    fn write_many(&self, writes: Vec<Write>) -> Answers<'_> {
        let write = |write| -> Answer<'_, WriteAnswer> {
            match write {
                Write::Add { key, value, ttl } => {
                    Box::pin(async move { self.add(key, value, ttl).await.map(WriteAnswer::Written) })
                }
                Write::Replace { key, value, ttl, if_version } => {
                    Box::pin(async move { self.replace(key, value, ttl, if_version).await.map(WriteAnswer::Written) })
                }
                Write::Delete { key, if_version } => {
                    Box::pin(async move { self.delete(key, if_version).await.map(WriteAnswer::Deleted) })
                }
            }
        };
        // Their exchanges go over one connection to each server, side by side.
        Box::pin(side_by_side(writes.into_iter().map(write).collect()))
    }

    fn era(&self, key: String) -> Answer<'_, EraInfo> {
        Box::pin(async move {
            let Some(number) = self.server(&key)? else { return self.workers.era(key).await };
            let info = self.call(number, Effect::Read, &Era).await?;
            Ok(self.store.servers[number].lossless(info))
        })
    }

    fn keys(&self, prefix: String) -> Answer<'_, Keys> {
        // It takes a connection of its own.
        self.workers.keys(prefix)
    }

    fn watch(&self, key: String, on_gone: OnGone) -> Answer<'_, Option<Watch>> {
        // memcached tells of nothing.
        Box::pin(async move { Ok(self.store.watch(&key, on_gone)) })
    }
}

/// Awaits all, and keeps their order.
async fn side_by_side<T>(mut calls: Vec<Answer<'_, T>>) -> Vec<Result<T, StoreError>> {
    let mut answers: Vec<_> = calls.iter().map(|_| None).collect();
    future::poll_fn(|context| {
        for (call, answer) in calls.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let Poll::Ready(done) = call.as_mut().poll(context)
            {
                *answer = Some(done);
            }
        }
        if answers.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_lite::future::block_on;
    use kvlock_testkit::MemcachedServer;

    use super::*;
    use crate::store::conformance::{Subject, run};
    use crate::store::{Finding, KvStore};

    /// Awaits each call.
    struct Awaited(AwaitedMemcached);

    impl KvStore for Awaited {
        fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
            block_on(self.0.get_many(vec![key.to_string()])).map(|entries| entries.into_iter().next().flatten())
        }

        fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
            block_on(self.0.get_many(keys.to_vec()))
        }

        fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
            block_on(self.0.add(key.to_string(), value.to_vec(), ttl))
        }

        fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
            block_on(self.0.replace(key.to_string(), value.to_vec(), ttl, if_version))
        }

        fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
            block_on(self.0.delete(key.to_string(), if_version))
        }

        fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
            block_on(self.0.era(key.to_string()))
        }

        fn diagnose(&self) -> Vec<Finding> {
            self.0.store.diagnose()
        }
    }

    struct OnServer<'a> {
        server: &'a MemcachedServer,
        store: Awaited,
    }

    fn awaited(url: &str) -> Awaited {
        let store = Arc::new(Memcached::connect(url).unwrap());
        Awaited(AwaitedMemcached::new(store, Arc::default()))
    }

    impl Subject for OnServer<'_> {
        fn store(&self) -> &dyn KvStore {
            &self.store
        }

        fn second(&self) -> Box<dyn KvStore> {
            Box::new(awaited(&self.server.url()))
        }

        fn pass(&self, time: Duration) {
            std::thread::sleep(time);
        }

        fn lose_everything(&self) -> bool {
            self.server.flush();
            true
        }
    }

    #[test]
    fn the_store_for_tasks_conforms() {
        let server = MemcachedServer::start();
        run(|| OnServer { server: &server, store: awaited(&server.url()) });
    }

    #[test]
    fn a_request_without_an_answer_ends_its_connection_and_a_late_reply_is_nobodys() {
        let server = MemcachedServer::start();
        let store = awaited(&server.url());
        let key = |number: usize| format!("k{number}");
        assert!(matches!(store.add(&key(0), b"v", Ttl::Forever), Ok(WriteOutcome::Written(_))));
        server.stop();
        let calls = (0..10).map(|number| store.0.add(key(number), b"w".to_vec(), Ttl::Forever));
        let mut calls: Vec<_> = calls.collect();
        // The first has left; the others wait for its replies, and were never sent.
        let outcomes = block_on(async {
            let mut outcomes: Vec<Option<Result<_, _>>> = calls.iter().map(|_| None).collect();
            std::future::poll_fn(|context| {
                for (call, outcome) in calls.iter_mut().zip(&mut outcomes) {
                    if outcome.is_none()
                        && let std::task::Poll::Ready(done) = call.as_mut().poll(context)
                    {
                        *outcome = Some(done);
                    }
                }
                if outcomes.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
            outcomes
        });
        let unknown = outcomes.iter().filter(|outcome| matches!(outcome, Some(Err(StoreError::UnknownOutcome(_)))));
        let unsent = outcomes.iter().filter(|outcome| matches!(outcome, Some(Err(StoreError::Unavailable(_)))));
        assert_eq!((unknown.count(), unsent.count()), (1, 9), "{outcomes:?}");
        server.cont();
        // What the server says to them now is on the connection that has ended.
        for number in 1..10 {
            let fresh = store.add(&key(number), b"x", Ttl::Forever).unwrap();
            let WriteOutcome::Written(version) = fresh else { panic!("{fresh:?}") };
            let entry = store.get(&key(number)).unwrap().unwrap();
            assert_eq!((entry.value.as_slice(), entry.version), (b"x".as_slice(), version));
        }
    }
}
