//! Guards: renewal, loss, and what is told of both.

use std::sync::Arc;
use std::time::Duration;

use kvlock::asynch::Client;
use kvlock::error::{GrantError, WithLockError};
use kvlock::renewal::{AutoRenew, LostReason};
use kvlock_testkit::Memory;

#[tokio::test]
async fn a_loss_is_awaited_beside_the_work() {
    let client = Client::with_store(Memory::default());
    let lock = client.lock("k").lease(Duration::from_millis(300));
    let guard = lock.acquire().await.unwrap().auto_renew(AutoRenew::default()).await;
    assert_eq!(guard.loss(), None);
    let session = client.session().open().await.unwrap();
    session.break_lock("k").await.unwrap().ended().expect("it was held");
    let lost = tokio::select! {
        lost = guard.lost() => lost,
        () = std::future::pending() => unreachable!(),
    };
    assert_eq!(lost, LostReason::Gone(None));
    assert_eq!(guard.loss(), Some(LostReason::Gone(None)));
    assert!(matches!(guard.release().await, Err(GrantError::Lost { .. })));
}

#[tokio::test]
async fn a_store_that_goes_away_is_a_loss_when_the_lease_is_over() {
    let store = Memory::default();
    let client = Client::with_store(store.clone());
    let lock = client.lock("k").lease(Duration::from_millis(200));
    let guard = lock.acquire().await.unwrap().auto_renew(AutoRenew::default()).await;
    store.down();
    assert!(matches!(guard.lost().await, LostReason::Expired(_)));
    assert_eq!(guard.valid_for(), Some(Duration::ZERO));
}

#[tokio::test]
async fn a_lease_is_renewed_while_the_work_runs() {
    let client = Client::with_store(Memory::default());
    let lock = client.lock("k").lease(Duration::from_millis(150));
    let token = lock
        .with_lock(async |guard| {
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(guard.loss(), None);
            guard.token()
        })
        .await
        .unwrap();
    assert!(lock.acquire().await.unwrap().token() > token);
}

#[tokio::test]
async fn work_under_a_lock_can_be_spawned_and_its_lock_is_released_when_that_is_aborted() {
    let client = Client::with_store(Memory::default());
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let lock = client.lock("k");
    let work = tokio::spawn(async move {
        let within = async |_: &kvlock::asynch::LockGuard| {
            begun.send(()).unwrap();
            std::future::pending::<()>().await;
        };
        lock.with_lock(within).await
    });
    has_begun.await.unwrap();
    work.abort();
    client.lock("k").wait(Duration::from_secs(20)).acquire().await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn the_longest_hold_ends_with_a_loss_that_is_told() {
    let client = Client::with_store(Memory::default());
    let (tell, told) = std::sync::mpsc::channel();
    let options =
        AutoRenew::default().max_hold(Duration::from_millis(50)).on_lost(move |why| tell.send(why.clone()).unwrap());
    let guard = client.lock("k").acquire().await.unwrap().auto_renew(options).await;
    assert_eq!(guard.lost().await, LostReason::MaxHold);
    assert_eq!(told.recv().unwrap(), LostReason::MaxHold);
    guard.release().await.unwrap();
}

#[tokio::test]
async fn the_loss_of_the_lock_of_work_that_ran_is_an_error() {
    let store = Memory::default();
    let client = Client::with_store(store.clone());
    let done = client.lock("k").with_lock(async |_| store.evict("kvlock:lock:k")).await;
    assert!(matches!(done, Err(WithLockError::Release { value: true, .. })), "{done:?}");
}

#[tokio::test]
async fn a_grant_is_renewed_written_out_and_resumed() {
    let client = Client::with_store(Memory::default());
    let mut grant = client.lock("k").acquire().await.unwrap();
    grant.renew().await.unwrap();
    grant.renew_for(Duration::from_secs(60)).await.unwrap();
    let token = grant.token();
    let word = grant.write_out().await.unwrap();
    let session = client.session().open().await.unwrap();
    let mut resumed = session.resume(&word).await.unwrap();
    resumed.renew().await.unwrap();
    assert_eq!(resumed.token(), token);
    resumed.release().await.unwrap();
    // Nobody took up the instance that had written it out for a clean one.
    let next = client.lock("k").acquire().await.unwrap();
    assert!(next.token() > token);
    drop(Arc::new(next));
}

#[tokio::test]
async fn an_ask_is_awaited_beside_the_work_and_who_asks_sees_that_it_was_heard() {
    let client = Client::with_store(Memory::default());
    let lock = client.lock("k").lease(Duration::from_millis(300));
    let guard = lock.acquire().await.unwrap().auto_renew(AutoRenew::default()).await;
    assert_eq!(guard.ask(), None);
    let session = client.session().owner("other").open().await.unwrap();
    let request = session.ask("k").note("the release waits").wait(Duration::from_secs(60));
    let (wanted, asked) = tokio::join!(guard.wanted(), request.run());
    assert_eq!((wanted.owner.as_str(), wanted.note.as_deref()), ("other", Some("the release waits")));
    assert!(matches!(asked.unwrap(), kvlock::status::Asked::Heard(_)));
    assert_eq!(guard.ask(), Some(wanted));
    guard.release().await.unwrap();
}
