//! What people take: the store as a component, and the lock composed with it, as registries and tools read them.

use kvlock_platforms::{ADAPTER, composed};
use wit_component::{DecodedWasm, WitPrinter};
use wit_parser::{Resolve, WorldId, WorldKey};

/// Every import of the store, all of the first version of WASI 0.2 that there was: any later host serves them.
const IMPORTS: [&str; 12] = [
    "kvlock:lock/types@0.1.0",
    "wasi:cli/environment@0.2.0",
    "wasi:clocks/monotonic-clock@0.2.0",
    "wasi:io/error@0.2.0",
    "wasi:io/poll@0.2.0",
    "wasi:io/streams@0.2.0",
    "wasi:random/random@0.2.0",
    "wasi:sockets/instance-network@0.2.0",
    "wasi:sockets/ip-name-lookup@0.2.0",
    "wasi:sockets/network@0.2.0",
    "wasi:sockets/tcp-create-socket@0.2.0",
    "wasi:sockets/tcp@0.2.0",
];

/// The largest store, in bytes: it is loaded anew for each instance on many platforms.
const MOST: usize = 100_000;

fn decoded(component: &[u8]) -> (Resolve, WorldId) {
    let Ok(DecodedWasm::Component(resolve, world)) = wit_component::decode(component) else { panic!("no component") };
    (resolve, world)
}

/// Names what a component imports and exports.
fn surface(component: &[u8]) -> [Vec<String>; 2] {
    let (resolve, world) = decoded(component);
    let names = |keys: Vec<&WorldKey>| {
        let mut names: Vec<_> = keys.into_iter().map(|key| resolve.name_world_key(key)).collect();
        names.sort();
        names
    };
    let world = &resolve.worlds[world];
    [names(world.imports.keys().collect()), names(world.exports.keys().collect())]
}

#[test]
fn the_store_imports_sockets_of_wasi_0_2_0_and_exports_a_store() {
    assert_eq!(surface(ADAPTER), [IMPORTS.map(String::from).to_vec(), vec!["kvlock:lock/kv-store@0.1.0".to_string()]]);
    assert!(ADAPTER.len() <= MOST, "{} bytes", ADAPTER.len());
}

#[test]
fn the_store_says_what_it_is() {
    let payload = wasm_metadata::Payload::from_binary(ADAPTER).unwrap();
    let metadata = payload.metadata();
    assert_eq!(metadata.name.as_deref(), Some("kvlock-store-memcached"));
    assert_eq!(metadata.version.as_ref().unwrap().to_string(), env!("CARGO_PKG_VERSION"));
    assert_eq!(metadata.licenses.as_ref().unwrap().to_string(), env!("CARGO_PKG_LICENSE"));
    assert!(metadata.description.as_ref().unwrap().to_string().contains("memcached"));
}

#[test]
fn the_lock_composed_with_it_needs_nothing_but_wasi_and_its_wit_is_read_and_written_again() {
    let composed = composed().unwrap();
    let [imports, exports] = surface(&composed);
    assert_eq!(imports, IMPORTS);
    assert_eq!(exports, surface(kvlock::COMPONENT)[1]);
    let (resolve, world) = decoded(&composed);
    let main = resolve.worlds[world].package.unwrap();
    let nested: Vec<_> = resolve.packages.iter().map(|(id, _)| id).filter(|id| *id != main).collect();
    let mut printer = WitPrinter::default();
    printer.print(&resolve, main, &nested).unwrap();
    let mut again = Resolve::default();
    let package = again.push_str("composed.wit", &printer.output.to_string()).unwrap();
    let world = again.select_world(&[package], None).unwrap();
    assert_eq!(again.worlds[world].exports.len(), exports.len());
    wit_component::encode(&again, package).unwrap();
}

#[test]
fn two_composed_of_the_same_are_the_same_byte_for_byte() {
    assert!(composed().unwrap() == composed().unwrap());
}
