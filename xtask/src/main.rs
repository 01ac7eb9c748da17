//! What a contributor of kvlock runs: `cargo xtask test`, `cargo xtask lint`, `cargo xtask component`.

mod component;
mod fuzz;
#[path = "../../host/build/guest.rs"]
mod guest;
mod prerequisites;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Parser;

/// Tasks of the workspace.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Task {
    /// Run every test; install what they need (as root on Debian) or name it.
    Test,
    /// Check formatting and lints.
    Lint,
    /// Build the component from source and check it in, in host/component.
    Component {
        /// Change nothing; fail if what is checked in is stale.
        #[arg(long)]
        check: bool,
    },
    /// Feed a target of tests/fuzz with hostile input, guided by coverage.
    Fuzz {
        /// Its name: see tests/fuzz/src/lib.rs.
        target: String,
        /// For how long.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

fn main() -> Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    match Task::parse() {
        Task::Test => test(workspace),
        Task::Lint => lint(workspace),
        Task::Component { check: false } => component::refresh(workspace),
        Task::Component { check: true } => component::check(workspace),
        Task::Fuzz { target, seconds } => fuzz::run(workspace, &target, seconds),
    }
}

fn test(workspace: &Path) -> Result<()> {
    prerequisites::provide()?;
    component::check(workspace)?;
    // The tests of the command run the binary itself.
    cargo(workspace, &["build", "--locked", "--package", "kvlock", "--bins"])?;
    if prerequisites::has_node() {
        let node_host = ["--test", "hosts", "--", "--ignored", "the_component_runs_in_a_node_host"];
        cargo(workspace, &[&["test", "--locked", "--package", "kvlock-tests"], node_host.as_slice()].concat())?;
    } else {
        eprintln!("not run: the component in a Node host, which needs Node 20 or newer with npm");
    }
    cargo(workspace, &["test", "--locked", "--workspace", "--no-fail-fast"])
}

fn lint(workspace: &Path) -> Result<()> {
    cargo(workspace, &["fmt", "--all", "--check"])?;
    cargo(workspace, &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn cargo(workspace: &Path, arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(arguments).current_dir(workspace).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}
