//! What wakes a task that waits: no pause is ever over here.

use std::sync::Arc;
use std::time::Duration;

use kvlock::asynch::{Client, Lock};
use kvlock_testkit::Memory;
use kvlock_tests::StandingClock;
use tokio::sync::oneshot;

fn client() -> (kvlock::Client, Client) {
    let threads = kvlock::Client::with_store(Memory::new(Arc::new(StandingClock))).with_clock(Arc::new(StandingClock));
    (threads.clone(), threads.into())
}

/// Waits until somebody waits for the key: it stands in the store's list, and pauses after that.
async fn somebody_waits(client: &Client) {
    let session = client.session().open().await.unwrap();
    while session.status("k").await.unwrap().waiters == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    a_moment().await;
}

/// For a wait to begin its pause.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// Acquires, tells so, and releases when it is told to.
async fn hold(lock: Lock, held: oneshot::Sender<()>, release: oneshot::Receiver<()>) {
    let grant = lock.acquire().await.unwrap();
    held.send(()).unwrap();
    release.await.unwrap();
    grant.release().await.unwrap();
}

#[tokio::test]
async fn a_release_hands_over_to_the_task_that_waits() {
    let (_, client) = client();
    let first = client.lock("k").acquire().await.unwrap();
    let waiter = || {
        let ((held, is_held), (release, is_over)) = (oneshot::channel(), oneshot::channel());
        tokio::spawn(hold(client.lock("k"), held, is_over));
        (is_held, release)
    };
    let one = waiter();
    somebody_waits(&client).await;
    // They wait behind it, in the queue of the process alone.
    let others = [waiter(), waiter()];
    a_moment().await;
    first.release().await.unwrap();
    for (is_held, release) in [one].into_iter().chain(others) {
        is_held.await.unwrap();
        a_moment().await;
        release.send(()).unwrap();
    }
}

#[tokio::test]
async fn the_release_of_a_thread_hands_over_to_a_task_and_that_of_a_task_to_a_thread() {
    let (threads, tasks) = client();
    let held = threads.lock("k").acquire().unwrap();
    let task = tokio::spawn({
        let lock = tasks.lock("k");
        async move { lock.acquire().await.unwrap() }
    });
    somebody_waits(&tasks).await;
    held.release().unwrap();
    let held = task.await.unwrap();
    let thread = std::thread::spawn(move || threads.lock("k").acquire().unwrap().release().unwrap());
    somebody_waits(&tasks).await;
    held.release().await.unwrap();
    tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
}
