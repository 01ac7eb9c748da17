//! The example does what it is to show.

use std::collections::BTreeSet;

use kvlock::Client;
use kvlock_catalogue::{Work, compose, index};
use wit_component::DecodedWasm;

const WORK: Work = Work { instances: 6, entries: 10, careless: false };

#[track_caller]
fn assert_complete(entries: Vec<String>) {
    assert_eq!(entries.len(), WORK.instances * WORK.entries);
    assert_eq!(entries.iter().collect::<BTreeSet<_>>().len(), entries.len(), "each of them once");
}

#[test]
fn no_entry_is_lost_by_instances_that_lock_through_the_composed_component() {
    assert_complete(index(&Client::connect("memory:").unwrap(), WORK).unwrap());
}

#[test]
fn no_entry_is_lost_over_a_store_that_processes_share() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("local:{}", folder.path().join("locks.db").display());
    assert_complete(index(&Client::connect(&url).unwrap(), WORK).unwrap());
}

#[test]
fn without_the_lock_entries_are_lost() {
    let entries = index(&Client::connect("memory:").unwrap(), Work { careless: true, ..WORK }).unwrap();
    assert!(entries.len() < WORK.instances * WORK.entries, "{}", entries.len());
}

#[test]
fn without_a_store_nothing_is_written() {
    let store = kvlock::store::Memory::default();
    store.down();
    let error = index(&Client::with_store(store), WORK).unwrap_err();
    assert!(format!("{error:#}").contains("no lock of `books`"), "{error:#}");
}

#[test]
fn the_composed_component_imports_documents_and_what_a_lock_needs_and_no_lock() {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(&compose().unwrap()).unwrap() else {
        panic!("not a component");
    };
    let mut imports: Vec<_> = resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key)).collect();
    imports.sort();
    let expected = [
        "example:catalogue/documents@0.1.0",
        "kvlock:lock/kv-store@0.1.0",
        "kvlock:lock/types@0.1.0",
        "wasi:clocks/monotonic-clock@0.2.0",
        "wasi:io/poll@0.2.0",
        "wasi:random/random@0.2.0",
    ];
    assert_eq!(imports, expected);
    let exports: Vec<_> = resolve.worlds[world].exports.keys().map(|key| resolve.name_world_key(key)).collect();
    assert_eq!(exports, ["example:catalogue/indexer@0.1.0"]);
}
