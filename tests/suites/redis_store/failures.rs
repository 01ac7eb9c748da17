//! Servers that cannot be reached, and answers that do not come.

use std::thread;
use std::time::Duration;

use kvlock::store::{KvStore, Redis, Severity, WriteOutcome};
use kvlock_testkit::RedisServer;
use kvlock_tests::kvlock::eventually;
use kvlock_tests::{Mode, Proxy, Watch};

use crate::support::{TTL, add, assert_rejected, assert_unavailable, assert_unknown, get, store};

fn through(proxy: &Proxy) -> Redis {
    Redis::connect(&format!("redis://{}", proxy.addr())).unwrap()
}

#[test]
fn who_cannot_be_reached_is_named_with_the_reason() {
    let mut server = RedisServer::start();
    server.kill();
    let text = assert_unavailable(store(&server).add("k", b"v", TTL));
    assert!(text.contains(&server.addr()) && text.contains("refused"), "{text}");
    let text = assert_unavailable(Redis::connect("redis://no-such-host..invalid").unwrap().get("k"));
    assert!(text.contains("no-such-host..invalid:6379") && text.contains("check how"), "{text}");
    let text = assert_unavailable(Redis::connect("redis+unix:///no/such.sock").unwrap().get("k"));
    assert!(text.contains("/no/such.sock"), "{text}");
}

#[test]
fn a_cut_before_the_request_or_a_lost_reply_leaves_the_outcome_unknown() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server.addr());
    let store = through(&proxy);
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
    // Sent once: the number is the next one.
    assert_eq!(get(&store, "lost").version.number, version.number + 1);
    proxy.set(Mode::DropReply);
    assert_unknown(store.replace("k", b"w", TTL, version));
    proxy.set(Mode::Pass);
    let entry = get(&store, "k");
    assert_eq!((entry.value.as_slice(), entry.version.number), (b"w".as_slice(), version.number + 2));
    proxy.set(Mode::DropReply);
    assert_unknown(store.delete("k", entry.version));
    proxy.set(Mode::Pass);
    assert_eq!(store.get("k").unwrap(), None);
}

#[test]
fn a_read_that_fails_on_an_old_connection_is_asked_again_on_a_new_one() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server.addr());
    let store = through(&proxy);
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
fn a_connection_that_the_server_has_closed_costs_no_call() {
    let mut server = RedisServer::start();
    let store = store(&server);
    add(&store, "k", "v");
    server.restart();
    thread::sleep(Duration::from_millis(30));
    add(&store, "k", "v");
    server.command("CLIENT KILL TYPE normal SKIPME yes");
    thread::sleep(Duration::from_millis(30));
    add(&store, "l", "v");
}

#[test]
fn a_script_that_the_server_has_forgotten_is_given_to_it_again() {
    let server = RedisServer::start();
    let store = store(&server);
    let version = add(&store, "k", "v");
    server.command("SCRIPT FLUSH");
    assert!(matches!(store.add("l", b"v", TTL).unwrap(), WriteOutcome::Written(_)));
    server.command("SCRIPT FLUSH");
    assert_eq!(store.era("k").unwrap().id, version.era);
    let confirmed = crate::support::store_with(&server, "replicas=0");
    server.command("SCRIPT FLUSH");
    assert_eq!(get(&confirmed, "k").version, version);
}

#[test]
fn a_reply_that_comes_late_belongs_to_nobody() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server.addr());
    let store = through(&proxy);
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
    let server = RedisServer::start();
    let proxy = Proxy::start(&server.addr());
    let patient = through(&proxy);
    let store = Redis::connect(&format!("redis://{}?timeout=200ms", proxy.addr())).unwrap();
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

#[test]
fn a_wrong_login_is_refused_and_its_password_is_not_shown() {
    let server = RedisServer::start_as(&["--requirepass", "right"], "AUTH right");
    let connect = |login: &str| Redis::connect(&format!("redis://{login}{}", server.addr())).unwrap();
    add(&connect(":right@"), "k", "v");
    add(&connect("default:right@"), "l", "v");
    for (login, part) in [("", "NOAUTH"), (":wr0ng@", "WRONGPASS"), ("nobody:wr0ng@", "WRONGPASS")] {
        let text = assert_rejected(connect(login).add("k", b"v", TTL));
        assert!(text.contains(part) && !text.contains("wr0ng"), "{text}");
        let findings = connect(login).diagnose();
        assert_eq!(findings[0].severity, Severity::Unfit, "{findings:?}");
    }
}

#[test]
fn a_user_with_the_rights_of_the_page_can_lock_and_one_without_info_is_told() {
    let server = RedisServer::start();
    let rights = "~kvlock:* +evalsha +script|load +exists +hmget +hget +hset +hdel +hrandfield +time +info";
    server.command(&format!("ACL SETUSER locker on >pw {rights}"));
    server.command(&format!("ACL SETUSER blind on >pw {rights} -info"));
    let connect = |user: &str| Redis::connect(&format!("redis://{user}:pw@{}", server.addr())).unwrap();
    let store = connect("locker");
    for n in 0..40 {
        add(&store, &format!("k-{n}"), "v");
    }
    let text = assert_rejected(connect("blind").add("k", b"v", TTL));
    assert!(text.contains("rights are too few"), "{text}");
}
