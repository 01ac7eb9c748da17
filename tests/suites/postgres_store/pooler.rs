//! A pooler in transaction mode, where each statement may have another connection.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};

use kvlock::store::{KvStore, Severity, WriteOutcome};
use kvlock_testkit::process;
use kvlock_tests::kvlock::eventually;

use crate::support::{TTL, World, add, get, replace, store};

/// A pgbouncer in front of a server.
pub(crate) struct Pooler {
    child: Child,
    port: u16,
}

impl Pooler {
    /// None if it is not installed, which is said.
    pub(crate) fn start(world: &World) -> Option<Pooler> {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let folder = world.server.folder();
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr=127.0.0.1\n\
             listen_port={port}\nunix_socket_dir=\nauth_type=any\npool_mode=transaction\ndefault_pool_size=3\n\
             admin_users=postgres\n",
            world.server.port()
        );
        let file = folder.join(format!("{}.ini", world.database));
        std::fs::write(&file, config).unwrap();
        let mut command = process::command("pgbouncer");
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "postgres"]);
        }
        let child = command.arg("-q").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(child) = child else {
            println!("skipped: pgbouncer is not installed (apt-get install pgbouncer)");
            return None;
        };
        let mut pooler = Pooler { child, port };
        eventually("pgbouncer listens", || {
            assert!(pooler.child.try_wait().unwrap().is_none(), "pgbouncer does not start");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(pooler)
    }

    pub(crate) fn url(&self, world: &World) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.port, world.database)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_store_behind_a_pooler_in_transaction_mode_works_and_is_known_as_such() {
    let world = World::new();
    // What a session would set for itself is to be set for the role or the database.
    world.sql(&format!("ALTER DATABASE {} SET default_transaction_isolation = 'repeatable read'", world.database));
    let Some(pooler) = Pooler::start(&world) else { return };
    let stores: Vec<_> = (0..6).map(|_| store(&pooler.url(&world))).collect();
    let direct = world.store();
    for round in 0..20 {
        let key = format!("k{round}");
        let outcomes = std::thread::scope(|scope| {
            let add = |store: &kvlock::store::Postgres| store.add(&key, b"v", TTL).unwrap();
            let racing: Vec<_> = stores.iter().chain([&direct]).map(|store| scope.spawn(move || add(store))).collect();
            racing.into_iter().map(|racing| racing.join().unwrap()).collect::<Vec<_>>()
        });
        let written: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                WriteOutcome::Written(version) => Some(*version),
                _ => None,
            })
            .collect();
        let [version] = written[..] else { panic!("{outcomes:?}") };
        assert_eq!(get(&direct, &key).version, version);
        let replaced = replace(&stores[round % 6], &key, "w", version);
        assert_eq!(get(&stores[(round + 1) % 6], &key).version, replaced);
    }
    let findings = stores[0].diagnose();
    let of =
        |check: &str| findings.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("{findings:#?}"));
    assert!(of("pooler").text.contains("there is one"), "{findings:#?}");
    assert_eq!(of("isolation").severity, Severity::Warning);
    assert_eq!(of("timeouts").severity, Severity::Warning);
    // Nothing that we have set stays behind for others.
    assert_eq!(direct.diagnose().iter().find(|finding| finding.check == "pooler").unwrap().text, "none");
}

/// Other clients of a pooler may have prepared what they like under any name.
#[test]
fn a_pooled_connection_has_no_prepared_statements_of_ours() {
    let world = World::new();
    let Some(pooler) = Pooler::start(&world) else { return };
    let store = store(&pooler.url(&world));
    let mut version = add(&store, "k", "v");
    for _ in 0..10 {
        version = replace(&store, "k", "v", version);
    }
    let listed = world
        .server
        .program("psql")
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", pooler.port.to_string())
        .args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-d",
            &world.database,
            "-c",
            "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%kvlock%'",
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout).trim(), "0", "{listed:?}");
    let direct = world.store();
    for _ in 0..3 {
        get(&direct, "k");
    }
}
