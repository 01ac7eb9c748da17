//! Crashes, restarts, promotions and restored backups: what is lost, and what a client hears of it.

use std::time::{Duration, Instant};

use kvlock::store::{DeleteOutcome, KvStore, StoreError, Version, WriteOutcome};
use kvlock_testkit::{BaseBackup, PostgresServer};
use kvlock_tests::kvlock::eventually;

use crate::support::{SECOND, SETTINGS, TTL, World, add, get, replace, server, store, token};

/// What a client knew before something happened to the server.
struct Before {
    held: Version,
    released: Version,
}

fn before(store: &impl KvStore) -> Before {
    let write = |key: &str| match store.add(key, b"v", TTL).unwrap() {
        WriteOutcome::Written(version) => version,
        other => panic!("{other:?}"),
    };
    let (held, released) = (write("held"), write("released"));
    assert_eq!(store.delete("released", released).unwrap(), DeleteOutcome::Deleted);
    Before { held, released }
}

/// The era ended: nothing of it counts, and what is granted now is above all that was.
#[track_caller]
fn assert_ended(store: &impl KvStore, before: &Before, lost: Instant) {
    let era = store.era("held").unwrap();
    assert!(era.id > before.held.era, "{era:?}");
    assert!(era.lossless_for <= lost.elapsed(), "{era:?}");
    assert_eq!(store.replace("held", b"w", TTL, before.held).unwrap(), WriteOutcome::Conflict(None));
    assert_eq!(store.delete("held", before.held).unwrap(), DeleteOutcome::Conflict(None));
    let WriteOutcome::Written(version) = store.add("released", b"w", TTL).unwrap() else { panic!("it was released") };
    assert_eq!(version.era, era.id);
    assert!(token(version) > token(before.released) && token(version) > token(before.held), "{version:?}");
}

/// The era goes on, with all that was written in it.
#[track_caller]
fn assert_goes_on(store: &impl KvStore, before: &Before) {
    let era = eventual(|| store.era("held"));
    assert_eq!((era.id, era.lossless_for), (before.held.era, Duration::MAX));
    let entry = store.get("held").unwrap().expect("it was written and flushed");
    assert_eq!(entry.version, before.held);
    assert!(matches!(store.replace("held", b"w", TTL, before.held).unwrap(), WriteOutcome::Written(_)));
    let WriteOutcome::Written(again) = store.add("released", b"w", TTL).unwrap() else { panic!("it was released") };
    assert!(again.era == era.id && again.number > before.released.number && again.number > before.held.number);
}

/// Asks until the server answers.
#[track_caller]
fn eventual<T>(ask: impl Fn() -> Result<T, StoreError>) -> T {
    let mut answer = None;
    eventually("an answer", || {
        answer = ask().ok();
        answer.is_some()
    });
    answer.unwrap()
}

#[test]
fn a_restart_or_a_crash_of_the_server_ends_no_era_and_loses_nothing() {
    let mut server = server();
    let client = store(&server.url());
    let first = before(&client);
    server.restart();
    assert_goes_on(&client, &first);

    let second = Before { held: get(&client, "held").version, ..first };
    server.kill();
    server.start_again();
    assert_eq!(server.sql("SELECT count(*) FROM kvlock.life"), "0");
    let released = get(&client, "released").version;
    client.delete("released", released).unwrap();
    assert_eq!(server.sql("SELECT count(*) FROM kvlock.life"), "1");
    assert_goes_on(&store(&server.url()), &Before { released, ..second });
}

#[test]
fn a_killed_backend_ends_no_era_and_all_that_was_acknowledged_is_there() {
    // The server writes what is not flushed at a commit very late.
    let mut settings = SETTINGS.to_vec();
    settings.extend(["synchronous_commit=off", "wal_writer_delay=10s"]);
    let server = PostgresServer::start_with(&settings);
    let client = store(&server.url());
    server.sql("CREATE TABLE control (n int)");
    let first = add(&client, "first", "v");
    let written: Vec<Version> = (0..40).map(|n| add(&client, &format!("k{n}"), "v")).collect();
    // The control: a commit by the server's default is lost. It is the last one, so nobody flushes it along.
    server.sql("INSERT INTO control VALUES (1)");
    let backend = server.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'kvlock' LIMIT 1");
    let backend = rustix::process::Pid::from_raw(backend.parse().unwrap()).unwrap();
    rustix::process::kill_process(backend, rustix::process::Signal::KILL).unwrap();
    for (n, version) in written.iter().enumerate() {
        let entry = eventual(|| client.get(&format!("k{n}")));
        assert_eq!(entry.expect("it was acknowledged").version, *version);
    }
    assert_eq!(server.sql("SELECT count(*) FROM control"), "0", "the control was flushed");
    let after = add(&client, "after", "v");
    assert!(after.era == first.era && written.iter().all(|version| version.number < after.number));
}

#[test]
fn a_promoted_standby_begins_an_era_and_the_old_primary_goes_on_in_the_old_one() {
    let primary = server();
    let client = store(&primary.url());
    add(&client, "early", "v");
    let standby = primary.copy(BaseBackup::Standby);
    let both = format!("postgres://postgres@{},{}/postgres", standby.addr(), primary.addr());
    // A list of hosts leads to the one that can be written to.
    let roaming = store(&both);
    assert!(get(&roaming, "early").version.number > 0);
    eventually("the standby has it", || standby.sql("SELECT count(*) FROM kvlock.entries") == "1");
    // What is written now does not get there.
    standby.sql("ALTER SYSTEM SET primary_conninfo = ''");
    standby.sql("SELECT pg_reload_conf()");
    eventually("the standby listens no longer", || standby.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0");
    let known = before(&client);
    let lost = Instant::now();
    standby.promote();
    eventually("the promotion", || standby.sql("SELECT pg_is_in_recovery()") == "f");

    let elsewhere = store(&standby.url());
    assert_ended(&elsewhere, &known, lost);
    assert!(elsewhere.get("held").unwrap().is_none(), "the standby never had it");
    // What a promotion cannot end: the guarantees page says so.
    assert!(
        matches!(client.add("elsewhere", b"v", TTL).unwrap(), WriteOutcome::Written(version) if version.era == known.held.era)
    );
    // A client that finds itself on the other server counts from then on.
    drop(primary);
    let era = eventual(|| roaming.era("early"));
    assert!(era.id > known.held.era && era.lossless_for <= lost.elapsed(), "{era:?}");
}

#[test]
fn a_base_backup_that_recovers_to_an_end_begins_an_era() {
    let primary = server();
    let client = store(&primary.url());
    add(&client, "early", "v");
    let restored = primary.copy(BaseBackup::Recovered);
    let known = before(&client);
    drop((client, primary));
    let lost = Instant::now();
    assert!(restored.sql("SELECT pg_walfile_name(pg_current_wal_lsn())").starts_with("00000002"));
    assert_ended(&store(&restored.url()), &known, lost);
}

#[test]
fn a_base_backup_in_the_place_of_its_server_gives_out_no_token_twice() {
    let primary = server();
    let client = store(&primary.url());
    add(&client, "early", "v");
    let backup = primary.copy(BaseBackup::Plain);
    let known = before(&client);
    drop((client, primary));
    let restored = store(&backup.url());
    // It looks like a crash: the guarantees page says what that means.
    assert_eq!(restored.era("k").unwrap().id, known.held.era);
    assert_eq!(restored.replace("held", b"w", TTL, known.held).unwrap(), WriteOutcome::Absent);
    let again = add(&restored, "held", "w");
    assert!(again.number > known.held.number && again.number > known.released.number, "{again:?}");
}

#[test]
fn a_restored_dump_begins_an_era_in_another_database_and_in_the_same() {
    let world = World::new();
    let client = world.store();
    add(&client, "early", "v");
    let dump = world.server.folder().join(format!("{}.sql", world.database));
    let made = world
        .server
        .program("pg_dump")
        .args(["--clean", "--dbname", &world.database])
        .arg("--file")
        .arg(&dump)
        .status();
    assert!(made.unwrap().success());
    let known = before(&client);
    let restore = |database: &str| {
        let mut psql = world.server.program("psql");
        psql.args(["-X", "-q", "-d", database, "-f"]).arg(&dump).stdout(std::process::Stdio::null());
        // It complains about what is not there to be dropped.
        assert!(psql.stderr(std::process::Stdio::null()).status().unwrap().success());
        assert_eq!(world.server.sql_in(database, "SELECT count(*) FROM kvlock.life"), "1", "a dump has the row");
    };
    let lost = Instant::now();
    let other = format!("{}_restored", world.database);
    world.server.sql(&format!("CREATE DATABASE {other}"));
    restore(&other);
    let elsewhere = store(&world.server.url_of(&other));
    assert_ended(&elsewhere, &known, lost);

    let lost = Instant::now();
    restore(&world.database);
    assert_ended(&client, &known, lost);
    assert!(world.store().era("k").unwrap().lossless_for <= lost.elapsed());
}

#[test]
fn a_database_made_of_another_as_a_template_has_an_era_of_its_own() {
    let world = World::new();
    let known = {
        let client = world.store();
        before(&client)
    };
    let copy = format!("{}_copy", world.database);
    let lost = Instant::now();
    // A template has no users: the connections above end with their store.
    eventually("a copy", || {
        world.server.try_sql("postgres", &format!("CREATE DATABASE {copy} TEMPLATE {}", world.database)).is_ok()
    });
    assert_ended(&store(&world.server.url_of(&copy)), &known, lost);
    assert_goes_on(&world.store(), &known);
}

#[test]
fn dropped_tables_are_made_again_and_begin_an_era() {
    let world = World::new();
    let client = world.store();
    let known = before(&client);
    let lost = Instant::now();
    world.sql("DROP SCHEMA kvlock CASCADE");
    assert!(client.get("held").unwrap().is_none());
    assert_ended(&client, &known, lost);
    // Others hear of it too, because somebody did who had seen the era before.
    assert!(world.store().era("k").unwrap().lossless_for <= lost.elapsed());
}

#[test]
fn a_server_with_smaller_tokens_than_were_seen_begins_an_era_above_them() {
    let (old, mut server) = (World::new(), server());
    add(&old.store(), "k", "v");
    // Begun later, its era is larger.
    server.sql(&format!("CREATE DATABASE {}", old.database));
    let proxy = kvlock_tests::Proxy::start(&server.addr());
    let moving = store(&format!("postgres://postgres@{}/{}", proxy.addr(), old.database));
    let first = add(&moving, "moved", "v");
    assert!(first.era > old.store().era("k").unwrap().id);
    proxy.lead_to(&[&old.server.addr()]);
    let lost = Instant::now();
    server.stop();
    let second = eventual(|| moving.era("k"));
    assert!(second.id > first.era && second.lossless_for <= lost.elapsed() + SECOND, "{second:?} after {first:?}");
    assert!(token(add(&moving, "moved", "v")) > token(first));
    assert_eq!(old.store().era("k").unwrap().id, second.id);
}

#[test]
fn an_old_snapshot_keeps_nothing_from_working() {
    let world = World::new();
    let client = world.store();
    let mut version = add(&client, "k", "v");
    std::thread::scope(|scope| {
        let snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM kvlock.entries; SELECT pg_sleep(2); \
                        SELECT count(*) FROM kvlock.entries; COMMIT";
        let old = scope.spawn(|| world.sql(snapshot));
        for _ in 0..200 {
            version = replace(&client, "k", "v", version);
        }
        assert_eq!(old.join().unwrap(), "1\n\n1");
    });
    assert_eq!(get(&client, "k").version, version);
}
