//! A cluster: each bucket on the master of its slot, wherever that is by now.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kvlock::Client;
use kvlock::store::conformance::{self, Subject};
use kvlock::store::{KvStore, Redis, Severity, StoreError, Version, WriteOutcome};
use kvlock_testkit::{RedisServer, free_port};
use kvlock_tests::StandingClock;
use kvlock_tests::kvlock::eventually;

use crate::support::{TTL, add, assert_rejected, assert_unavailable, get, token};

/// Slots are shared out evenly among the first nodes, in their order.
struct Cluster {
    nodes: Vec<RedisServer>,
}

impl Cluster {
    /// Starts nodes of which the first are masters, and the others serve nothing yet.
    fn start(masters: usize, others: usize) -> Cluster {
        let nodes: Vec<_> = (0..masters + others).map(|_| start_node()).collect();
        let cluster = Cluster { nodes };
        for (number, node) in cluster.nodes.iter().take(masters).enumerate() {
            let (first, next) = (number * 16384 / masters, (number + 1) * 16384 / masters);
            assert_eq!(node.command(&format!("CLUSTER ADDSLOTSRANGE {first} {}", next - 1)), "+OK\r\n");
        }
        for other in &cluster.nodes[1..] {
            let address = other.addr().replace(':', " ");
            cluster.nodes[0].command(&format!("CLUSTER MEET {address} {}", bus_port(other)));
        }
        let all = |told: &str| cluster.nodes.iter().all(|node| node.command("CLUSTER INFO").contains(told));
        eventually("all nodes know each other", || all(&format!("cluster_known_nodes:{}\r", cluster.nodes.len())));
        eventually("all slots are served", || all("cluster_state:ok"));
        cluster
    }

    /// The URL, by some of the nodes.
    fn url(&self, nodes: impl IntoIterator<Item = usize>) -> String {
        let list: Vec<_> = nodes.into_iter().map(|number| self.nodes[number].addr()).collect();
        format!("redis+cluster://{}", list.join(","))
    }

    fn store(&self) -> Redis {
        Redis::connect(&self.url([0])).unwrap()
    }

    fn id(&self, node: usize) -> String {
        let reply = self.nodes[node].command("CLUSTER MYID");
        reply.lines().nth(1).unwrap().to_string()
    }

    /// Makes a node a replica of another.
    fn replicate(&self, replica: usize, master: usize) {
        assert_eq!(self.nodes[replica].command(&format!("CLUSTER REPLICATE {}", self.id(master))), "+OK\r\n");
        eventually("the replica", || self.nodes[replica].command("INFO replication").contains("master_link_status:up"));
    }

    /// The hashes of kvlock on a node.
    fn hashes(&self, node: usize) -> BTreeSet<String> {
        let reply = self.nodes[node].command("KEYS kvlock:*");
        reply.lines().filter(|line| line.starts_with("kvlock")).map(String::from).collect()
    }
}

fn start_node() -> RedisServer {
    let bus = free_port().port().to_string();
    RedisServer::start_with(&["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &bus])
}

fn bus_port(node: &RedisServer) -> String {
    let reply = node.command("CONFIG GET cluster-port");
    reply.lines().nth(4).unwrap().to_string()
}

/// A key of each bucket, and of each a second one.
fn keys() -> Vec<String> {
    (0..64).map(|n| format!("n:lock:key-{n}")).collect()
}

/// The shared cluster as the subject of one case.
struct Shared<'c> {
    cluster: &'c Cluster,
    store: Redis,
}

impl Subject for Shared<'_> {
    fn store(&self) -> &dyn KvStore {
        &self.store
    }

    fn second(&self) -> Box<dyn KvStore> {
        Box::new(Redis::connect(&self.cluster.url([1, 2])).unwrap())
    }

    fn pass(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn lose_everything(&self) -> bool {
        // The other cases run on it at the same time.
        false
    }
}

#[test]
fn a_cluster_conforms() {
    let cluster = Cluster::start(3, 0);
    let check = |case: &conformance::Case| case.check(&Shared { cluster: &cluster, store: cluster.store() });
    let failures: Vec<String> = std::thread::scope(|scope| {
        let checks: Vec<_> = conformance::cases().iter().map(|case| (case.name, scope.spawn(|| check(case)))).collect();
        let verdicts = checks.into_iter().map(|(name, check)| (name, check.join().unwrap()));
        verdicts.filter_map(|(name, verdict)| Some(format!("{name}: {}", verdict.err()?))).collect()
    });
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn every_master_has_a_part_of_the_buckets_and_clients_by_any_nodes_see_the_same() {
    let cluster = Cluster::start(3, 0);
    let (store, other) = (cluster.store(), Redis::connect(&cluster.url([2, 1])).unwrap());
    let versions: Vec<Version> = keys().iter().map(|key| add(&store, key, key)).collect();
    let buckets: Vec<_> = (0..3).map(|node| cluster.hashes(node)).collect();
    assert!(buckets.iter().all(|hashes| !hashes.is_empty()), "{buckets:?}");
    assert_eq!(buckets.iter().map(BTreeSet::len).sum::<usize>(), 16, "{buckets:?}");
    let found = other.get_many(&keys()).unwrap();
    for ((key, version), entry) in keys().iter().zip(&versions).zip(found) {
        let entry = entry.unwrap_or_else(|| panic!("`{key}` is gone"));
        assert_eq!((entry.value.as_slice(), entry.version), (key.as_bytes(), *version));
    }
    for (key, version) in keys().iter().zip(versions) {
        assert_eq!(other.add(key, b"v", TTL).unwrap(), WriteOutcome::Conflict(Some(version)));
    }
    let findings = store.diagnose();
    assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
    let masters = findings.iter().filter(|finding| finding.check == "cluster").count();
    assert_eq!(masters, 3, "{findings:#?}");
}

#[test]
fn a_master_that_is_lost_ends_the_eras_of_its_own_buckets_only() {
    let mut cluster = Cluster::start(3, 1);
    cluster.replicate(3, 0);
    let store = Redis::connect(&cluster.url([1])).unwrap();
    let before: Vec<_> = keys().iter().map(|key| add(&store, key, "v")).collect();
    let lost = cluster.hashes(0).len();
    cluster.nodes[0].kill();
    eventually("the replica is the master", || cluster.nodes[3].command("ROLE").contains("master"));
    eventually("every key is served", || keys().iter().all(|key| store.era(key).is_ok()));
    let mut ended = BTreeSet::new();
    for (key, before) in keys().iter().zip(before) {
        let era = store.era(key).unwrap();
        if era.id == before.era {
            assert_eq!(get(&store, key).version, before, "`{key}` is on a master that was not lost");
            continue;
        }
        assert!(era.id > before.era && era.lossless_for < Duration::from_secs(60), "{era:?}");
        // A wait list is in the bucket of its lock.
        assert!(token(add(&store, &key.replace("lock", "line"), "v")) > token(before));
        ended.insert(era.id);
    }
    assert_eq!(ended.len(), lost, "an era for each bucket of the master that was lost");
}

#[test]
fn a_slot_that_is_moved_is_followed_and_its_locks_end() {
    let cluster = Cluster::start(2, 0);
    let store = cluster.store();
    let key = keys().into_iter().find(|key| {
        add(&store, key, "v");
        !cluster.hashes(0).is_empty()
    });
    let key = key.expect("a key on the first node");
    let before = get(&store, &key).version;
    let hash = cluster.hashes(0).pop_first().unwrap();
    let [from, to] = [0, 1].map(|node| cluster.id(node));
    let [source, target] = [&cluster.nodes[0], &cluster.nodes[1]];
    let slot = source.command(&format!("CLUSTER KEYSLOT {hash}"))[1..].trim().to_string();
    assert_eq!(target.command(&format!("CLUSTER SETSLOT {slot} IMPORTING {from}")), "+OK\r\n");
    assert_eq!(source.command(&format!("CLUSTER SETSLOT {slot} MIGRATING {to}")), "+OK\r\n");
    assert_eq!(get(&store, &key).version, before, "it is served until it moves");
    let address = target.addr().replace(':', " ");
    assert_eq!(source.command(&format!("MIGRATE {address} {hash} 0 5000")), "+OK\r\n");
    // Between the two nodes: nothing is done, and nothing is believed.
    assert!(assert_unavailable(store.add(&key, b"v", TTL)).contains("ASK"));
    for node in [target, source] {
        assert_eq!(node.command(&format!("CLUSTER SETSLOT {slot} NODE {to}")), "+OK\r\n");
    }
    eventually("it is served again", || store.era(&key).is_ok());
    let era = store.era(&key).unwrap();
    assert!(era.id > before.era && era.lossless_for < Duration::from_secs(60), "{era:?}");
    assert_eq!(store.delete(&key, before).unwrap(), kvlock::store::DeleteOutcome::Conflict(None));
    assert_eq!(cluster.hashes(0), BTreeSet::new());
}

#[test]
fn a_release_wakes_a_waiter_that_came_by_another_node() {
    let cluster = Cluster::start(2, 0);
    let client = |node| Client::connect(&cluster.url([node])).unwrap().with_clock(Arc::new(StandingClock));
    let session = |node| client(node).session().quarantine(Duration::ZERO).open().unwrap();
    for key in ["a", "b", "c", "d"] {
        let grant = session(0).lock(key).acquire().unwrap();
        let waiter = session(1);
        let waiting = std::thread::spawn(move || waiter.lock(key).acquire().unwrap().release().unwrap());
        let looker = session(0);
        eventually("a place in the wait list", || looker.status(key).unwrap().waiters == 1);
        let listened = || {
            let count = |node: &RedisServer| node.command(&format!("PUBSUB NUMSUB kvlock:gone:kvlock:lock:{key}"));
            cluster.nodes.iter().any(|node| count(node).contains(":1"))
        };
        eventually("it listens", listened);
        grant.release().unwrap();
        eventually("it had the lock", || waiting.is_finished());
    }
}

#[test]
fn a_server_of_its_own_and_a_cluster_without_slots_are_no_cluster_to_lock_on() {
    let server = RedisServer::start();
    let store = Redis::connect(&format!("redis+cluster://{}", server.addr())).unwrap();
    assert!(assert_rejected(store.add("k", b"v", TTL)).contains("redis://host"));
    let node = start_node();
    let store = Redis::connect(&format!("redis+cluster://{}", node.addr())).unwrap();
    assert!(assert_unavailable(store.add("k", b"v", TTL)).contains("slot"));
    assert!(matches!(store.get("k"), Err(StoreError::Unavailable(_))));
    let findings = store.diagnose();
    assert!(findings.iter().any(|finding| finding.severity == Severity::Unfit), "{findings:#?}");
}
