//! A release reaches a waiter of another process by a message.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kvlock::store::{Etcd, KvStore};
use kvlock::{Client, Session};
use kvlock_testkit::EtcdCluster;
use kvlock_tests::StandingClock;
use kvlock_tests::kvlock::eventually;

fn session(cluster: &EtcdCluster) -> Session {
    let client = Client::connect(&cluster.url()).unwrap().with_clock(Arc::new(StandingClock));
    client.session().quarantine(Duration::ZERO).open().unwrap()
}

/// Returns how many streams the member has.
fn watchers(cluster: &EtcdCluster) -> usize {
    let mut stream = TcpStream::connect(cluster.addr(0)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).unwrap();
    let count = metrics.lines().find_map(|line| line.strip_prefix("etcd_debugging_mvcc_watcher_total "));
    count.expect("a number of watchers").trim().parse().unwrap()
}

#[test]
fn a_release_wakes_the_waiters_of_other_processes_one_after_the_other() {
    let cluster = EtcdCluster::start(1);
    let grant = session(&cluster).lock("k").acquire().unwrap();
    let looker = session(&cluster);
    let waiters: Vec<JoinHandle<()>> = (1..=2)
        .map(|number| {
            let session = session(&cluster);
            let waiting = thread::spawn(move || {
                session.lock("k").acquire().unwrap().release().unwrap();
            });
            eventually("a place in the wait list", || looker.status("k").unwrap().waiters == number);
            waiting
        })
        .collect();
    eventually("two streams", || watchers(&cluster) == 2);
    // The last of them pauses after it has written the list.
    thread::sleep(Duration::from_millis(200));
    grant.release().unwrap();
    eventually("both had the lock", || waiters.iter().all(JoinHandle::is_finished));
}

#[test]
fn a_stream_that_ends_at_once_is_not_opened_again_and_again() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let opened = Arc::new(AtomicUsize::new(0));
    let counted = opened.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let store = Etcd::connect(&format!("etcd://{address}")).unwrap();
    let _watch = store.watch("k", Arc::new(|| {}));
    eventually("a stream", || opened.load(Ordering::Relaxed) > 0);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(opened.load(Ordering::Relaxed), 1);
}
