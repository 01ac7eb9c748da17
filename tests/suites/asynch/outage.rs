//! No thread of the executor waits for a store.

use std::time::{Duration, Instant};

use kvlock::asynch::Client;
use kvlock_testkit::MemcachedServer;

const TICK: Duration = Duration::from_millis(5);

/// The longest time that a tick was late in this span, with nothing beside it on its executor but what is spawned there.
async fn latest_tick(during: Duration) -> Duration {
    let (begun, mut latest) = (Instant::now(), Duration::ZERO);
    while begun.elapsed() < during {
        let due = Instant::now() + TICK;
        tokio::time::sleep_until(due.into()).await;
        latest = latest.max(due.elapsed());
    }
    latest
}

/// On one thread, so that whatever blocks it is seen by the ticker. A busy machine may stop the ticker by itself: then
/// the same is measured again, and once is enough to show that nothing of ours does.
#[tokio::test]
async fn a_thousand_tasks_at_a_server_that_does_not_answer_never_block_their_executor() {
    const MOST: Duration = Duration::from_millis(50);
    let server = MemcachedServer::start();
    let client = Client::connect(&server.url()).unwrap().session().quarantine(Duration::ZERO).for_each_acquire();
    client.lock("warm").acquire().await.unwrap().release().await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let idle = latest_tick(Duration::from_secs(1)).await;
        server.stop();
        let tasks: Vec<_> = (0..1000)
            .map(|number| {
                let lock = client.lock(format!("k{}", number % 100));
                tokio::spawn(async move { lock.acquire().await })
            })
            .collect();
        let stalled = latest_tick(Duration::from_secs(5)).await;
        server.cont();
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        seen.push((idle, stalled));
        if stalled < MOST {
            return;
        }
    }
    panic!("late when idle, and when stalled: {seen:?}");
}
