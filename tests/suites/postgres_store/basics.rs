//! What is in the tables.

use std::time::Duration;

use kvlock::store::{DeleteOutcome, KvStore, Postgres, Severity, Ttl, WriteOutcome};

use crate::support::{SECOND, SETTINGS, TTL, World, add, get, replace, token};

#[test]
fn an_entry_is_added_replaced_and_deleted_and_its_row_stays() {
    let world = World::new();
    let store = world.store();
    let added = add(&store, "k", "v");
    assert_eq!(store.add("k", b"w", TTL).unwrap(), WriteOutcome::Conflict(Some(added)));
    let replaced = replace(&store, "k", "w", added);
    assert!(replaced.era == added.era && replaced.number > added.number);
    let Some(Ttl::After(left)) = get(&store, "k").time_left else { panic!("an entry with a ttl tells its end") };
    assert!(left <= 60 * SECOND && left > 20 * SECOND, "{left:?}");
    assert_eq!(store.delete("k", added).unwrap(), DeleteOutcome::Conflict(Some(replaced)));
    assert_eq!(store.delete("k", replaced).unwrap(), DeleteOutcome::Deleted);
    assert_eq!(
        world.sql("SELECT key, number, ends, value IS NULL FROM kvlock.entries"),
        format!("k|{}|-infinity|t", replaced.number)
    );
    assert!(add(&store, "k", "again").number > replaced.number);
}

#[test]
fn of_many_adds_one_wins_though_transactions_are_serializable_by_default() {
    let world = World::new();
    world.sql(&format!("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'", world.database));
    assert_eq!(world.sql("SHOW default_transaction_isolation"), "serializable");
    let stores: Vec<_> = (0..8).map(|_| world.store()).collect();
    for round in 0..10 {
        let key = format!("k{round}");
        let outcomes = std::thread::scope(|scope| {
            let add = |store: &Postgres| store.add(&key, b"v", TTL).unwrap();
            let racing: Vec<_> = stores.iter().map(|store| scope.spawn(move || add(store))).collect();
            racing.into_iter().map(|racing| racing.join().unwrap()).collect::<Vec<_>>()
        });
        let written = outcomes.iter().filter(|outcome| matches!(outcome, WriteOutcome::Written(_))).count();
        assert_eq!(written, 1, "{outcomes:?}");
    }
}

#[test]
fn a_busy_add_writes_nothing() {
    let mut settings = SETTINGS.to_vec();
    settings.extend(["autovacuum=off", "bgwriter_delay=10s"]);
    let server = kvlock_testkit::PostgresServer::start_with(&settings);
    let store = crate::support::store(&server.url());
    add(&store, "k", "v");
    // A transaction that writes has a number.
    let next = || server.sql("SELECT pg_snapshot_xmax(pg_current_snapshot())");
    let before = next();
    for _ in 0..50 {
        assert!(matches!(store.add("k", b"w", TTL).unwrap(), WriteOutcome::Conflict(Some(_))));
    }
    assert_eq!(next(), before);
    add(&store, "other", "v");
    assert_ne!(next(), before, "the control: one that writes is seen");
}

#[test]
fn tombstones_are_swept_after_an_hour_and_not_before() {
    let world = World::new();
    let store = world.store();
    for n in 0..30 {
        let version = add(&store, &format!("old{n}"), "v");
        store.delete(&format!("old{n}"), version).unwrap();
        let version = add(&store, &format!("young{n}"), "v");
        store.delete(&format!("young{n}"), version).unwrap();
    }
    add(&store, "held", "v");
    world.sql("UPDATE kvlock.entries SET written = written - interval '2 hours' WHERE key LIKE 'old%' OR key = 'held'");
    let mut version = add(&store, "busy", "v");
    let left = |keys: &str| world.sql(&format!("SELECT count(*) FROM kvlock.entries WHERE key LIKE '{keys}%'"));
    // One write in 256 sweeps, after it has answered.
    for _ in 0..600 {
        version = replace(&store, "busy", "v", version);
    }
    kvlock_tests::kvlock::eventually("a sweep", || left("old") == "0");
    assert_eq!((left("young"), left("held"), left("busy")), ("30".into(), "1".into(), "1".into()));
}

#[test]
fn many_writers_get_numbers_of_their_own_and_growing_for_each_key() {
    let world = World::new();
    let stores: Vec<Postgres> = (0..4).map(|_| world.store()).collect();
    let numbers: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let write = |store: &Postgres| {
            let mut numbers = Vec::new();
            for round in 0..60 {
                let key = format!("k{}", round % 3);
                if let WriteOutcome::Written(version) = store.add(&key, b"v", TTL).unwrap() {
                    let replaced = replace(store, &key, "w", version);
                    assert!(replaced.number > version.number);
                    numbers.extend([version.number, replaced.number]);
                    assert_eq!(store.delete(&key, replaced).unwrap(), DeleteOutcome::Deleted);
                }
            }
            numbers
        };
        let writers: Vec<_> = stores.iter().map(|store| scope.spawn(move || write(store))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let mut all: Vec<u64> = numbers.concat();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "a number was given out twice");
}

/// The control: with rows that are deleted on release, a number drawn early is written late.
#[test]
fn a_number_drawn_before_the_row_is_held_is_not_kept() {
    let world = World::new();
    let store = world.store();
    let before = add(&store, "k", "v");
    store.delete("k", before).unwrap();
    let era = before.era;
    // Holds the row, while an add that has drawn its number waits for it.
    let script = "BEGIN; UPDATE kvlock.entries SET written = written WHERE key = 'k'; SELECT pg_sleep(1); \
                  SELECT nextval('kvlock.number') FROM generate_series(1, 100); COMMIT";
    let (waited, drawn) = std::thread::scope(|scope| {
        let holder = scope.spawn(|| world.sql(script));
        std::thread::sleep(Duration::from_millis(300));
        let waited = add(&store, "k", "w");
        let drawn = holder.join().unwrap();
        (waited, drawn)
    });
    let last: u64 = drawn.lines().last().unwrap().parse().unwrap();
    assert!(waited.number > last, "{waited:?} was drawn before {last}");
    assert!(waited.era == era && token(waited) > token(before));
}

#[test]
fn the_diagnosis_of_a_good_server_is_good_and_names_what_is_not() {
    let world = World::new();
    let store = world.store();
    add(&store, "k", "v");
    let findings = store.diagnose();
    let checks: Vec<_> = findings.iter().map(|finding| finding.check).collect();
    let wanted = [
        "reachable",
        "version",
        "role",
        "durability",
        "replication",
        "tables",
        "era",
        "pooler",
        "connections",
        "snapshots",
        "clock",
        "encryption",
    ];
    assert_eq!(checks, wanted, "{findings:#?}");
    assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
    assert!(findings.iter().all(|finding| finding.text.lines().count() == 1), "{findings:#?}");
    let era = findings.iter().find(|finding| finding.check == "era").unwrap();
    assert_eq!(era.lossless_for, Some(Duration::MAX));

    let unfit = kvlock_testkit::PostgresServer::start();
    let findings = crate::support::store(&unfit.url()).diagnose();
    let worst: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Unfit).collect();
    assert!(worst.len() == 1 && worst[0].check == "durability" && worst[0].text.contains("fsync"), "{findings:#?}");
}
