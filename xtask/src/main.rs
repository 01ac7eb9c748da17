//! What a contributor of kvlock runs: `cargo xtask test`, `cargo xtask component`.

mod component;
#[path = "../../host/build/guest.rs"]
mod guest;

use std::path::Path;

use anyhow::{Context, Result};
use clap::Parser;

/// Tasks of the workspace.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Task {
    /// Build the component from source and check it in, in host/component.
    Component {
        /// Change nothing; fail if what is checked in is stale.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    match Task::parse() {
        Task::Component { check: false } => component::refresh(workspace),
        Task::Component { check: true } => component::check(workspace),
    }
}
