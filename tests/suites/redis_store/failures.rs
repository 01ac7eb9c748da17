//! Servers that cannot be reached, and answers that do not come.

use std::thread;
use std::time::Duration;

use kvlock::store::{KvStore, Redis, Severity, WriteOutcome};
use kvlock_testkit::RedisServer;
use kvlock_tests::{Proxy, faults};

use crate::support::{TTL, add, assert_rejected, assert_unavailable, get, store};

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
    faults::cut_requests_and_lost_replies_leave_the_outcome_unknown(&proxy, &store, |store| {
        store.get("k").unwrap();
    });
    // What was lost was sent once: the one that was added is the second, the one replaced the third.
    assert_eq!(add(&store, "next", "v").number, get(&store, "lost").version.number + 2);
}

#[test]
fn a_read_that_fails_on_an_old_connection_is_asked_again_on_a_new_one() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server.addr());
    faults::a_cut_read_is_asked_again(&proxy, &through(&proxy));
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
    faults::a_late_reply_belongs_to_nobody(&proxy, &through(&proxy));
}

#[test]
fn a_frozen_or_unreachable_server_costs_a_bounded_time() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server.addr());
    let hasty = Redis::connect(&format!("redis://{}?timeout=200ms", proxy.addr())).unwrap();
    let freeze = |freezes: bool| if freezes { server.stop() } else { server.cont() };
    faults::silence_costs_a_bounded_time(&proxy, [&through(&proxy), &hasty], Duration::from_millis(1500), freeze);
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
