//! The command on PostgreSQL.

use kvlock_tests::Kvlock;

use crate::support::World;

fn kvlock(url: &str) -> (Kvlock, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Kvlock::on(&format!("{url}?timeout=20s&connect_timeout=20s"), folder.path()), folder)
}

#[test]
fn no_increment_is_lost_by_eight_processes() {
    let world = World::new();
    let (kvlock, _folder) = kvlock(&world.url());
    kvlock.assert_no_increment_is_lost(5, &[]);
}

#[test]
fn a_grant_is_taken_up_shown_and_released() {
    let world = World::new();
    let (kvlock, _folder) = kvlock(&world.url());
    let grant = kvlock.ok(["acquire", "k", "--wait", "0", "--lease", "5m"]);
    kvlock.run(["run", "k", "--wait", "0", "--", "true"]).assert_refused(75, &["busy"]);
    assert!(kvlock.ok(["status", "k"]).contains("held"));
    let grant = kvlock.ok(["renew", &grant]);
    kvlock.ok(["release", &grant]);
    assert_eq!(kvlock.ok(["run", "k", "--wait", "0", "--", "echo", "ran"]), "ran");
}

#[test]
fn migrate_prints_its_sql_or_makes_the_tables() {
    let world = World::new();
    world.sql("CREATE ROLE \"command test\" LOGIN");
    let (kvlock, _folder) = kvlock(&world.url());
    let sql = kvlock.ok(["migrate", "--print", "command test"]);
    assert!(sql.starts_with("BEGIN;\n") && sql.ends_with("COMMIT;") && sql.contains("TO \"command test\""), "{sql}");
    assert_eq!(world.sql("SELECT to_regnamespace('kvlock') IS NULL"), "t");
    let told = kvlock.ok(["migrate", "command test"]);
    assert!(told.contains("command test"), "{told}");
    assert_eq!(world.sql("SELECT has_table_privilege('command test', 'kvlock.entries', 'update')"), "t");
    kvlock.ok(["migrate"]);
    kvlock.run(["migrate", "nobody here"]).assert_refused(69, &["nobody here"]);
    // Only a store with tables has them to be made.
    let local = kvlock.run(["--store", "local:/nowhere/locks.db", "migrate"]);
    local.assert_refused(64, &["postgres://"]);
}

#[test]
fn the_doctor_exits_by_what_it_finds() {
    let world = World::new();
    let (kvlock, _folder) = kvlock(&world.url());
    assert!(kvlock.ok(["doctor"]).contains("durability: fsync and full_page_writes are on"));
    let (stranger, _folder) = self::kvlock(&world.url().replace("postgres@", "nobody-here:hunter2@"));
    let output = stranger.run(["doctor"]);
    assert!(output.code == 69 && output.stdout.contains("UNFIT") && !output.stdout.contains("hunter2"), "{output:?}");
}
