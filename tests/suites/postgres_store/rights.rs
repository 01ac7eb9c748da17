//! Roles that may not do everything, and `migrate`.

use kvlock::store::{KvStore, Postgres, Severity};

use crate::support::{TTL, World, add, assert_rejected, get, replace, store};

/// A role of its own, and a store that logs in as it.
fn app(world: &World) -> (String, Postgres) {
    let role = format!("app \"{}\"", world.database);
    world.sql(&format!("CREATE ROLE \"{}\" LOGIN", role.replace('"', "\"\"")));
    world.sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let login = role.replace(' ', "%20").replace('"', "%22");
    (role, store(&world.url().replace("postgres@", &format!("{login}@"))))
}

#[test]
fn who_may_not_make_the_tables_is_told_how_they_are_made() {
    let world = World::new();
    let (role, app) = app(&world);
    let text = assert_rejected(app.add("k", b"v", TTL));
    assert!(text.contains("kvlock migrate ROLE") && text.contains("42501"), "{text}");
    let findings = app.diagnose();
    let tables = findings.iter().find(|finding| finding.check == "tables").unwrap();
    assert!(tables.severity == Severity::Unfit && tables.text.contains("kvlock migrate"), "{findings:#?}");
    assert_rejected(app.migrate(&[]));

    world.store().migrate(&[]).unwrap();
    let text = assert_rejected(app.get("k"));
    assert!(text.contains("42501") && text.contains("kvlock migrate ROLE"), "{text}");
    world.sql(&format!(
        "GRANT USAGE ON SCHEMA kvlock TO \"{0}\"; GRANT SELECT ON ALL TABLES IN SCHEMA kvlock TO \"{0}\"",
        role.replace('"', "\"\"")
    ));
    let findings = app.diagnose();
    let tables = findings.iter().find(|finding| finding.check == "tables").unwrap();
    assert!(tables.severity == Severity::Unfit && tables.text.contains("UPDATE ON kvlock.entries"), "{findings:#?}");

    world.store().migrate(&[&role]).unwrap();
    // Nothing is lost by doing it again.
    let version = add(&app, "k", "v");
    world.store().migrate(&[&role]).unwrap();
    let version = replace(&app, "k", "w", version);
    assert_eq!(get(&world.store(), "k").version, version);
    let findings = app.diagnose();
    assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
    // It can begin an era, as every client must be able to.
    world.sql("DELETE FROM kvlock.life");
    assert_eq!(replace(&app, "k", "v", version).era, version.era);
}

#[test]
fn the_sql_of_a_migration_makes_what_a_store_needs() {
    let world = World::new();
    let (role, app) = app(&world);
    let sql = Postgres::migration(&[&role]);
    world.sql(&sql);
    world.sql(&sql);
    add(&app, "k", "v");
    assert!(Postgres::migration(&[]).starts_with("BEGIN;\n") && !Postgres::migration(&[]).contains("GRANT"));
}

#[test]
fn many_clients_that_are_the_first_make_the_tables_once() {
    let world = World::new();
    let stores: Vec<_> = (0..8).map(|_| world.store()).collect();
    let eras: Vec<u64> = std::thread::scope(|scope| {
        let first = |n: usize, store: &Postgres| add(store, &format!("k{n}"), "v").era;
        let racing: Vec<_> = stores.iter().enumerate().map(|(n, store)| scope.spawn(move || first(n, store))).collect();
        racing.into_iter().map(|racing| racing.join().unwrap()).collect()
    });
    assert!(eras.iter().all(|era| *era == eras[0]), "{eras:?}");
}
