//! Several keys at once, for tasks.

use std::time::Duration;

use kvlock::asynch::Client;
use kvlock::error::GrantError;
use kvlock_testkit::{MemcachedServer, Memory};

use crate::Inside;

#[tokio::test]
async fn tasks_that_want_overlapping_keys_have_their_turns_and_exclude_each_other() {
    let server = MemcachedServer::start();
    for client in [Client::connect("memory:").unwrap(), Client::connect(&server.url()).unwrap()] {
        let client = client.session().quarantine(Duration::ZERO).for_each_acquire();
        let inside: std::sync::Arc<[Inside; 3]> = Default::default();
        let tasks: Vec<_> = (0..12)
            .map(|number| {
                let (client, inside) = (client.clone(), inside.clone());
                tokio::spawn(async move {
                    for turn in 0..5 {
                        let (one, other) = ((number + turn) % 3, (number + turn + 1 + number % 2) % 3);
                        let held = client.lock_all([format!("k{one}"), format!("k{other}")]).acquire().await.unwrap();
                        for key in [one, other] {
                            inside[key].enter();
                        }
                        tokio::task::yield_now().await;
                        for key in [one, other] {
                            inside[key].leave();
                        }
                        held.release().await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert!(inside.iter().all(|inside| inside.most() == 1));
        assert_eq!(inside.iter().map(Inside::ever).sum::<u32>(), 12 * 5 * 2);
    }
}

#[tokio::test]
async fn a_future_that_is_dropped_gives_back_what_it_had() {
    let client = Client::with_store(Memory::default());
    let busy = client.lock("b").acquire().await.unwrap();
    let waiting = client.lock_all(["a", "b"]);
    assert!(tokio::time::timeout(Duration::from_millis(300), waiting.acquire()).await.is_err());
    let freed = async {
        while client.lock("a").try_acquire().await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), freed).await.expect("the key comes back before its lease ends");
    busy.release().await.unwrap();
}

#[tokio::test]
async fn a_guard_of_several_keys_is_lost_as_one() {
    let client = Client::with_store(Memory::default());
    let lock = client.lock_all(["a", "b"]).lease(Duration::from_millis(300));
    let session = client.session().open().await.unwrap();
    let guard = lock.acquire().await.unwrap().auto_renew(kvlock::renewal::AutoRenew::default()).await;
    assert_eq!(guard.tokens().count(), 2);
    assert!(guard.token_of("b").is_some());
    session.break_lock("b").await.unwrap();
    guard.lost().await;
    assert!(matches!(guard.release().await, Err(GrantError::Lost { .. })));
    assert!(session.status("a").await.unwrap().state.holder().is_none());
}
