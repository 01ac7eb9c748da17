//! Servers that cannot be reached, and answers that do not come.

use std::thread;
use std::time::Duration;

use kvlock::store::{KvStore, Memcached};
use kvlock_testkit::MemcachedServer;
use kvlock_tests::{Proxy, faults};

use crate::support::{SECOND, TTL, add, assert_unavailable, store};

#[test]
fn a_server_that_cannot_be_reached_is_named_with_the_reason() {
    let mut server = MemcachedServer::start();
    server.kill();
    let text = assert_unavailable(store(&server).add("k", b"v", TTL));
    assert!(text.contains(&server.addr()) && text.contains("refused"), "{text}");
    let unknown = Memcached::connect("no-such-host..invalid:1").unwrap();
    // It may be a pod that is being started anew, and not a slip of the pen.
    let text = assert_unavailable(unknown.get("k"));
    assert!(text.contains("no-such-host..invalid:1") && text.contains("check how"), "{text}");
    for text in [text, unknown.diagnose().remove(0).text] {
        assert_eq!(text.lines().count(), 1, "{text:?}");
    }
}

#[test]
fn a_cut_before_the_request_or_a_lost_reply_leaves_the_outcome_unknown() {
    let server = MemcachedServer::start();
    let proxy = Proxy::start(&server.addr());
    let store = Memcached::connect(&proxy.addr()).unwrap();
    faults::cut_requests_and_lost_replies_leave_the_outcome_unknown(&proxy, &store, |store| {
        store.get("k").unwrap();
    });
}

#[test]
fn a_read_that_fails_on_an_old_connection_is_asked_again_on_a_new_one() {
    let server = MemcachedServer::start();
    let proxy = Proxy::start(&server.addr());
    faults::a_cut_read_is_asked_again(&proxy, &Memcached::connect(&proxy.addr()).unwrap());
}

#[test]
fn a_restart_while_nothing_is_asked_does_not_show() {
    let mut server = MemcachedServer::start();
    let store = store(&server);
    add(&store, "k", "v");
    server.restart();
    thread::sleep(Duration::from_millis(30));
    add(&store, "k", "v");
}

#[test]
fn a_reply_that_comes_late_belongs_to_nobody() {
    let server = MemcachedServer::start();
    let proxy = Proxy::start(&server.addr());
    let store = Memcached::connect(&proxy.addr()).unwrap().with_operation_timeout(SECOND);
    faults::a_late_reply_belongs_to_nobody(&proxy, &store);
}

#[test]
fn a_frozen_or_unreachable_server_costs_a_bounded_time() {
    let server = MemcachedServer::start();
    let proxy = Proxy::start(&server.addr());
    let patient = Memcached::connect(&proxy.addr()).unwrap();
    let hasty = Memcached::connect(&proxy.addr()).unwrap().with_operation_timeout(Duration::from_millis(200));
    let freeze = |freezes: bool| if freezes { server.stop() } else { server.cont() };
    faults::silence_costs_a_bounded_time(&proxy, [&patient, &hasty], Duration::from_millis(1500), freeze);
}
