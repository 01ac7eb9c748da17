//! The command on a cluster, as its users run it.

use kvlock_testkit::EtcdCluster;
use kvlock_tests::Kvlock;

#[test]
fn no_increment_is_lost_by_eight_processes() {
    let cluster = EtcdCluster::start(3);
    let home = tempfile::tempdir().unwrap();
    let kvlock = Kvlock::on(&format!("{}?timeout=20s", cluster.url()), home.path());
    kvlock.assert_no_increment_is_lost(6, &[]);
    // Each process has taken its lease along. The line of those who waited has one.
    assert!(cluster.leases() <= 2, "{}", cluster.leases());
}

#[test]
fn a_grant_goes_from_command_to_command_and_doctor_finds_the_cluster_fit() {
    let cluster = EtcdCluster::start(1);
    let home = tempfile::tempdir().unwrap();
    let kvlock = Kvlock::on(&format!("{}?timeout=20s", cluster.url()), home.path());
    let grant = kvlock.ok(["acquire", "k", "--lease", "1m"]);
    assert_eq!(kvlock.run(["run", "k", "--wait", "0", "--", "true"]).code, 75);
    assert!(kvlock.ok(["status", "k"]).contains("held by"));
    let renewed = kvlock.ok(["renew", &grant]);
    kvlock.ok(["release", &renewed]);
    assert_eq!(kvlock.run(["run", "k", "--wait", "0", "--", "true"]).code, 0);
    assert_eq!(cluster.leases(), 0);
    let doctor = kvlock.run(["doctor"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    for check in ["reachable", "quorum", "members", "version", "token", "alarms", "space", "leader", "era"] {
        assert!(doctor.stdout.contains(&format!(" {check}: ")), "{check}: {}", doctor.stdout);
    }
}

#[test]
fn a_password_is_never_told() {
    let home = tempfile::tempdir().unwrap();
    for url in ["etcd://me:hunter2@127.0.0.1:1", "etcd://me:hunter2@127.0.0.1:1/path", "etcd://me:hunter2@a b"] {
        let kvlock = Kvlock::on(url, home.path());
        let run = ["run", "k", "--wait", "0", "--", "true"].as_slice();
        for arguments in [run, &["-v", "status", "k"], &["doctor"], &["--help"]] {
            let output = kvlock.run(arguments);
            assert!(!output.stdout.contains("hunter2") && !output.stderr.contains("hunter2"), "{output:?}");
        }
    }
}
