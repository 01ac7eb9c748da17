//! kvlock: a distributed lock whose logic is a WebAssembly component.
pub mod clock;
mod engine;
pub mod store;
