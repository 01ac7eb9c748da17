//! Picks the component (the one checked in, if its sources have not changed since; else one built from source) and
//! compiles it ahead of time, so that the library compiles nothing at run time.

#[path = "config.rs"]
mod config;
// xtask uses the rest of it.
#[allow(dead_code)]
#[path = "guest.rs"]
mod guest;
#[path = "relay.rs"]
mod relay;

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// `(module (func (export "spin") (loop (br 0))))`: what the library's tests want to see stopped.
const SPIN: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x08\x01\x04spin\0\0\x0a\x09\x01\x07\0\x03\x40\x0c\0\x0b\x0b";

fn main() {
    if let Err(error) = run() {
        error.to_string().lines().for_each(|line| println!("cargo::error={line}"));
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let host = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let component = component(&host, &out)?;
    fs::write(out.join("kvlock.wasm"), &component)?;

    let mut config = config::engine_config();
    // Named even where it is the machine that builds: else the code would need every feature of that very processor,
    // and an older one, or valgrind, could not load it.
    config.target(&env::var("TARGET")?)?;
    let engine = wasmtime::Engine::new(&config)?;
    fs::write(out.join("kvlock.cwasm"), engine.precompile_component(&relay::relayed(&component)?)?)?;
    fs::write(out.join("spin.cwasm"), engine.precompile_module(SPIN)?)?;
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=component");
    Ok(())
}

fn component(host: &Path, out: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let guest = &guest::LOCK;
    let Some(workspace) = host.parent().filter(|workspace| workspace.join("guest/component").is_dir()) else {
        // The crate by itself, without the workspace around it.
        return Ok(fs::read(host.join("component/kvlock.wasm"))?);
    };
    for sources in guest.sources {
        println!("cargo::rerun-if-changed={}", workspace.join(sources).display());
    }
    let digest = guest.source_digest(workspace)?;
    let provenance = fs::read_to_string(workspace.join(guest.provenance)).unwrap_or_default();
    if provenance.lines().any(|line| line.strip_prefix("sources: ") == Some(&digest)) {
        return Ok(fs::read(workspace.join(guest.checked_in))?);
    }
    let compiler = guest::Compiler::found().first().copied().ok_or(guest::HELP)?;
    let mut component = fs::read(compiler.build(guest, workspace, &out.join("guest"))?)?;
    guest.describe(&mut component);
    Ok(component)
}
