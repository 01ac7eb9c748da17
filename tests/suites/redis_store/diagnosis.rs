//! What `doctor` says.

use kvlock::store::{Finding, KvStore, Severity};
use kvlock_testkit::RedisServer;

use crate::support::{store, store_with};

fn checks(findings: &[Finding], severity: Severity) -> Vec<&'static str> {
    findings.iter().filter(|finding| finding.severity == severity).map(|finding| finding.check).collect()
}

#[test]
fn a_good_server_is_fit() {
    let server = RedisServer::start();
    let findings = store(&server).diagnose();
    assert!(findings.iter().all(|f| f.severity == Severity::Ok && f.subject == server.addr()), "{findings:#?}");
    let all = [
        "reachable",
        "version",
        "role",
        "one master",
        "era",
        "clock",
        "replicas",
        "eviction",
        "memory",
        "persistence",
        "settings",
    ];
    assert_eq!(checks(&findings, Severity::Ok), all);
    assert!(findings.iter().all(|f| f.text.lines().count() == 1), "{findings:#?}");
}

#[test]
fn a_server_that_evicts_locks_is_unfit_and_one_that_evicts_others_is_fit() {
    let server = RedisServer::start_with(&["--maxmemory", "20mb", "--maxmemory-policy", "allkeys-lru"]);
    assert_eq!(checks(&store(&server).diagnose(), Severity::Unfit), ["eviction"]);
    server.command("CONFIG SET maxmemory-policy volatile-lru");
    assert_eq!(checks(&store(&server).diagnose(), Severity::Unfit), [""; 0]);
}

#[test]
fn replicas_are_a_condition_until_they_are_asked_for_and_needed() {
    let (master, replica) = (RedisServer::start(), RedisServer::start());
    assert_eq!(checks(&store_with(&master, "replicas=1").diagnose(), Severity::Unfit), ["replicas"]);
    replica.replicate(&master);
    let findings = store(&master).diagnose();
    assert_eq!(checks(&findings, Severity::Warning), ["replicas"], "{findings:#?}");
    assert_eq!(checks(&store_with(&master, "replicas=1").diagnose(), Severity::Warning), ["replicas"]);
    master.command("CONFIG SET min-replicas-to-write 1");
    let findings = store_with(&master, "replicas=1").diagnose();
    assert_eq!(checks(&findings, Severity::Warning), [""; 0], "{findings:#?}");
}

#[test]
fn a_server_that_hides_its_settings_is_told_as_such() {
    let server = RedisServer::start();
    server.command("ACL SETUSER some on >pw ~* +@all -config");
    let url = format!("redis://some:pw@{}", server.addr());
    let findings = kvlock::store::Redis::connect(&url).unwrap().diagnose();
    assert!(findings.iter().any(|f| f.check == "settings" && f.text.contains("hidden")), "{findings:#?}");
}
