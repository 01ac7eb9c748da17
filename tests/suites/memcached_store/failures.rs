//! Servers that cannot be reached, and answers that do not come.

use std::thread;
use std::time::Duration;

use kvlock::store::{KvStore, Memcached, Severity, WriteOutcome};
use kvlock_testkit::MemcachedServer;
use kvlock_tests::kvlock::eventually;
use kvlock_tests::{Mode, Proxy, Watch};

use crate::support::{SECOND, TTL, add, assert_unavailable, assert_unknown, get, store};

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
    let version = add(&store, "k", "v");
    for (mode, key, executed) in [(Mode::CutBeforeRequest, "cut", false), (Mode::DropReply, "lost", true)] {
        store.get("k").unwrap();
        proxy.set(mode);
        let text = assert_unknown(store.add(key, b"v", TTL));
        assert!(text.contains(&proxy.addr()), "{text}");
        proxy.set(Mode::Pass);
        assert_eq!(store.get(key).unwrap().is_some(), executed, "{key}");
        assert_eq!(get(&store, "k").version, version);
    }
    proxy.set(Mode::DropReply);
    assert_unknown(store.replace("k", b"w", TTL, version));
    proxy.set(Mode::Pass);
    let entry = get(&store, "k");
    assert_eq!(entry.value, b"w");
    proxy.set(Mode::DropReply);
    assert_unknown(store.delete("k", entry.version));
    proxy.set(Mode::Pass);
    assert_eq!(store.get("k").unwrap(), None);
}

#[test]
fn a_read_that_fails_on_an_old_connection_is_asked_again_on_a_new_one() {
    let server = MemcachedServer::start();
    let proxy = Proxy::start(&server.addr());
    let store = Memcached::connect(&proxy.addr()).unwrap();
    let version = add(&store, "k", "v");
    proxy.set(Mode::CutNextRequest);
    assert_eq!(get(&store, "k").version, version);
    proxy.set(Mode::CutNextRequest);
    assert_eq!(store.era("k").unwrap().id, version.era);
    proxy.set(Mode::CutBeforeRequest);
    assert_unavailable(store.get("k"));
    assert_unavailable(store.add("k", b"v", TTL));
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
    add(&store, "mine", "v");
    proxy.set(Mode::Hold);
    assert_unknown(store.add("late", b"v", TTL));
    proxy.set(Mode::Pass);
    assert_eq!(get(&store, "mine").value, b"v");
    // The request itself was delivered late, and took effect: that is what `unknown` means.
    eventually("the held request", || store.get("late").unwrap().is_some());
    assert!(matches!(store.add("late", b"w", TTL).unwrap(), WriteOutcome::Conflict(Some(_))));
}

#[test]
fn a_frozen_or_unreachable_server_costs_a_bounded_time() {
    let server = MemcachedServer::start();
    let proxy = Proxy::start(&server.addr());
    let patient = Memcached::connect(&proxy.addr()).unwrap();
    let store = Memcached::connect(&proxy.addr()).unwrap().with_operation_timeout(Duration::from_millis(200));
    let version = add(&patient, "k", "v");
    let timed = |run: &dyn Fn()| {
        let start = Watch::start();
        run();
        start.assert_within(Duration::from_millis(1500));
    };
    for frozen in [true, false] {
        // On a busy machine an answer may take longer than that.
        eventually("a connection", || store.get("k").is_ok());
        if frozen {
            server.stop()
        } else {
            proxy.set(Mode::Blackhole)
        }
        timed(&|| drop(assert_unknown(store.add("k", b"v", TTL))));
        timed(&|| drop(assert_unavailable(store.get("k"))));
        timed(&|| drop(assert_unavailable(store.delete("k", version))));
        timed(&|| drop(assert_unavailable(store.get_many(&["k".into()]))));
        timed(&|| drop(assert_unavailable(store.era("k"))));
        timed(&|| assert_eq!(store.diagnose()[0].severity, Severity::Unfit));
        if frozen {
            server.cont()
        } else {
            proxy.set(Mode::Pass)
        }
        assert_eq!(get(&patient, "k").version, version);
    }
}
