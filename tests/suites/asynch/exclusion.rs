//! Tasks exclude each other, and threads of the same client.

use std::sync::Arc;

use kvlock::asynch::Client;
use kvlock::error::AcquireError;
use kvlock_testkit::{MemcachedServer, Memory};

use crate::Inside;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_exclude_each_other() {
    let client = Client::with_store(Memory::default());
    let inside = Arc::new(Inside::default());
    let task = |_| {
        let (client, inside) = (client.clone(), inside.clone());
        tokio::spawn(async move {
            for _ in 0..5 {
                let grant = client.lock("k").acquire().await.unwrap();
                inside.enter();
                tokio::task::yield_now().await;
                inside.leave();
                grant.release().await.unwrap();
            }
        })
    };
    for task in (0..32).map(task).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!((inside.most(), inside.ever()), (1, 160));
}

#[tokio::test]
async fn tasks_of_several_clients_exclude_each_other_over_memcached() {
    let server = MemcachedServer::start();
    let inside = Arc::new(Inside::default());
    let tasks = tokio::task::JoinSet::from_iter((0..8).map(|_| {
        let client = Client::connect(&server.url()).unwrap();
        let inside = inside.clone();
        async move {
            let session = client.session().quarantine(std::time::Duration::ZERO).open().await.unwrap();
            for _ in 0..5 {
                let lock = session.lock("k");
                lock.with_lock(async |_| {
                    inside.enter();
                    tokio::task::yield_now().await;
                    inside.leave();
                })
                .await
                .unwrap();
            }
        }
    }));
    tasks.join_all().await;
    assert_eq!((inside.most(), inside.ever()), (1, 40));
}

#[test]
fn tasks_of_another_executor_exclude_each_other() {
    let client = Client::with_store(Memory::default());
    let mut pool = futures_executor::LocalPool::new();
    let inside = Arc::new(Inside::default());
    for _ in 0..16 {
        let (client, inside) = (client.clone(), inside.clone());
        let task = async move {
            let grant = client.lock("k").acquire().await.unwrap();
            inside.enter();
            assert!(client.lock("k").try_acquire().await.unwrap().is_none());
            inside.leave();
            grant.release().await.unwrap();
        };
        futures_util::task::LocalSpawnExt::spawn_local(&pool.spawner(), task).unwrap();
    }
    pool.run();
    assert_eq!((inside.most(), inside.ever()), (1, 16));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_and_threads_of_a_client_exclude_each_other_and_hand_over() {
    let threads = kvlock::Client::with_store(Memory::default());
    let tasks = Client::from(threads.clone());
    let inside = Arc::new(Inside::default());
    let of_threads = (0..4).map(|_| {
        let (client, inside) = (threads.clone(), inside.clone());
        std::thread::spawn(move || {
            for _ in 0..20 {
                let grant = client.lock("k").acquire().unwrap();
                inside.enter();
                std::thread::yield_now();
                inside.leave();
                grant.release().unwrap();
            }
        })
    });
    let of_threads: Vec<_> = of_threads.collect();
    let of_tasks = (0..4).map(|_| {
        let (client, inside) = (tasks.clone(), inside.clone());
        tokio::spawn(async move {
            for _ in 0..20 {
                let grant = client.lock("k").acquire().await.unwrap();
                inside.enter();
                tokio::task::yield_now().await;
                inside.leave();
                grant.release().await.unwrap();
            }
        })
    });
    for task in of_tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    tokio::task::spawn_blocking(|| of_threads.into_iter().for_each(|thread| thread.join().unwrap())).await.unwrap();
    assert_eq!((inside.most(), inside.ever()), (1, 160));
}

#[tokio::test]
async fn a_session_is_one_owner_whatever_task_uses_it() {
    let session = Client::with_store(Memory::default()).session().owner("worker").open().await.unwrap();
    let held = session.lock("k").acquire().await.unwrap();
    assert_eq!(held.owner(), "worker");
    let again = session.lock("k").acquire().await;
    assert!(matches!(again, Err(AcquireError::AlreadyHeld { .. })), "{again:?}");
    let nested = session.lock("r").reentrant();
    let (outer, inner) = (nested.acquire().await.unwrap(), nested.acquire().await.unwrap());
    assert_eq!(inner.depth().await.unwrap(), 2);
    inner.release().await.unwrap();
    outer.release().await.unwrap();
    held.release().await.unwrap();
}

#[tokio::test]
async fn permits_are_no_more_than_the_semaphore_has() {
    let client = Client::with_store(Memory::default());
    let semaphore = client.semaphore("s");
    assert_eq!(semaphore.make(3).run().await.unwrap(), None);
    let inside = Arc::new(Inside::default());
    let tasks = tokio::task::JoinSet::from_iter((0..12).map(|_| {
        let (permit, inside) = (semaphore.permit(), inside.clone());
        async move {
            permit
                .with_permit(async |permit| {
                    assert!(permit.permit().is_some_and(|number| number < 3));
                    inside.enter();
                    tokio::task::yield_now().await;
                    inside.leave();
                })
                .await
                .unwrap();
        }
    }));
    tasks.join_all().await;
    assert!(inside.most() <= 3 && inside.ever() == 12, "{inside:?}");
    assert_eq!(semaphore.status().await.unwrap().unwrap().holders.len(), 0);
}
