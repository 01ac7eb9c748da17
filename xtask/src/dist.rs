//! What a packager takes: the command as it is released, its manual pages, its completions, and the components.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The shells, and the names under which they look for completions.
const COMPLETIONS: [(&str, &str); 3] = [("bash", "kvlock"), ("zsh", "_kvlock"), ("fish", "kvlock.fish")];

/// Puts all of it into target/dist.
pub(crate) fn make(workspace: &Path, only_components: bool) -> Result<()> {
    let dist = workspace.join("target/dist");
    crate::components::make(workspace, &dist.join("components"))?;
    if only_components {
        return Ok(());
    }
    crate::cargo(workspace, &["build", "--locked", "--release", "--package", "kvlock-cli"])?;
    let completions = dist.join("completions");
    fs::create_dir_all(&completions).with_context(|| format!("cannot make {}", completions.display()))?;
    let kvlock = dist.join("kvlock");
    fs::copy(workspace.join("target/release/kvlock"), &kvlock).context("cannot copy the command")?;
    run(Command::new(&kvlock).arg("man").arg(dist.join("man1")))?;
    for (shell, name) in COMPLETIONS {
        let script = run(Command::new(&kvlock).args(["completions", shell]))?;
        fs::write(completions.join(name), script)?;
    }
    eprintln!("{}", dist.display());
    Ok(())
}

/// Returns what a program writes on stdout.
fn run(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}
