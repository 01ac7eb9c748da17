//! Servers that are full, unfit or taken by others.

use kvlock::store::{DeleteOutcome, KvStore, Severity, Version};
use kvlock_testkit::MemcachedServer;

use crate::support::{TTL, add, assert_rejected, get, store};

#[test]
fn an_add_on_a_full_server_does_not_free_the_lock_that_is_held() {
    let server = MemcachedServer::start_with(&["-M", "-m", "2"]);
    let store = store(&server);
    let value = "v".repeat(1000);
    let held = add(&store, "held", &value);
    assert!(server.command(&format!("ms control {} c\r\n{value}", value.len())).starts_with("HD"));
    let full = (0..10_000).find_map(|n| store.add(&format!("filler-{n}"), value.as_bytes(), TTL).err());
    let text = assert_rejected(full.map_or(Ok(()), Err));
    assert!(text.contains("out of memory") && text.contains("-m"), "{text}");
    for _ in 0..3 {
        assert_rejected(store.add("held", value.as_bytes(), TTL));
        assert_rejected(store.replace("held", value.as_bytes(), TTL, Version { number: held.number + 1, ..held }));
    }
    assert_eq!(get(&store, "held").version, held);
    // The control: the add of the meta protocol frees what it fails to overwrite.
    let meta_add = server.command(&format!("ms control {} ME c\r\n{value}", value.len()));
    assert!(meta_add.starts_with("SERVER_ERROR"), "{meta_add}");
    assert_eq!(server.command("mg control c"), "EN\r\n");
    assert_eq!(store.delete("held", held).unwrap(), DeleteOutcome::Deleted);
}

#[test]
fn an_item_larger_than_the_server_takes_is_rejected_and_the_store_works_on() {
    let server = MemcachedServer::start_with(&["-I", "512k", "-o", "slab_chunk_max=128"]);
    let store = store(&server);
    let held = add(&store, "k", "v");
    let text = assert_rejected(store.add("k", &vec![b'v'; 900_000], TTL));
    assert!(text.contains("too large") && text.contains("-I"), "{text}");
    assert_eq!(get(&store, "k").version, held);
}

#[test]
fn a_server_without_cas_is_refused() {
    let server = MemcachedServer::start_with(&["-C"]);
    let store = store(&server);
    assert!(assert_rejected(store.add("k", b"v", TTL)).contains("-C"));
    assert!(assert_rejected(store.era("k")).contains("-C"));
    assert_eq!(server.command("mg k"), "EN\r\n");
    let findings = store.diagnose();
    assert!(findings.iter().any(|f| f.check == "cas" && f.severity == Severity::Unfit), "{findings:#?}");
}

#[test]
fn a_foreign_value_under_the_epoch_key_is_refused_and_left_alone() {
    let server = MemcachedServer::start();
    server.command("set kvlock:epoch 0 0 2\r\n42");
    assert!(assert_rejected(store(&server).add("k", b"v", TTL)).contains("42"));
    assert!(server.command("get kvlock:epoch").contains("42"));
}

#[test]
fn the_diagnosis_of_a_good_server_is_good_and_of_a_lossy_one_is_not() {
    let good = MemcachedServer::start_with(&["-F", "-o", "temporary_ttl=61,no_slab_reassign"]);
    let findings = store(&good).diagnose();
    assert!(findings.iter().all(|f| f.severity == Severity::Ok && f.subject == good.addr()), "{findings:#?}");
    let checks: Vec<_> = findings.iter().map(|f| f.check).collect();
    assert_eq!(
        checks,
        ["reachable", "version", "cas", "one server", "era", "losses", "memory", "eviction", "clock", "flush"]
    );
    let lossy = MemcachedServer::start();
    lossy.flush();
    let findings = store(&lossy).diagnose();
    let warned: Vec<_> = findings.iter().filter(|f| f.severity == Severity::Warning).map(|f| f.check).collect();
    assert_eq!(warned, ["losses", "eviction"], "{findings:#?}");
    assert!(findings.iter().all(|f| f.text.lines().count() == 1), "{findings:#?}");
}
