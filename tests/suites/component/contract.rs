//! The built component and its WIT, read as an embedder's tools read them: what it imports and exports, what
//! it says about itself, and that every item is documented.

use std::collections::{BTreeMap, BTreeSet};

use kvlock::COMPONENT;
use kvlock_tests::tree::workspace;
use wit_component::DecodedWasm;
use wit_parser::{Docs, Resolve, Stability, TypeDefKind, WorldItem, WorldKey};

/// Every import of the component. What is not here it cannot reach: no file, socket, argument, environment variable.
const IMPORTS: [&str; 5] = [
    "kvlock:lock/kv-store@0.1.0",
    "kvlock:lock/types@0.1.0",
    "wasi:clocks/monotonic-clock@0.2.0",
    "wasi:io/poll@0.2.0",
    "wasi:random/random@0.2.0",
];
const EXPORTS: [&str; 3] =
    ["kvlock:lock/conflict-retry@0.1.0", "kvlock:lock/mutex@0.1.0", "kvlock:lock/semaphore@0.1.0"];

/// Names what a component imports and exports.
pub(crate) fn surface(component: &[u8]) -> Result<[Vec<String>; 2], String> {
    let decoded = wit_component::decode(component).map_err(|error| format!("{error:#}"))?;
    let DecodedWasm::Component(resolve, world) = decoded else { return Err("not a component".to_string()) };
    let names = |items: Vec<&WorldKey>| {
        let mut names: Vec<_> = items.into_iter().map(|key| resolve.name_world_key(key)).collect();
        names.sort();
        names
    };
    let world = &resolve.worlds[world];
    Ok([names(world.imports.keys().collect()), names(world.exports.keys().collect())])
}

#[test]
fn the_component_imports_a_store_a_clock_and_random_numbers_and_exports_what_kvlock_is() {
    let [imports, exports] = surface(COMPONENT).unwrap();
    assert_eq!(imports, IMPORTS);
    assert_eq!(exports, EXPORTS);
}

#[test]
fn the_look_at_imports_finds_one_too_many() {
    let files = r#"(component (import "wasi:filesystem/preopens@0.2.0" (instance)))"#;
    let [imports, exports] = surface(&wat::parse_str(files).unwrap()).unwrap();
    assert_eq!(imports, ["wasi:filesystem/preopens@0.2.0"]);
    assert_eq!(exports, [""; 0]);
    let bare = r#"(component (import "exit" (func)))"#;
    assert_eq!(surface(&wat::parse_str(bare).unwrap()).unwrap()[0], ["exit"]);
}

#[test]
fn the_component_says_what_it_is() {
    let payload = wasm_metadata::Payload::from_binary(COMPONENT).unwrap();
    let metadata = payload.metadata();
    assert_eq!(metadata.name.as_deref(), Some("kvlock"));
    assert_eq!(metadata.version.as_ref().unwrap().to_string(), env!("CARGO_PKG_VERSION"));
    assert_eq!(metadata.licenses.as_ref().unwrap().to_string(), env!("CARGO_PKG_LICENSE"));
    let description = metadata.description.as_ref().unwrap().to_string();
    for (field, text) in [("version", env!("CARGO_PKG_VERSION")), ("description", &description)] {
        assert_eq!(kvlock::embed::component_metadata(field), Some(text));
    }
    assert_eq!(kvlock::embed::component_metadata("revision"), None);
}

#[test]
fn the_component_carries_the_whole_wit_of_what_it_exports() {
    let names = |resolve: &Resolve| {
        let locks = resolve.packages.iter().find(|(_, package)| package.name.namespace == "kvlock").unwrap().1;
        let names = |id: &wit_parser::InterfaceId| {
            let interface = &resolve.interfaces[*id];
            interface.types.keys().chain(interface.functions.keys()).cloned().collect::<BTreeSet<_>>()
        };
        locks.interfaces.iter().map(|(name, id)| (name.clone(), names(id))).collect::<BTreeMap<_, _>>()
    };
    let Ok(DecodedWasm::Component(decoded, _)) = wit_component::decode(COMPONENT) else { unreachable!() };
    let mut written = Resolve::default();
    written.push_dir(workspace().join("wit")).unwrap();
    assert_eq!(names(&decoded), names(&written));
}

#[test]
fn every_item_of_the_wit_is_documented_and_says_since_when() {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(workspace().join("wit")).unwrap();
    let package = resolve.packages[package].name.clone();
    let (found, items) = undocumented(&resolve, &package.namespace);
    assert_eq!(found, [""; 0]);
    assert!(items > 100, "the scan sees {items} items");
}

#[test]
fn the_scan_of_the_wit_finds_what_is_missing() {
    let mut resolve = Resolve::default();
    let text = "package bare:wit@0.1.0;
        /// Documented.
        @since(version = 0.1.0)
        interface good {}
        interface bad {
            record r { field: u8 }
            variant v { yes }
            enum e { no }
            flags f { flag }
            resource thing { method: func(); }
            call: func();
        }
        world w { import good; export bad; }";
    resolve.push_str("bare.wit", text).unwrap();
    let (found, _) = undocumented(&resolve, "bare");
    for item in ["bad", "r", "r.field", "v.yes", "e.no", "f.flag", "thing", "[method]thing.method", "call", "w"] {
        assert!(found.iter().any(|line| line == &format!("{item}: no documentation")), "{item}: {found:#?}");
    }
    for item in ["bad", "r", "v", "e", "f", "thing", "call", "w", "w: good"] {
        assert!(found.iter().any(|line| line == &format!("{item}: no @since")), "{item}: {found:#?}");
    }
    assert!(!found.iter().any(|line| line.starts_with("good")), "{found:#?}");
}

/// A list of what is missing, and how many items were looked at.
#[derive(Default)]
struct Scan {
    found: Vec<String>,
    items: usize,
}

impl Scan {
    fn docs(&mut self, item: &str, docs: &Docs) {
        self.items += 1;
        if docs.contents.as_deref().is_none_or(|text| text.trim().is_empty()) {
            self.found.push(format!("{item}: no documentation"));
        }
    }

    fn since(&mut self, item: &str, stability: &Stability) {
        if !matches!(stability, Stability::Stable { .. }) {
            self.found.push(format!("{item}: no @since"));
        }
    }

    fn parts<'a>(&mut self, item: &str, parts: impl Iterator<Item = (&'a String, &'a Docs)>) {
        parts.for_each(|(part, docs)| self.docs(&format!("{item}.{part}"), docs));
    }
}

/// What lacks a comment or `@since` in the packages of a namespace.
fn undocumented(resolve: &Resolve, namespace: &str) -> (Vec<String>, usize) {
    let mut scan = Scan::default();
    for (_, package) in resolve.packages.iter().filter(|(_, package)| package.name.namespace == namespace) {
        for (name, id) in &package.interfaces {
            let interface = &resolve.interfaces[*id];
            scan.docs(name, &interface.docs);
            scan.since(name, &interface.stability);
            for (name, id) in &interface.types {
                let ty = &resolve.types[*id];
                match &ty.kind {
                    // A `use`: what it names is documented where it is.
                    TypeDefKind::Type(wit_parser::Type::Id(_)) => continue,
                    TypeDefKind::Record(record) => scan.parts(name, record.fields.iter().map(|f| (&f.name, &f.docs))),
                    TypeDefKind::Variant(variant) => {
                        scan.parts(name, variant.cases.iter().map(|c| (&c.name, &c.docs)));
                    }
                    TypeDefKind::Enum(cases) => scan.parts(name, cases.cases.iter().map(|c| (&c.name, &c.docs))),
                    TypeDefKind::Flags(flags) => scan.parts(name, flags.flags.iter().map(|f| (&f.name, &f.docs))),
                    _ => {}
                }
                scan.docs(name, &ty.docs);
                scan.since(name, &ty.stability);
            }
            for (name, function) in &interface.functions {
                scan.docs(name, &function.docs);
                // A method is as old as its resource unless it says otherwise.
                if function.kind.resource().is_none() {
                    scan.since(name, &function.stability);
                }
            }
        }
        for (name, id) in &package.worlds {
            let world = &resolve.worlds[*id];
            scan.docs(name, &world.docs);
            scan.since(name, &world.stability);
            for (key, item) in world.imports.iter().chain(&world.exports) {
                let WorldItem::Interface { id, stability, .. } = item else { continue };
                let interface = resolve.interfaces[*id].name.clone();
                let item = interface.unwrap_or_else(|| resolve.name_world_key(key));
                scan.since(&format!("{name}: {item}"), stability);
            }
        }
    }
    (scan.found, scan.items)
}
