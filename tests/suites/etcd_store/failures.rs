//! Members that cannot be reached, and answers that do not come.

use kvlock::store::{DeleteOutcome, Etcd, KvStore, Severity, WriteOutcome};
use kvlock_testkit::EtcdCluster;
use kvlock_tests::kvlock::eventually;
use kvlock_tests::{Mode, Proxy, Watch, faults};

use crate::support::{SECOND, TTL, add, assert_unavailable, assert_unknown, get, store};

/// A client with a proxy between it and the cluster's first member.
fn through(proxy: &Proxy, parameters: &str) -> Etcd {
    Etcd::connect(&format!("etcd://{}?{parameters}", proxy.addr())).unwrap()
}

#[test]
fn a_server_that_cannot_be_reached_is_named_with_the_reason() {
    let mut cluster = EtcdCluster::start(1);
    let store = store(&cluster);
    add(&store, "k", "v");
    cluster.kill(0);
    for text in [assert_unavailable(store.add("l", b"v", TTL)), assert_unavailable(store.get("k"))] {
        assert!(text.contains(&cluster.addr(0)) && text.contains("refused"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text:?}");
    }
    let unknown = Etcd::connect("etcd://no-such-host.invalid").unwrap();
    let text = assert_unavailable(unknown.get("k"));
    assert!(text.contains("no-such-host.invalid:2379") && text.contains("check how"), "{text}");
    assert_eq!(unknown.diagnose().iter().map(|finding| finding.severity).max(), Some(Severity::Unfit));
}

#[test]
fn a_lost_reply_leaves_the_outcome_of_a_write_unknown_and_nothing_is_sent_twice() {
    let cluster = EtcdCluster::start(1);
    let proxy = Proxy::start(&cluster.addr(0));
    let store = through(&proxy, "timeout=20s");
    let version = add(&store, "k", "v");
    // A lease at hand, so that the next request is the write itself.
    let spare = add(&store, "spare", "v");
    assert_eq!(store.delete("spare", spare), Ok(DeleteOutcome::Deleted));
    proxy.set(Mode::DropNextReply);
    let text = assert_unknown(store.add("lost", b"v", TTL));
    assert!(text.contains(&proxy.addr()), "{text}");
    // Had it been sent twice, the second time would have been a conflict.
    assert_eq!(get(&store, "lost").value, b"v");
    proxy.set(Mode::DropNextReply);
    assert_unknown(store.delete("k", version));
    assert_eq!(store.get("k").unwrap(), None);
    let version = get(&store, "lost").version;
    proxy.set(Mode::CutNextRequest);
    assert_unknown(store.delete("lost", version));
    assert_eq!(get(&store, "lost").version, version);
}

#[test]
fn a_read_whose_connection_was_cut_is_asked_again() {
    let cluster = EtcdCluster::start(1);
    let proxy = Proxy::start(&cluster.addr(0));
    faults::a_cut_read_is_asked_again(&proxy, &through(&proxy, "timeout=20s"));
}

#[test]
fn a_reply_that_comes_late_belongs_to_nobody() {
    let cluster = EtcdCluster::start(1);
    let (hasty, patient) = (Etcd::connect(&format!("{}?timeout=1s", cluster.url())).unwrap(), store(&cluster));
    add(&patient, "mine", "v");
    let version = add(&patient, "late", "v");
    eventually("an answer", || hasty.get("mine").is_ok());
    cluster.stop(0);
    assert_unknown(hasty.delete("late", version));
    cluster.cont(0);
    // The reply comes when nobody waits for it. What is asked next has its own.
    for _ in 0..10 {
        eventually("an answer", || hasty.get("mine").is_ok_and(|entry| entry.is_some_and(|entry| entry.value == b"v")));
    }
    assert_eq!(get(&patient, "mine").value, b"v");
    // The member has carried it out, or has seen that its client was gone.
    let again = patient.delete("late", version);
    assert!(matches!(again, Ok(DeleteOutcome::Deleted | DeleteOutcome::Absent)), "{again:?}");
}

#[test]
fn a_frozen_member_costs_a_bounded_time() {
    let cluster = EtcdCluster::start(1);
    let patient = store(&cluster);
    let version = add(&patient, "k", "v");
    let hasty = Etcd::connect(&format!("{}?timeout=300ms&connect-timeout=300ms", cluster.url())).unwrap();
    eventually("a connection", || hasty.get("k").is_ok());
    cluster.stop(0);
    let timed = |run: &dyn Fn()| {
        let watch = Watch::start();
        run();
        watch.assert_within(3 * SECOND);
    };
    timed(&|| drop(assert_unavailable(hasty.get("k"))));
    timed(&|| drop(assert_unavailable(hasty.era("k"))));
    timed(&|| drop(assert_unknown(hasty.delete("k", version))));
    // The lease is not granted, so the write is not sent.
    timed(&|| drop(assert_unavailable(hasty.add("l", b"v", TTL))));
    timed(&|| assert_eq!(hasty.diagnose()[0].severity, Severity::Unfit));
    cluster.cont(0);
    eventually("an answer", || hasty.get("k").is_ok());
    // The deletion was sent, and took place, unless the member has seen that its client was gone.
    let again = patient.delete("k", version);
    assert!(matches!(again, Ok(DeleteOutcome::Deleted | DeleteOutcome::Absent)), "{again:?}");
}

#[test]
fn another_member_is_asked_where_nothing_was_sent() {
    let mut cluster = EtcdCluster::start(3);
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("etcd://{away},{},{}?timeout=20s", cluster.addr(1), cluster.addr(2));
    let store = Etcd::connect(&url).unwrap();
    let version = add(&store, "k", "v");
    cluster.kill(1);
    eventually("a leader", || store.get("k").is_ok());
    assert!(matches!(store.add("k", b"w", TTL), Ok(WriteOutcome::Conflict(Some(told))) if told == version));
    let findings = store.diagnose();
    let unreachable: Vec<_> = findings
        .iter()
        .filter(|finding| finding.check == "reachable" && finding.severity == Severity::Warning)
        .collect();
    assert_eq!(unreachable.len(), 2, "{findings:#?}");
    assert!(findings.iter().all(|finding| finding.severity < Severity::Unfit), "{findings:#?}");
}
