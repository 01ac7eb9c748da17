//! `kvlock component`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::report::exit::Exit;
use crate::report::output;

/// Write the WebAssembly component that kvlock runs, for other hosts
#[derive(clap::Args)]
pub(crate) struct Component {
    /// Where to; `-` is stdout
    #[arg(default_value = "kvlock.wasm")]
    path: PathBuf,
}

impl Component {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if self.path.as_os_str() != "-" {
            let write = std::fs::write(&self.path, kvlock::COMPONENT);
            write.map_err(|error| Exit::usage(format!("cannot write {}: {error}", self.path.display())))?;
            return Ok(ExitCode::SUCCESS);
        }
        if std::io::stdout().is_terminal() {
            return Err(Exit::usage("stdout is a terminal, and the component is binary; give a path").into());
        }
        output::bytes(kvlock::COMPONENT)?;
        Ok(ExitCode::SUCCESS)
    }
}
