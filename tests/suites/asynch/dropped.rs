//! Futures that are dropped.

use std::sync::Arc;
use std::time::Duration;

use kvlock::asynch::Client;
use kvlock::status::KeyState;
use kvlock_testkit::{Hook, Hooked, Memory, Op};

use crate::Inside;

/// Numbers that are the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// A store whose every call takes a moment, so that futures are dropped in the middle of some.
#[derive(Clone)]
struct Slow;

impl Hook for Slow {
    fn around<T>(
        &self,
        _: Op,
        _: &str,
        call: impl FnOnce() -> Result<T, kvlock::store::StoreError>,
    ) -> Result<T, kvlock::store::StoreError> {
        std::thread::sleep(Duration::from_micros(200));
        let done = call();
        std::thread::sleep(Duration::from_micros(200));
        done
    }
}

async fn acquire_and_drop_at_random(client: Client, key: &'static str, inside: Arc<Inside>, seed: u64) {
    let mut dice = Dice(seed);
    for _ in 0..12 {
        let patience = Duration::from_micros(dice.roll(300_000));
        let lock = client.lock(key).interval(Duration::from_millis(5));
        let Ok(grant) = tokio::time::timeout(patience, lock.acquire()).await else { continue };
        let grant = grant.unwrap();
        inside.enter();
        tokio::task::yield_now().await;
        inside.leave();
        match dice.roll(3) {
            0 => _ = grant.release().await.unwrap(),
            // Polled once or not at all: it is given back all the same.
            1 => _ = tokio::time::timeout(Duration::ZERO, grant.release()).await,
            _ => drop(grant),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn futures_dropped_at_random_never_make_two_holders_and_leave_nothing_taken() {
    let threads = kvlock::Client::with_store(Hooked::new(Memory::default(), Slow));
    let client = Client::from(threads.clone());
    const KEYS: [&str; 3] = ["a", "b", "c"];
    let insides = KEYS.map(|_| Arc::new(Inside::default()));
    let tasks = (0..24).map(|number: usize| {
        let (key, inside) = (KEYS[number % KEYS.len()], insides[number % KEYS.len()].clone());
        tokio::spawn(acquire_and_drop_at_random(client.clone(), key, inside, 77 + number as u64))
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    for (key, inside) in KEYS.into_iter().zip(insides) {
        assert_eq!(inside.most(), 1, "{inside:?}");
        // The leases are of 30 s: whoever waits for one of them is not back in time.
        let grant = client.lock(key).wait(Duration::from_secs(20)).acquire().await.unwrap();
        grant.release().await.unwrap();
        let status = client.session().open().await.unwrap().status(key).await.unwrap();
        assert_eq!(status.state, KeyState::Free);
    }
}

#[tokio::test]
async fn a_wait_that_is_dropped_leaves_the_queue() {
    let client = Client::with_store(Memory::default());
    let held = client.lock("k").acquire().await.unwrap();
    let first = tokio::spawn({
        let lock = client.lock("k");
        async move { lock.acquire().await }
    });
    let lock = client.lock("k");
    for _ in 0..100 {
        assert!(tokio::time::timeout(Duration::from_micros(100), lock.acquire()).await.is_err());
    }
    first.abort();
    held.release().await.unwrap();
    lock.acquire().await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_grant_that_is_dropped_is_released_in_the_background() {
    let client = Client::with_store(Memory::default());
    drop(client.lock("k").acquire().await.unwrap());
    let next = client.lock("k").wait(Duration::from_secs(20)).acquire().await.unwrap();
    let (k, guard) = (client.lock("k").wait(Duration::from_secs(20)), next.auto_renew(Default::default()).await);
    drop(guard);
    k.acquire().await.unwrap().release().await.unwrap();
}
