//! The playground: a page that runs the shipped component in a simulated world.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::prerequisites;

/// Builds it in target/playground.
pub(crate) fn build(workspace: &Path) -> Result<()> {
    if !prerequisites::has_node() {
        bail!("the playground is built by Node 20 or newer with npm: install them");
    }
    let folder = workspace.join("playground");
    let page = workspace.join("target/playground");
    node(&folder, &["install.mjs"])?;
    node(&folder, &["build.mjs", &page.to_string_lossy()])?;
    println!("{}", page.join("index.html").display());
    Ok(())
}

fn node(folder: &Path, arguments: &[&str]) -> Result<()> {
    let status = Command::new("node").args(arguments).current_dir(folder).status().context("cannot run node")?;
    ensure!(status.success(), "node {} failed", arguments.join(" "));
    Ok(())
}
