//! `kvlock component`.

use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Result;
use kvlock::embed;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::options::global::Global;
use crate::report::exit::{Exit, Status};
use crate::report::output;

/// Write the WebAssembly component that kvlock runs, for other hosts
///
/// With --json, also print its version, its SHA-256 digest and its size in bytes, unless it goes to stdout.
#[derive(clap::Args)]
pub(crate) struct Component {
    /// The file to write; `-` is stdout
    #[arg(default_value = "kvlock.wasm")]
    path: PathBuf,
}

impl Component {
    pub(crate) fn run(self, global: &Global) -> Result<Status> {
        if self.path.as_os_str() == "-" {
            if std::io::stdout().is_terminal() {
                return Err(Exit::usage("stdout is a terminal, and the component is binary; give a path").into());
            }
            output::bytes(kvlock::COMPONENT)?;
            return Ok(Status::SUCCESS);
        }
        let path = self.path.display().to_string();
        fs::write(&self.path, kvlock::COMPONENT)
            .map_err(|error| Exit::usage(format!("cannot write {path}: {error}; give another path")))?;
        if global.json {
            let digest: String = Sha256::digest(kvlock::COMPONENT).iter().map(|byte| format!("{byte:02x}")).collect();
            let (version, size) = (embed::component_metadata("version"), kvlock::COMPONENT.len());
            output::print_json(&json!({ "path": path, "version": version, "sha256": digest, "size": size }))?;
        }
        Ok(Status::SUCCESS)
    }
}
