//! `kvlock component`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::exit::Exit;

/// Write the WebAssembly component that kvlock runs, for other hosts.
#[derive(clap::Args)]
pub(super) struct Component {
    /// Where to; `-` is stdout
    #[arg(default_value = "kvlock.wasm")]
    path: PathBuf,
}

impl Component {
    pub(super) fn run(self) -> Result<ExitCode> {
        if self.path.as_os_str() != "-" {
            let write = std::fs::write(&self.path, kvlock::COMPONENT);
            write.map_err(|error| Exit::usage(format!("cannot write {}: {error}", self.path.display())))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut stdout = std::io::stdout();
        if stdout.is_terminal() {
            return Err(Exit::usage("stdout is a terminal, and the component is binary; give a path").into());
        }
        stdout.write_all(kvlock::COMPONENT).and_then(|()| stdout.flush()).context("cannot write the component")?;
        Ok(ExitCode::SUCCESS)
    }
}
