//! Names that lead to several addresses, to other addresses than before, or to other servers.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use kvlock::store::{Finding, KvStore, Memcached, Severity, StoreError};
use kvlock_testkit::MemcachedServer;
use kvlock_tests::kvlock::eventually;
use kvlock_tests::{Mode, Proxy};

use crate::support::{SECOND, TTL, add, assert_rejected, assert_unavailable, get, token};

/// What a name leads to. It can be changed.
#[derive(Clone, Default)]
struct Name(Arc<Mutex<Vec<SocketAddr>>>);

impl Name {
    fn of(servers: &[&str]) -> Name {
        let name = Name::default();
        name.lead_to(servers);
        name
    }

    fn lead_to(&self, servers: &[&str]) {
        *self.0.lock().unwrap() = servers.iter().map(|server| server.parse().unwrap()).collect();
    }

    fn store(&self) -> Memcached {
        let name = self.clone();
        resolved(move || Ok(name.0.lock().unwrap().clone()))
    }
}

fn resolved(look_up: impl Fn() -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Memcached {
    Memcached::connect("cache").unwrap().with_resolver(move |host, port| {
        assert_eq!((host, port), ("cache", 11211));
        look_up()
    })
}

/// Where nobody listens: every port of this address is ours, and memcached is never started on it.
fn nobody() -> String {
    "127.0.0.9:1".into()
}

/// Servers that have been up for longer than it takes to begin an era at once, and can show a new one.
fn two_old_servers() -> (MemcachedServer, MemcachedServer) {
    let servers = (MemcachedServer::start(), MemcachedServer::start());
    while servers.0.stat("uptime").min(servers.1.stat("uptime")) < 8 {
        thread::sleep(SECOND / 10);
    }
    servers
}

#[track_caller]
fn assert_names_both(text: &str, servers: [&str; 2]) {
    assert!(text.contains("cache:11211") && servers.iter().all(|server| text.contains(server)), "{text}");
    assert_eq!(text.lines().count(), 1, "{text:?}");
}

fn finding<'f>(findings: &'f [Finding], check: &str) -> &'f Finding {
    findings.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("no `{check}`: {findings:?}"))
}

#[test]
fn several_addresses_of_one_server_are_alternatives() {
    let server = MemcachedServer::start();
    let (one, two) = (Proxy::start(&server.addr()), Proxy::start(&server.addr()));
    let name = Name::of(&[&one.addr(), &two.addr()]);
    let store = name.store();
    let version = add(&store, "k", "v");
    drop(one);
    let other = name.store();
    for store in [&store, &other] {
        assert_eq!(get(store, "k").version, version);
    }
    assert_eq!(finding(&store.diagnose(), "one server").severity, Severity::Ok);
}

#[test]
fn an_address_where_nobody_listens_is_passed_over_and_told_by_the_diagnosis() {
    let server = MemcachedServer::start();
    let store = Name::of(&[&nobody(), &server.addr()]).store();
    add(&store, "k", "v");
    let findings = store.diagnose();
    assert_eq!(finding(&findings, "one server").severity, Severity::Ok);
    let silent = finding(&findings, "address");
    assert!(silent.severity == Severity::Warning && silent.text.contains(&nobody()), "{silent:?}");
}

#[test]
fn addresses_of_different_servers_are_refused_with_both_named() {
    let (one, two) = (MemcachedServer::start(), MemcachedServer::start());
    let servers = [one.addr(), two.addr()];
    let servers = [servers[0].as_str(), servers[1].as_str()];
    let store = Name::of(&servers).store();
    assert_names_both(&assert_rejected(store.add("k", b"v", TTL)), servers);
    assert_names_both(&assert_rejected(store.get("k")), servers);
    let findings = store.diagnose();
    let finding = finding(&findings, "one server");
    assert_eq!(finding.severity, Severity::Unfit);
    assert_names_both(&format!("{} {}", finding.subject, finding.text), servers);
}

#[test]
fn what_differs_is_told_even_where_both_servers_have_been_in_use() {
    let (one, two) = (MemcachedServer::start(), MemcachedServer::start());
    for server in [&one, &two] {
        add(&Memcached::connect(&server.addr()).unwrap(), "k", "v");
    }
    let text = assert_rejected(Name::of(&[&one.addr(), &two.addr()]).store().get("k"));
    for server in [&one, &two] {
        assert!(text.contains(&format!("process {}, started", server.stat("pid"))), "{text}");
    }
}

#[test]
fn an_address_that_answers_later_is_compared_then() {
    let (one, mut two) = (MemcachedServer::start(), MemcachedServer::start());
    two.kill();
    let store = Name::of(&[&one.addr(), &two.addr()]).store();
    add(&store, "k", "v");
    two.restart();
    let mut answer = Ok(None);
    eventually("a refusal", || {
        answer = store.get("k");
        answer.is_err()
    });
    assert_names_both(&assert_rejected(answer), [&one.addr(), &two.addr()]);
}

#[test]
fn an_address_that_comes_to_a_name_is_compared_with_the_next_connection() {
    let (one, two) = (MemcachedServer::start(), MemcachedServer::start());
    let proxy = Proxy::start(&one.addr());
    let name = Name::of(&[&proxy.addr()]);
    let store = name.store();
    add(&store, "k", "v");
    name.lead_to(&[&one.addr(), &two.addr()]);
    drop(proxy);
    // The connection that is open is cut, and the next one is to be made.
    let answer = (0..10).map(|_| store.get("k")).find(Result::is_err).expect("a refusal");
    assert_names_both(&assert_rejected(answer), [&one.addr(), &two.addr()]);
}

#[test]
fn another_server_in_the_place_of_one_that_is_gone_counts_from_then_on() {
    let (mut one, two) = two_old_servers();
    let name = Name::of(&[&one.addr()]);
    let store = name.store();
    let old = add(&store, "k", "v");
    assert!(store.era("k").unwrap().lossless_for > 3 * SECOND);
    // The control: by itself the second one is as old.
    let fresh = Memcached::connect(&two.addr()).unwrap();
    assert!(fresh.era("k").unwrap().lossless_for > 3 * SECOND);
    name.lead_to(&[&two.addr()]);
    one.kill();
    let since = Instant::now();
    let era = eventually_ok(|| store.era("k"));
    assert!(era.id > token(old) && era.lossless_for <= since.elapsed(), "{era:?}");
    assert_eq!(store.get("k").unwrap(), None);
    assert!(token(add(&store, "k", "w")) > token(old));
    // It is an era of the server's, for whoever asks.
    assert_eq!(fresh.era("k").unwrap().id, era.id);
}

#[test]
fn tokens_do_not_fall_on_a_server_that_started_earlier_nor_after_it_was_flushed() {
    let old = MemcachedServer::start();
    add(&Memcached::connect(&old.addr()).unwrap(), "k", "v");
    thread::sleep(2 * SECOND);
    let mut young = MemcachedServer::start();
    let name = Name::of(&[&young.addr()]);
    let store = name.store();
    let mut last = token(add(&store, "k", "v"));
    name.lead_to(&[&old.addr()]);
    young.kill();
    let since = Instant::now();
    eventually_ok(|| store.era("k"));
    // For others, too: what was granted on the younger one may be in use yet.
    let lossless = Memcached::connect(&old.addr()).unwrap().era("k").unwrap().lossless_for;
    assert!(lossless <= since.elapsed(), "{lossless:?}");
    for round in 0..3 {
        let key = format!("k{round}");
        let next = token(add(&store, &key, "v"));
        assert!(next > last, "{next} after {last}");
        last = next;
        let next = token(add(&Memcached::connect(&old.addr()).unwrap(), &format!("{key}'"), "v"));
        assert!(next > last, "{next} after {last}, as others see it");
        last = next;
        old.flush();
    }
}

#[test]
fn connections_that_a_balancer_leads_to_two_servers_are_refused_with_both_named() {
    let (one, two) = (MemcachedServer::start(), MemcachedServer::start());
    let balancer = Proxy::balance(&[&one.addr(), &two.addr()]);
    let store = Memcached::connect(&balancer.addr()).unwrap();
    // Two calls at once take two connections.
    balancer.set(Mode::Hold);
    let answers: Vec<_> = thread::scope(|scope| {
        let calls: Vec<_> = (0..2).map(|_| scope.spawn(|| store.get("k"))).collect();
        eventually("two requests", || balancer.requests() == 2);
        balancer.set(Mode::Pass);
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let refused = answers.into_iter().chain((0..10).map(|_| store.get("k"))).find(Result::is_err);
    let text = assert_rejected(refused.expect("a refusal"));
    for server in [&one, &two] {
        assert!(text.contains(&format!("process {}", server.stat("pid"))), "{text}");
    }
}

#[test]
fn the_diagnosis_finds_two_servers_behind_one_address() {
    let (one, two) = (MemcachedServer::start(), MemcachedServer::start());
    let balancer = Proxy::balance(&[&one.addr(), &two.addr()]);
    let findings = Memcached::connect(&balancer.addr()).unwrap().diagnose();
    assert_eq!(finding(&findings, "one server").severity, Severity::Unfit, "{findings:?}");
    balancer.lead_to(&[&two.addr()]);
    let findings = Memcached::connect(&balancer.addr()).unwrap().diagnose();
    assert_eq!(finding(&findings, "one server").severity, Severity::Ok, "{findings:?}");
}

#[test]
fn the_diagnosis_finds_two_servers_that_a_resolver_rotates() {
    let (one, two) = (MemcachedServer::start(), MemcachedServer::start());
    let servers = [one.addr().parse().unwrap(), two.addr().parse().unwrap()];
    let turn = Mutex::new(0);
    let store = resolved(move || {
        let mut turn = turn.lock().unwrap();
        *turn += 1;
        Ok(vec![servers[*turn % 2]])
    });
    assert_eq!(finding(&store.diagnose(), "one server").severity, Severity::Unfit);
}

#[test]
fn a_name_that_leads_to_one_server_again_is_fit_again() {
    let (one, two) = (MemcachedServer::start(), MemcachedServer::start());
    let name = Name::of(&[&one.addr(), &two.addr()]);
    let store = name.store();
    assert_rejected(store.get("k"));
    name.lead_to(&[&two.addr()]);
    eventually_ok(|| store.get("k"));
    add(&store, "k", "v");
    assert_eq!(get(&Memcached::connect(&two.addr()).unwrap(), "k").value, b"v");
}

#[test]
fn a_slow_resolver_costs_a_timeout_and_its_late_answer_serves_the_next_call() {
    let server = MemcachedServer::start();
    let address = server.addr().parse().unwrap();
    let (answer, answers) = std::sync::mpsc::channel::<()>();
    let answers = Mutex::new(answers);
    let store = resolved(move || {
        answers.lock().unwrap().recv().map_err(io::Error::other)?;
        Ok(vec![address])
    });
    let store = store.with_connect_timeout(Duration::from_millis(50));
    assert!(assert_unavailable(store.get("k")).contains("look-up"));
    answer.send(()).unwrap();
    eventually_ok(|| store.get("k"));
    // No other answer comes, and none is needed.
    add(&store, "k", "v");
}

#[test]
fn a_name_that_is_unknown_for_a_while_is_an_outage() {
    let server = MemcachedServer::start();
    let name = Name::default();
    let store = name.store();
    assert!(assert_unavailable(store.add("k", b"v", TTL)).contains("check how `cache` is spelled"));
    name.lead_to(&[&server.addr()]);
    add(&store, "k", "v");
}

fn eventually_ok<T>(ask: impl Fn() -> Result<T, StoreError>) -> T {
    let mut answer = ask();
    eventually("an answer", || {
        answer.is_ok() || {
            answer = ask();
            answer.is_ok()
        }
    });
    answer.unwrap()
}
