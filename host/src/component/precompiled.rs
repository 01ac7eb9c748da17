//! The component as build.rs compiled it for this machine's architecture: a part of the program's code.
//!
//! wasmtime would copy it to pages of its own and make them executable: two hundred page faults at each start of a
//! command. Here it runs where the system has mapped the program, as the rest of the program does.

use std::ptr::NonNull;
use std::sync::Arc;

use wasmtime::component::Component;
use wasmtime::{CustomCodeMemory, Engine};

use super::config;

/// As the file that build.rs made wants to be mapped: at a page.
#[repr(C, align(4096))]
struct Aligned<T>(T);

#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.kvlock_component"))]
static COMPILED: Aligned<[u8; include_bytes!(concat!(env!("OUT_DIR"), "/kvlock.cwasm")).len()]> =
    Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/kvlock.cwasm")));

/// Returns the engine, and the component in it.
pub(super) fn load() -> wasmtime::Result<(Engine, Component)> {
    let mut config = config::engine_config();
    if cfg!(target_os = "linux") {
        config.with_custom_code_memory(Some(Arc::new(ProgramText)));
        let engine = Engine::new(&config)?;
        // SAFETY: the bytes were made by build.rs with `Engine::precompile_component`, from the component beside them
        // and with the same settings; wasmtime checks its version and the settings. They are a part of this program's
        // code: they are there for as long as it runs, nobody can write to them, and they can be executed.
        let component = unsafe { Component::deserialize_raw(&engine, NonNull::from(COMPILED.0.as_slice()))? };
        return Ok((engine, component));
    }
    let engine = Engine::new(&config)?;
    // SAFETY: as above; wasmtime makes a copy that can be executed.
    let component = unsafe { Component::deserialize(&engine, COMPILED.0.as_slice())? };
    Ok((engine, component))
}

/// A section of code is executable from the start.
struct ProgramText;

impl CustomCodeMemory for ProgramText {
    fn required_alignment(&self) -> usize {
        1
    }

    fn publish_executable(&self, _: *const u8, _: usize) -> wasmtime::Result<()> {
        Ok(())
    }

    fn unpublish_executable(&self, _: *const u8, _: usize) -> wasmtime::Result<()> {
        Ok(())
    }
}
