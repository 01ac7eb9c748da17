//! `cargo xtask component`: builds the component and checks it in, or checks that what is checked in is not stale.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use wasm_encoder::{Component, ComponentSectionId, Module, RawSection};
use wasmparser::{Parser, Payload};

use crate::guest::{self, Compiler, Guest};

/// The component of the example.
const CATALOGUE: Guest = Guest {
    checked_in: "examples/catalogue/catalogue.wasm",
    provenance: "examples/catalogue/catalogue.provenance",
    folder: "examples/catalogue/guest",
    library: "kvlock_catalogue_guest",
    name: "catalogue",
    description: "An example: adds entries to a shared document, under a lock of kvlock",
    sources: &["wit/types.wit", "wit/mutex.wit", "examples/catalogue/wit", "examples/catalogue/guest"],
    max_bytes: 40_000,
    is_small: false,
};

/// The store as a component.
pub(crate) const MEMCACHED: Guest = Guest {
    checked_in: "guest/memcached/memcached.wasm",
    provenance: "guest/memcached/memcached.provenance",
    folder: "guest/memcached",
    library: "kvlock_memcached",
    name: "kvlock-store-memcached",
    description: "A store of kvlock on memcached: kvlock:lock/kv-store over wasi:sockets",
    sources: &["wit/types.wit", "wit/kv-store.wit", "wit/deps", "protocol", "guest/memcached"],
    max_bytes: 100_000,
    is_small: true,
};

/// The component of another example.
const JOB: Guest = Guest {
    checked_in: "examples/job/job.wasm",
    provenance: "examples/job/job.provenance",
    folder: "examples/job",
    library: "kvlock_job",
    name: "job",
    description: "An example: a program that works under a lock of kvlock",
    sources: &["wit/types.wit", "wit/mutex.wit", "examples/job"],
    max_bytes: 40_000,
    is_small: true,
};

/// The component of the example on the web.
const WEB: Guest = Guest {
    checked_in: "examples/web/web.wasm",
    provenance: "examples/web/web.provenance",
    folder: "examples/web",
    library: "kvlock_web",
    name: "web",
    description: "An example: a web service that holds a lock of kvlock over several requests",
    sources: &["wit/types.wit", "wit/mutex.wit", "examples/web"],
    max_bytes: 60_000,
    is_small: true,
};

/// All that are checked in.
const ALL: [&Guest; 5] = [&guest::LOCK, &CATALOGUE, &MEMCACHED, &JOB, &WEB];

/// Builds the components from source and puts them where their hosts find them.
pub(crate) fn refresh(workspace: &Path) -> Result<()> {
    for guest in ALL {
        let (compiler, component) = build(guest, workspace)?;
        fs::write(workspace.join(guest.checked_in), &component)?;
        let (sources, version) = (guest.source_digest(workspace)?, compiler.version()?);
        fs::write(workspace.join(guest.provenance), format!("sources: {sources}\ncompiler: {version}\n"))?;
        eprintln!("{}: {} bytes, by {version}", guest.checked_in, component.len());
    }
    Ok(())
}

/// Builds the components from source and compares: the digest of the sources, and every byte where the compiler is the
/// one that built what is checked in.
pub(crate) fn check(workspace: &Path) -> Result<()> {
    ALL.into_iter().try_for_each(|guest| check_one(guest, workspace))
}

fn check_one(guest: &Guest, workspace: &Path) -> Result<()> {
    let name = guest.checked_in;
    let provenance = fs::read_to_string(workspace.join(guest.provenance));
    let provenance = provenance.with_context(|| format!("{name} is not checked in"))?;
    let field = |name: &str| provenance.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    if field("sources: ") != guest.source_digest(workspace)? {
        bail!("{name} is stale: its sources have changed. Run `cargo xtask component`");
    }
    let (compiler, component) = build(guest, workspace)?;
    let version = compiler.version()?;
    if field("compiler: ") != version {
        eprintln!("{name}: built by {version}, which is not the checked-in one's compiler; sources agree");
    } else if component != fs::read(workspace.join(name))? {
        bail!("{name} is not what its sources build to. Run `cargo xtask component`");
    } else {
        eprintln!("{name}: what is checked in is what its sources build to, byte for byte");
    }
    Ok(())
}

fn build(guest: &Guest, workspace: &Path) -> Result<(Compiler, Vec<u8>)> {
    let found = Compiler::found();
    // Debian's is the one that CI has, and makes the smaller component.
    let compiler = found.iter().copied().find(|one| *one == Compiler::Debian).or(found.first().copied());
    let compiler = compiler.context(guest::HELP)?;
    eprintln!("{}: building with {} ...", guest.checked_in, compiler.version()?);
    let built = compiler.build(guest, workspace, &workspace.join("target/guest"))?;
    let component = fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
    let mut component = without_names(&component)?;
    guest.describe(&mut component);
    if component.len() > guest.max_bytes {
        bail!("{} has {} bytes; at most {} are allowed", guest.checked_in, component.len(), guest.max_bytes);
    }
    Ok((compiler, component))
}

/// The component without the names of its inner parts, which only a debugger reads, and without what tools have noted in
/// the modules in it: the linker strips the names of its code, and leaves these.
fn without_names(component: &[u8]) -> Result<Vec<u8>> {
    let mut stripped = Component::new();
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        if depth == 0 {
            if let Payload::ModuleSection { unchecked_range, .. } = &payload {
                let module = &component[usize::try_from(unchecked_range.start)?..usize::try_from(unchecked_range.end)?];
                stripped.section(&RawSection { id: ComponentSectionId::CoreModule.into(), data: &bare(module)? });
            } else if let Some((id, range)) = payload.as_section()
                && !matches!(&payload, Payload::CustomSection(custom) if custom.name() == "component-name")
            {
                let data = &component[usize::try_from(range.start)?..usize::try_from(range.end)?];
                stripped.section(&RawSection { id, data });
            }
        }
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            _ => {}
        }
    }
    Ok(stripped.finish())
}

/// A module without its custom sections.
fn bare(module: &[u8]) -> Result<Vec<u8>> {
    let mut bare = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        if let (Some((id, range)), false) = (payload.as_section(), matches!(payload, Payload::CustomSection(_))) {
            let data = &module[usize::try_from(range.start)?..usize::try_from(range.end)?];
            bare.section(&RawSection { id, data });
        }
    }
    Ok(bare.finish())
}
