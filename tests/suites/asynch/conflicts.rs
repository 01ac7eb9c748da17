//! Conflict retry.

use std::sync::Arc;
use std::time::Duration;

use kvlock::asynch::Client;
use kvlock::conflict_retry::{ConflictRetryError, WorkOutcome};
use kvlock::error::AcquireError;
use kvlock::status::KeyState;
use kvlock_testkit::Memory;
use tokio::sync::Mutex;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_of_many_tasks_commits_and_its_own_control_finds_few_conflicts() {
    let client = Client::with_store(Memory::default());
    let sum = Arc::new(Mutex::new(0));
    let tasks = tokio::task::JoinSet::from_iter((0..16).map(|_| {
        let (retry, sum) = (client.conflict_retry("account"), sum.clone());
        async move {
            let work = async move |attempt: &kvlock::asynch::Try| {
                assert_eq!(attempt.loss(), None);
                let before = *sum.lock().await;
                tokio::task::yield_now().await;
                let mut now = sum.lock().await;
                if *now != before {
                    return WorkOutcome::Conflict("somebody else was faster");
                }
                *now += 1;
                WorkOutcome::Committed(attempt.number())
            };
            retry.run(work).await.unwrap()
        }
    }));
    // Nobody writes without the lock, so that each first try commits.
    assert!(tasks.join_all().await.into_iter().all(|tries| tries == 1));
    assert_eq!(*sum.lock().await, 16);
}

#[tokio::test]
async fn a_conflict_is_tried_again_and_a_failure_is_not() {
    let client = Client::with_store(Memory::default());
    let retry = client.conflict_retry("k").tries(3);
    let done = retry.run(async |attempt| match attempt.number() {
        1 => WorkOutcome::Conflict("conflict"),
        number => WorkOutcome::Committed(number),
    });
    assert_eq!(done.await.unwrap(), 2);
    let failed = retry.run(async |_| WorkOutcome::<(), _>::Failed("no such account")).await;
    assert!(matches!(failed, Err(ConflictRetryError::Failed { error: "no such account", lock: None })), "{failed:?}");
    let exhausted = retry.run(async |_| WorkOutcome::<(), _>::Conflict("conflict")).await;
    assert!(matches!(exhausted, Err(ConflictRetryError::Exhausted { tries: 3, .. })), "{exhausted:?}");
}

#[tokio::test]
async fn a_retry_that_is_dropped_while_its_work_runs_gives_the_lock_back() {
    let client = Client::with_store(Memory::default());
    let retry = client.conflict_retry("k");
    let run = retry.run(async |_| std::future::pending::<WorkOutcome<(), ()>>().await);
    assert!(tokio::time::timeout(Duration::from_millis(300), run).await.is_err());
    client.lock("k").wait(Duration::from_secs(20)).acquire().await.unwrap().release().await.unwrap();
    let status = client.session().open().await.unwrap().status("k").await.unwrap();
    assert_eq!(status.state, KeyState::Free);
}

#[tokio::test]
async fn two_tasks_of_a_session_are_not_at_work_together() {
    let client = Client::with_store(Memory::default());
    let session = client.session().open().await.unwrap();
    let outer = session.conflict_retry("k");
    let inner = session.conflict_retry("k");
    let done = outer.run(async |_| {
        let within = inner.run(async |_| WorkOutcome::<(), ()>::Committed(())).await;
        let refused =
            matches!(within, Err(ConflictRetryError::Acquire { error: AcquireError::AlreadyHeld { .. }, .. }));
        WorkOutcome::<_, ()>::Committed(refused)
    });
    assert!(done.await.unwrap());
}
