//! Instances of a component that add to a shared document, kept apart by a lock that is a component, too.
//!
//! The component `catalogue.wasm` imports `kvlock:lock/mutex`. It is composed with kvlock's own component, which exports
//! that, to one component; what is left to import is the documents, a store for the locks, a clock and random numbers.
//! Each thread has an instance of it.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kvlock::Client;
use kvlock::embed::Imports;
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, plug};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Engine, Store};

use bindings::example::catalogue::documents;

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({ path: ["../../wit", "wit"], world: "example:catalogue/composed" });
}

/// The component that adds entries: built of `guest`, by `cargo xtask component`.
const INDEXER: &[u8] = include_bytes!("../catalogue.wasm");
/// The document that all instances add to.
const CATALOGUE: &str = "books";
/// How long a document is under way to whoever reads it: time for others to read the same.
const READ_TIME: Duration = Duration::from_millis(1);

/// What may fail here is of many kinds, and nothing but to be shown.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How much is to be indexed.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Instances, each in a thread of its own.
    pub instances: usize,
    /// Entries that each of them adds.
    pub entries: usize,
    /// Without the lock.
    pub careless: bool,
}

/// The component of the catalogue with kvlock's plugged into it.
pub fn compose() -> Result<Vec<u8>> {
    let mut graph = CompositionGraph::new();
    let lock = Package::from_bytes("kvlock:component", None, kvlock::COMPONENT.to_vec(), graph.types_mut())?;
    let indexer = Package::from_bytes("example:indexer", None, INDEXER.to_vec(), graph.types_mut())?;
    let (lock, indexer) = (graph.register_package(lock)?, graph.register_package(indexer)?);
    plug(&mut graph, vec![lock], indexer)?;
    Ok(graph.encode(EncodeOptions::default())?)
}

/// Lets instances add to one catalogue at the same time, with locks in the client's store, and tells the entries that
/// the catalogue has in the end.
pub fn index(client: &Client, work: Work) -> Result<Vec<String>> {
    let engine = Engine::default();
    let component = Component::new(&engine, compose()?)?;
    let mut linker = Linker::new(&engine);
    bindings::Composed::add_to_linker::<Host, HasSelf<Documents>>(&mut linker, |host| &mut host.documents)?;
    kvlock::embed::add_to_linker::<Host>(&mut linker, |host| &mut host.imports)?;
    let composed = bindings::ComposedPre::new(linker.instantiate_pre(&component)?)?;

    let documents = Documents::default();
    let instance = |number: usize| -> Result<()> {
        let mut store = Store::new(&engine, Host { documents: documents.clone(), imports: Imports::new(client) });
        let composed = composed.instantiate(&mut store)?;
        for entry in 0..work.entries {
            let entry = format!("entry {entry} of instance {number}");
            let indexer = composed.example_catalogue_indexer();
            let indexed = indexer.call_index(&mut store, CATALOGUE, &entry, work.careless)?;
            indexed.map_err(|error| format!("`{entry}`: {error}"))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..work.instances).map(|number| scope.spawn(move || instance(number))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("an instance panicked".into())))
    })?;
    Ok(documents.get(CATALOGUE).lines().map(String::from).collect())
}

/// What an instance reaches.
struct Host {
    documents: Documents,
    imports: Imports,
}

/// Documents in memory. A clone has the same ones.
#[derive(Clone, Default)]
struct Documents(Arc<Mutex<HashMap<String, String>>>);

impl Documents {
    fn get(&self, name: &str) -> String {
        let documents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        documents.get(name).cloned().unwrap_or_default()
    }
}

impl documents::Host for Documents {
    fn read(&mut self, name: String) -> String {
        let document = self.get(&name);
        std::thread::sleep(READ_TIME);
        document
    }

    fn write(&mut self, name: String, content: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, content);
    }
}
