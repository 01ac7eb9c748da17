//! The component with a store plugged into it, as somebody would publish it: it exports locks, and no `kv-store` is left
//! outside. The tools that take such a component (jco, wkg, Spin) decode it first.

use kvlock_tests::tree::workspace;
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, plug};
use wit_component::{
    ComponentEncoder, DecodedWasm, StringEncoding, WitPrinter, dummy_module, embed_component_metadata,
};
use wit_parser::{ManglingAndAbi, Resolve};

use crate::contract::surface;

/// A component that exports `kv-store`. Nothing calls it here.
fn store() -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_dir(workspace().join("wit")).unwrap();
    let world = "package test:store; world store { export kvlock:lock/kv-store@0.1.0; }";
    let package = resolve.push_str("store.wit", world).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

fn composed() -> Vec<u8> {
    let mut graph = CompositionGraph::new();
    let mut package = |name, bytes| {
        let package = Package::from_bytes(name, None, bytes, graph.types_mut()).unwrap();
        graph.register_package(package).unwrap()
    };
    let (store, lock) = (package("test:store", store()), package("kvlock:component", kvlock::COMPONENT.to_vec()));
    plug(&mut graph, vec![store], lock).unwrap();
    graph.encode(EncodeOptions::default()).unwrap()
}

#[test]
fn a_composed_component_exports_locks_without_a_store_and_its_wit_is_read_and_written_again() {
    let composed = composed();
    let [imports, exports] = surface(&composed).unwrap();
    assert!(!imports.iter().chain(&exports).any(|name| name.contains("kv-store")), "{imports:?} {exports:?}");
    assert!(imports.contains(&"kvlock:lock/types@0.1.0".to_string()), "types alone: {imports:?}");
    assert_eq!(exports, surface(kvlock::COMPONENT).unwrap()[1]);

    let Ok(DecodedWasm::Component(resolve, world)) = wit_component::decode(&composed) else { unreachable!() };
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
