//! `cargo xtask component`: builds the component and checks it in, or checks that what is checked in is not stale.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::guest::{self, Compiler};

/// Largest component: it is downloaded and compiled by whoever embeds it.
const MAX_BYTES: usize = 200_000;

/// Builds the component from source and puts it where the host crate finds it.
pub(crate) fn refresh(workspace: &Path) -> Result<()> {
    let (compiler, component) = build(workspace)?;
    let host = workspace.join("host");
    fs::write(host.join(guest::CHECKED_IN), &component)?;
    let provenance = format!("sources: {}\ncompiler: {}\n", guest::source_digest(workspace)?, compiler.version()?);
    fs::write(host.join(guest::PROVENANCE), provenance)?;
    eprintln!("host/{}: {} bytes, by {}", guest::CHECKED_IN, component.len(), compiler.version()?);
    Ok(())
}

/// Builds the component from source and compares: the digest of its sources, and every byte where the compiler is the
/// one that built what is checked in.
pub(crate) fn check(workspace: &Path) -> Result<()> {
    let host = workspace.join("host");
    let provenance = fs::read_to_string(host.join(guest::PROVENANCE)).context("no component is checked in")?;
    let field = |name: &str| provenance.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    if field("sources: ") != guest::source_digest(workspace)? {
        bail!("the checked-in component is stale: its sources have changed. Run `cargo xtask component`");
    }
    let (compiler, component) = build(workspace)?;
    let version = compiler.version()?;
    if field("compiler: ") != version {
        eprintln!("component: built by {version}, which is not the checked-in one's compiler; sources agree");
    } else if component != fs::read(host.join(guest::CHECKED_IN))? {
        bail!("the checked-in component is not what its sources build to. Run `cargo xtask component`");
    } else {
        eprintln!("component: what is checked in is what its sources build to, byte for byte");
    }
    Ok(())
}

fn build(workspace: &Path) -> Result<(Compiler, Vec<u8>)> {
    let found = Compiler::found();
    // Debian's is the one that CI has, and makes the smaller component.
    let compiler = found.iter().copied().find(|one| *one == Compiler::Debian).or(found.first().copied());
    let compiler = compiler.context(guest::HELP)?;
    eprintln!("component: building with {} ...", compiler.version()?);
    let built = compiler.build(workspace, &workspace.join("target/guest"))?;
    let component = fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
    if component.len() > MAX_BYTES {
        bail!("the component has {} bytes; at most {MAX_BYTES} are allowed", component.len());
    }
    Ok((compiler, component))
}
