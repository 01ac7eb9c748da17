//! Clusters of three whose members are killed and frozen, under load.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use kvlock::Client;
use kvlock::store::{KvStore, StoreError, WriteOutcome};
use kvlock_testkit::EtcdCluster;
use kvlock_tests::Watch;
use kvlock_tests::kvlock::eventually;

use crate::support::{SECOND, TTL, add, get, store, token};

const THREADS: usize = 8;

/// Long beside what is done under the lock, and short beside the test: a release without an answer waits for its end.
const LEASE: Duration = Duration::from_secs(4);

/// What a lock protects: a number that is read and written apart, and the last token seen.
#[derive(Default)]
struct Judged {
    number: AtomicU64,
    last_token: AtomicU64,
    inside: AtomicUsize,
    done: AtomicU64,
}

impl Judged {
    fn increment(&self, token: u64) {
        assert_eq!(self.inside.fetch_add(1, Ordering::SeqCst), 0, "two holders");
        let before = self.last_token.swap(token, Ordering::SeqCst);
        assert!(token > before, "the token {token} came after {before}");
        let number = self.number.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(1));
        self.number.store(number + 1, Ordering::SeqCst);
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.done.fetch_add(1, Ordering::SeqCst);
    }
}

/// Increments by many threads, each a client of its own, while `disturb` does what it does to the cluster.
fn increment_while(mut cluster: EtcdCluster, disturb: impl FnOnce(&mut EtcdCluster, &dyn Fn(&str))) {
    let (judged, stop) = (Judged::default(), AtomicBool::new(false));
    let url = format!("{}?timeout=1s&connect-timeout=1s", cluster.url());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let client = Client::connect(&url).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    // A wait rides out whatever there is of outages.
                    let grant = client.lock("number").lease(LEASE).acquire().unwrap();
                    judged.increment(grant.token());
                    // Where there is no answer the lease ends it.
                    let _ = grant.release();
                }
            });
        }
        let progress = |when: &str| {
            let before = judged.done.load(Ordering::SeqCst);
            eventually(&format!("increments {when}"), || judged.done.load(Ordering::SeqCst) > before + 20);
        };
        // However it ends, the threads end.
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
            progress("at first");
            disturb(&mut cluster, &progress);
        }));
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert_eq!(judged.number.load(Ordering::SeqCst), judged.done.load(Ordering::SeqCst), "an increment was lost");
}

#[test]
fn no_increment_is_lost_while_the_leader_is_killed() {
    increment_while(EtcdCluster::start(3), |cluster, progress| {
        let leader = cluster.leader();
        cluster.kill(leader);
        progress("without the leader of before");
        cluster.restart(leader);
        progress("with all of them again");
    });
}

#[test]
fn no_increment_is_lost_while_the_leader_is_frozen_and_goes_on() {
    increment_while(EtcdCluster::start(3), |cluster, progress| {
        let leader = cluster.leader();
        cluster.stop(leader);
        // Longer than an election takes, so that it wakes up deposed.
        thread::sleep(4 * SECOND);
        cluster.cont(leader);
        progress("after the freeze");
    });
}

#[test]
fn without_a_quorum_nothing_is_granted_and_each_call_ends() {
    let mut cluster = EtcdCluster::start(3);
    let url = format!("{}?timeout=1s&connect-timeout=1s", cluster.url());
    let hasty = kvlock::store::Etcd::connect(&url).unwrap();
    let version = add(&store(&cluster), "k", "v");
    eventually("an answer", || hasty.get("k").is_ok());
    let leader = cluster.leader();
    let rest = [(leader + 1) % 3, (leader + 2) % 3];
    cluster.kill(leader);
    cluster.kill(rest[0]);
    for _ in 0..3 {
        let watch = Watch::start();
        match hasty.replace("k", b"w", TTL, version) {
            Err(StoreError::Unavailable(_) | StoreError::UnknownOutcome(_)) => {}
            other => panic!("{other:?}"),
        }
        assert!(matches!(hasty.get("k"), Err(StoreError::Unavailable(_))));
        assert!(matches!(hasty.era("k"), Err(StoreError::Unavailable(_))));
        // Three calls of two requests each, of up to two seconds.
        watch.assert_within(20 * SECOND);
    }
    cluster.revive(&[leader, rest[0]]);
    eventually("a quorum", || hasty.get("k").is_ok());
    // What had no answer may have been carried out by now, once.
    let patient = store(&cluster);
    let now = get(&patient, "k").version;
    assert!(token(now) >= token(version));
    assert!(matches!(patient.replace("k", b"x", TTL, now), Ok(WriteOutcome::Written(_))));
}
