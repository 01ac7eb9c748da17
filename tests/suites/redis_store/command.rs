//! The command on Redis.

use std::time::Duration;

use kvlock_testkit::RedisServer;
use kvlock_tests::Kvlock;

fn increments(url: &str) {
    let folder = tempfile::tempdir().unwrap();
    Kvlock::on(url, folder.path()).assert_no_increment_is_lost(25, &["--interval", "5ms"]);
}

#[test]
fn no_increment_is_lost_by_eight_processes() {
    let server = RedisServer::start();
    increments(&server.url());
}

#[test]
fn no_increment_is_lost_by_eight_processes_that_wait_for_a_replica() {
    let (master, replica) = (RedisServer::start(), RedisServer::start());
    replica.replicate(&master);
    increments(&format!("{}?replicas=1", master.url()));
}

#[test]
fn acquire_status_renew_and_release_work() {
    let server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let kvlock = Kvlock::on(&server.url().replace("redis", "valkey"), folder.path());
    let word = kvlock.ok(["acquire", "k"]);
    assert_eq!(kvlock.run(["run", "k", "--wait", "0", "--", "true"]).code, 75);
    let word = kvlock.ok(["renew", &word]);
    kvlock.ok(["release", &word]);
    kvlock.ok(["run", "k", "--wait", "0", "--", "true"]);
    assert_eq!(kvlock.run(["doctor"]).code, 0);
}

#[test]
fn a_password_is_in_no_error_and_in_no_help() {
    let server = RedisServer::start_as(&["--requirepass", "right"], "AUTH right");
    let folder = tempfile::tempdir().unwrap();
    for url in [
        format!("redis://:hunter2@{}", server.addr()),
        format!("redis://me:hunter2@{}/x", server.addr()),
        format!("redis://me:hunter2@{}?time=1", server.addr()),
        format!("redis://me:hun/hunter2@{}", server.addr()),
        format!("redis://me:hun?hunter2@{}", server.addr()),
        "redis+unix:///no/such.sock?pass=hunter2&x=y".into(),
        format!("redis+unix://{}?pass=hunter2", server.socket().display()),
        format!("redis+sentinel://{}/main?sentinel-password=hunter2", server.addr()),
        "no-such-scheme://me:hunter2@host".into(),
    ] {
        let kvlock = Kvlock::on(&url, folder.path());
        for arguments in
            [&["run", "k", "--wait", "0", "--", "true"][..], &["status", "k", "-vv"], &["doctor"], &["--help"]]
        {
            let output = kvlock.run(arguments);
            assert!(!format!("{}{}", output.stdout, output.stderr).contains("hunter2"), "{url}: {output:?}");
        }
    }
}

#[test]
fn a_restart_makes_no_second_holder_within_the_quarantine() {
    let mut server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let kvlock = Kvlock::on(&server.url(), folder.path()).with("KVLOCK_QUARANTINE", "3s");
    std::thread::sleep(Duration::from_secs(5));
    kvlock.ok(["acquire", "k", "--lease", "3s"]);
    server.restart();
    let output = kvlock.run(["run", "k", "--wait", "0", "--", "true"]);
    assert_eq!(output.code, 75, "{output:?}");
    let output = kvlock.run(["run", "k", "--wait", "60s", "--", "true"]);
    assert_eq!(output.code, 0, "{output:?}");
}
