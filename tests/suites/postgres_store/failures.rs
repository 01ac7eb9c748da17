//! Servers that cannot be reached, that refuse, and answers that do not come.

use std::time::Duration;

use kvlock::store::{KvStore, Postgres, Severity, Version, WriteOutcome};
use kvlock_testkit::PostgresServer;
use kvlock_tests::kvlock::eventually;
use kvlock_tests::{Mode, Proxy, Watch, faults};

use crate::support::{
    SECOND, SETTINGS, TTL, World, add, assert_invalid, assert_rejected, assert_unavailable, assert_unknown, get,
    server, store,
};

fn through(proxy: &Proxy, world: &World) -> String {
    format!("postgres://postgres@{}/{}", proxy.addr(), world.database)
}

#[test]
fn who_cannot_be_reached_is_named_with_the_reason() {
    let mut server = server();
    let url = server.url();
    server.stop();
    let text = assert_unavailable(store(&url).add("k", b"v", TTL));
    assert!(text.contains(&server.addr()) && text.contains("refused"), "{text}");
    let unknown = store("postgres://me@no-such-host.invalid/db");
    let text = assert_unavailable(unknown.get("k"));
    assert!(text.contains("no-such-host.invalid:5432") && text.contains("check how"), "{text}");
    let two = store(&format!("postgres://me@no-such-host.invalid,{}/db", server.addr()));
    let text = assert_unavailable(two.get("k"));
    assert!(text.contains("no-such-host.invalid") && text.contains("refused"), "{text}");
    let folder = store("postgres:///db?host=/no/such/folder&user=me");
    assert!(assert_unavailable(folder.get("k")).contains("/no/such/folder/.s.PGSQL.5432"));
}

#[test]
fn a_wrong_login_is_refused_and_its_password_is_not_shown() {
    let server = server();
    server.sql("CREATE ROLE app LOGIN PASSWORD 'right'");
    server.hba("host all all 127.0.0.1/32 scram-sha-256");
    let url = |login: &str| format!("postgres://{login}@{}/postgres", server.addr());
    let text = assert_rejected(store(&url("app:hunter2")).add("k", b"v", TTL));
    assert!(text.contains("28P01") && !text.contains("hunter2"), "{text}");
    let text = assert_rejected(store(&format!("{}?passfile=/no/such/file", url("app"))).get("k"));
    assert!(text.contains("PGPASSWORD"), "{text}");
    let text = assert_rejected(
        store(&format!("postgres://postgres@{}/none", server.addr()).replace("postgres@", "app:right@")).get("k"),
    );
    assert!(text.contains("none") && text.contains("3D000"), "{text}");
    // A file of passwords serves as well, unless others may read it.
    let file = server.folder().join("pass");
    std::fs::write(&file, format!("127.0.0.1:{}:*:app:right\n", server.port())).unwrap();
    let with_file = || store(&format!("{}?passfile={}", url("app"), file.display()));
    let mode = |mode| std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o644);
    let text = assert_rejected(with_file().get("k"));
    assert!(text.contains("chmod 600") && !text.contains("right"), "{text}");
    mode(0o600);
    server.sql("GRANT CREATE ON DATABASE postgres TO app");
    add(&with_file(), "k", "v");
    assert_eq!(get(&store(&url("app:right")), "k").value, b"v");
    assert!(!format!("{:?}", store(&url("app:right"))).contains("right"));
}

#[test]
fn a_server_without_a_free_connection_is_an_outage() {
    let server = PostgresServer::start_with(&["max_connections=5", "superuser_reserved_connections=3"]);
    server.sql("CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app");
    let url = server.url().replace("postgres@", "app@");
    let stores: Vec<Postgres> = (0..3).map(|_| store(&url)).collect();
    add(&stores[0], "k", "v");
    get(&stores[1], "k");
    let text = assert_unavailable(stores[2].get("k"));
    assert!(text.contains("53300"), "{text}");
    drop(stores);
    eventually("a free connection", || store(&url).get("k").is_ok());
}

#[test]
fn a_cut_before_the_request_or_a_lost_reply_leaves_the_outcome_unknown() {
    let world = World::new();
    let proxy = Proxy::start(&world.server.addr());
    let store = store(&through(&proxy, &world));
    faults::cut_requests_and_lost_replies_leave_the_outcome_unknown(&proxy, &store, |store| {
        // Prepares the statement.
        for _ in 0..2 {
            let version = add(store, "warm", "v");
            store.delete("warm", version).unwrap();
        }
    });
}

#[test]
fn a_read_that_fails_on_an_old_connection_is_asked_again_on_a_new_one() {
    let world = World::new();
    let proxy = Proxy::start(&world.server.addr());
    faults::a_cut_read_is_asked_again(&proxy, &store(&through(&proxy, &world)));
}

#[test]
fn a_backend_that_is_ended_while_idle_does_not_show() {
    let world = World::new();
    let store = world.store();
    let version = add(&store, "k", "v");
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE application_name = 'kvlock' AND datname = current_database()";
    assert_eq!(world.sql(end), "1");
    eventually("its end", || {
        world.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kvlock' AND datname = current_database()",
        ) == "0"
    });
    // The end of the connection is on its way to us.
    std::thread::sleep(Duration::from_millis(200));
    assert!(matches!(store.add("other", b"v", TTL).unwrap(), WriteOutcome::Written(_)));
    assert_eq!(get(&store, "k").version, version);
}

#[test]
fn a_write_that_waits_for_a_row_is_given_up_by_the_server_and_not_done() {
    let world = World::new();
    let impatient = Postgres::connect(&format!("{}?timeout=3s&connect_timeout=20s", world.url())).unwrap();
    let store = world.store();
    let version = add(&store, "k", "v");
    // Three times, so that it is prepared.
    for n in 0..3 {
        add(&impatient, &format!("warm{n}"), "v");
    }
    std::thread::scope(|scope| {
        let hold = "BEGIN; SELECT pg_advisory_lock(1); UPDATE kvlock.entries SET written = written WHERE key = 'k'; \
                    SELECT pg_sleep(8); ROLLBACK";
        let holder = scope.spawn(|| world.sql(hold));
        eventually("the row is held", || {
            world.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") == "1"
        });
        std::thread::sleep(Duration::from_millis(300));
        let text = assert_unavailable(impatient.replace("k", b"w", TTL, version));
        assert!(text.contains("55P03"), "{text}");
        holder.join().unwrap();
    });
    std::thread::sleep(SECOND);
    assert_eq!((get(&store, "k").value, get(&store, "k").version), (b"v".to_vec(), version));
    assert!(matches!(impatient.replace("k", b"w", TTL, version).unwrap(), WriteOutcome::Written(_)));
}

#[test]
fn a_reply_that_comes_late_belongs_to_nobody() {
    let world = World::new();
    let proxy = Proxy::start(&world.server.addr());
    let url = format!("{}?timeout=1s&connect_timeout=10s", through(&proxy, &world));
    let store = Postgres::connect(&url).unwrap();
    warm_up(&store, "mine");
    proxy.set(Mode::Hold);
    assert_unknown(store.add("late", b"v", TTL));
    proxy.set(Mode::Pass);
    eventually("an answer", || store.get("mine").is_ok_and(|entry| entry.is_some_and(|entry| entry.value == b"v")));
    // The request itself was delivered late, and took effect: that is what `unknown` means.
    eventually("the held request", || store.get("late").is_ok_and(|entry| entry.is_some()));
}

#[test]
fn a_frozen_or_unreachable_server_costs_a_bounded_time() {
    let server = server();
    let proxy = Proxy::start(&server.addr());
    let url = format!("postgres://postgres@{}/postgres?timeout=700ms&connect_timeout=700ms", proxy.addr());
    let store = Postgres::connect(&url).unwrap();
    let timed = |run: &dyn Fn()| {
        let start = Watch::start();
        run();
        start.assert_within(Duration::from_secs(5));
    };
    for frozen in [true, false] {
        // On a busy machine an answer may take longer than that.
        let version = warm_up(&store, "k");
        if frozen {
            server.freeze()
        } else {
            proxy.set(Mode::Blackhole)
        }
        timed(&|| drop(assert_unknown(store.add("other", b"v", TTL))));
        timed(&|| drop(assert_unavailable(store.get("k"))));
        timed(&|| drop(assert_unavailable(store.delete("k", version))));
        timed(&|| drop(assert_unavailable(store.era("k"))));
        timed(&|| assert_eq!(store.diagnose()[0].severity, Severity::Unfit));
        if frozen { server.thaw() } else { proxy.set(Mode::Pass) }
    }
}

/// Writes until a connection has all that it needs, so that the next request is the write itself; and reads.
fn warm_up(store: &Postgres, key: &str) -> Version {
    let mut in_a_row = 0;
    eventually("a connection", || {
        in_a_row = if store.add(key, b"v", TTL).is_ok() { in_a_row + 1 } else { 0 };
        in_a_row == 3
    });
    let mut found = None;
    eventually("an entry", || {
        found = store.get(key).ok().flatten();
        found.is_some()
    });
    found.unwrap().version
}

/// The server answers success and a warning if the wait for a standby is cancelled.
#[test]
fn a_commit_that_did_not_wait_for_its_standby_has_no_known_outcome() {
    let mut settings = SETTINGS.to_vec();
    settings.push("lc_messages=C");
    let server = PostgresServer::start_with(&settings);
    let store = store(&server.url());
    let version = add(&store, "k", "v");
    server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    server.sql("SELECT pg_reload_conf()");
    std::thread::scope(|scope| {
        // The server takes its time to read the setting.
        let writer = scope.spawn(|| {
            let mut version = version;
            loop {
                match store.replace("k", b"w", TTL, version) {
                    Ok(WriteOutcome::Written(written)) => version = written,
                    answer => break answer,
                }
            }
        });
        let waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        eventually("the wait for a standby", || !server.sql(waiting).is_empty());
        server.sql(&format!("SET synchronous_commit = off; SELECT pg_cancel_backend(pid) FROM ({waiting}) AS waiting"));
        let text = assert_unknown(writer.join().unwrap());
        assert!(text.contains("standby"), "{text}");
    });
    // It is there, as `unknown` allows.
    assert_eq!(get(&store, "k").value, b"w");
    let findings = store.diagnose();
    let warned: Vec<_> = findings.iter().filter(|f| f.severity == Severity::Warning).map(|f| f.check).collect();
    assert_eq!(warned, ["replication"], "{findings:#?}");
}

#[test]
fn a_standby_or_a_read_only_server_is_no_store() {
    let world = World::new();
    let store = world.store();
    world.server.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", world.database));
    let text = assert_unavailable(store.add("k", b"v", TTL));
    assert!(text.contains("standby"), "{text}");
}

#[test]
fn a_url_that_is_none_names_its_part_and_no_password() {
    for (url, part) in [
        ("postgres://a/db?sslmode=always", "`sslmode`"),
        ("postgres://a/db?sslmode=verify-full&sslrootcert=/no/such/file", "/no/such/file"),
        ("postgres://a/db?target_session_attrs=standby", "read-write"),
        ("postgres://a/db?connections=0", "`connections`"),
        ("postgres://a/db?time-out=2s", "`connect_timeout`"),
        ("postgres://a/db?timeout=0", "`timeout`"),
        ("postgres://a:port/db", "`a:port`"),
        ("postgres://a,,b/db", "the host is missing"),
        ("postgres://%2Frun,b/db", "`host=`"),
        ("postgres://a/db?host=b", "twice"),
        ("postgres:///db?host=b,c&hostaddr=127.0.0.1", "different lengths"),
        ("postgres://me:hunter2@a/db?passwort=hunter3", "`passwort`"),
        ("mysql://a", "begins with"),
    ] {
        let text = assert_invalid(Postgres::connect(url));
        assert!(text.contains(part) && !text.contains("hunter"), "`{url}`: {text}");
    }
}
