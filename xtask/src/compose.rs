//! The lock with a store plugged into it: what is taken to platforms that take components and no host code.

use anyhow::{Context, Result};
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, plug};

/// Composes components: each but the last is plugged into the last one, and the outcome exports what that exports.
pub(crate) fn compose(plugs: &[&[u8]], socket: &[u8]) -> Result<Vec<u8>> {
    let mut graph = CompositionGraph::new();
    let mut package = |name: &str, bytes: &[u8]| {
        let package = Package::from_bytes(name, None, bytes.to_vec(), graph.types_mut());
        graph.register_package(package?).context("the component cannot be composed")
    };
    let socket = package("kvlock:socket", socket)?;
    let plugs = plugs.iter().enumerate().map(|(number, bytes)| package(&format!("kvlock:plug{number}"), bytes));
    let plugs = plugs.collect::<Result<Vec<_>>>()?;
    plug(&mut graph, plugs, socket)?;
    Ok(graph.encode(EncodeOptions::default())?)
}
