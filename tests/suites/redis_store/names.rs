//! A name leads to one master.

use kvlock::store::{KvStore, Redis, Severity};
use kvlock_testkit::RedisServer;
use kvlock_tests::Proxy;

use crate::support::{TTL, add, assert_rejected, get};

fn through(proxy: &Proxy) -> Redis {
    Redis::connect(&format!("redis://{}", proxy.addr())).unwrap()
}

#[test]
fn two_masters_under_one_name_are_refused_with_both_named() {
    let (one, two) = (RedisServer::start(), RedisServer::start());
    let balancer = Proxy::balance(&[&one.addr(), &two.addr()]);
    let store = through(&balancer);
    add(&store, "k", "v");
    // A second connection, while the first is in use or idle.
    let found = (0..20).find_map(|_| {
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..4).map(|_| scope.spawn(|| store.get("k"))).collect();
            calls.into_iter().find_map(|call| call.join().unwrap().err())
        })
    });
    let text = found.map(|error| error.to_string()).unwrap_or_default();
    let ids = [&one, &two].map(|server| server.info("run_id")[..8].to_string());
    assert!(ids.iter().all(|id| text.contains(id.as_str())), "{text}");
    for _ in 0..4 {
        assert_rejected(store.add("k", b"v", TTL));
    }
    let findings = through(&balancer).diagnose();
    assert!(findings.iter().any(|f| f.check == "one master" && f.severity == Severity::Unfit), "{findings:#?}");
    // Once there is one, it goes on.
    balancer.lead_to(&[&two.addr()]);
    kvlock_tests::kvlock::eventually("one master", || store.era("k").is_ok());
}

#[test]
fn a_replica_beside_the_master_is_no_second_master() {
    let (master, replica) = (RedisServer::start(), RedisServer::start());
    let name = Proxy::start(&master.addr());
    let version = add(&through(&name), "k", "v");
    replica.replicate(&master);
    name.lead_to(&[&replica.addr(), &master.addr()]);
    // Every other connection leads to the replica, which grants nothing.
    let store = through(&name);
    kvlock_tests::kvlock::eventually("the master", || store.get("k").is_ok());
    assert_eq!(get(&store, "k").version, version);
    let findings = Redis::connect(&replica.url()).unwrap().diagnose();
    let unfit: Vec<_> = findings.iter().filter(|f| f.severity == Severity::Unfit).map(|f| f.check).collect();
    assert_eq!(unfit, ["role"], "{findings:#?}");
}

#[test]
fn a_name_that_leads_to_a_master_again_after_a_failover_goes_on() {
    let (mut master, replica) = (RedisServer::start(), RedisServer::start());
    let name = Proxy::start(&master.addr());
    let store = through(&name);
    let held = add(&store, "k", "v");
    replica.replicate(&master);
    master.kill();
    replica.promote();
    name.lead_to(&[&replica.addr()]);
    kvlock_tests::kvlock::eventually("the new master", || store.era("k").is_ok());
    assert!(store.era("k").unwrap().id > held.era);
    assert_eq!(get(&store, "k").value, b"v");
}
