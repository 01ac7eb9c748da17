//! A memcached that is frozen, cut off and started again under many tasks that share a connection to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvlock::asynch::Client;
use kvlock::error::{AcquireError, GrantError};
use kvlock_testkit::MemcachedServer;
use kvlock_tests::{Mode, Proxy};

use crate::Inside;

const KEYS: usize = 20;

fn client(url: &str) -> Client {
    Client::connect(url).unwrap().session().quarantine(Duration::ZERO).for_each_acquire()
}

/// Tasks that work on their keys until they are told to stop. The leases are longer than the test, so that two are inside
/// together only if the lock let them.
struct Crowd {
    insides: Vec<Arc<Inside>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Crowd {
    fn begin(client: &Client, tasks: usize) -> Crowd {
        let insides: Vec<_> = (0..KEYS).map(|_| Arc::new(Inside::default())).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let task = |number: usize| {
            let (lock, inside) = (client.lock(format!("k{}", number % KEYS)), insides[number % KEYS].clone());
            let stop = stop.clone();
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match lock.clone().lease(Duration::from_secs(60)).wait(Duration::from_secs(30)).acquire().await {
                        Ok(grant) => {
                            inside.enter();
                            tokio::task::yield_now().await;
                            inside.leave();
                            match grant.release().await {
                                // A restart loses all.
                                Ok(_) | Err(GrantError::Store { .. } | GrantError::Lost { .. }) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                        Err(AcquireError::Busy { .. } | AcquireError::Store { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        };
        let tasks = (0..tasks).map(task).collect();
        Crowd { insides, stop, tasks }
    }

    /// Waits until each key was held some times more.
    async fn goes_on(&self) {
        let before: Vec<_> = self.insides.iter().map(|inside| inside.ever()).collect();
        let began = std::time::Instant::now();
        while self.insides.iter().zip(&before).any(|(inside, before)| inside.ever() < before + 3) {
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", self.insides);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        assert!(self.insides.iter().all(|inside| inside.most() == 1), "{:?}", self.insides);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_go_on_after_a_memcached_was_frozen_and_never_two_hold_a_key() {
    let server = MemcachedServer::start();
    let crowd = Crowd::begin(&client(&server.url()), 100);
    crowd.goes_on().await;
    for _ in 0..2 {
        server.stop();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        server.cont();
        crowd.goes_on().await;
    }
    crowd.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_go_on_after_the_way_to_a_memcached_was_cut() {
    let server = MemcachedServer::start();
    let proxy = Proxy::start(&server.addr());
    let crowd = Crowd::begin(&client(&format!("memcached://{}", proxy.addr())), 100);
    crowd.goes_on().await;
    for mode in [Mode::CutBeforeRequest, Mode::DropReply] {
        proxy.set(mode);
        tokio::time::sleep(Duration::from_millis(200)).await;
        proxy.set(Mode::Pass);
        crowd.goes_on().await;
    }
    crowd.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_go_on_after_a_memcached_was_started_again() {
    let mut server = MemcachedServer::start();
    let crowd = Crowd::begin(&client(&server.url()), 100);
    crowd.goes_on().await;
    server.restart();
    crowd.goes_on().await;
    // Without a quarantine a restart may make a second holder, and each of them is told that it lost the lock.
    crowd.stop.store(true, Ordering::Relaxed);
    for task in crowd.tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn tasks_share_a_connection_and_each_gets_its_own_answer() {
    let server = MemcachedServer::start();
    let client = client(&server.url());
    client.lock("first").acquire().await.unwrap().release().await.unwrap();
    let before = server.stat("total_connections");
    let tasks = tokio::task::JoinSet::from_iter((0..300).map(|number| {
        let client = client.clone();
        async move {
            let key = format!("own-{number}");
            let grant = client.lock(&key).acquire().await.unwrap();
            let token = grant.token();
            let status = client.session().open().await.unwrap().status(&key).await.unwrap();
            assert_eq!(status.state.holder().map(|holder| (holder.key.clone(), holder.token)), Some((key, token)));
            grant.release().await.unwrap();
            (number, token)
        }
    }));
    let tokens: BTreeMap<_, _> = tasks.join_all().await.into_iter().collect();
    assert_eq!(tokens.len(), 300);
    // Those that the test itself makes to ask for the number are few.
    assert!(server.stat("total_connections") - before < 5, "{before}");
}
