//! `kvlock component`.

use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::options::global::Global;
use crate::report::exit::Exit;
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
    pub(crate) fn run(self, global: &Global) -> Result<ExitCode> {
        if self.path.as_os_str() == "-" {
            if std::io::stdout().is_terminal() {
                return Err(Exit::usage("stdout is a terminal, and the component is binary; give a path").into());
            }
            output::bytes(kvlock::COMPONENT)?;
            return Ok(ExitCode::SUCCESS);
        }
        let path = self.path.display().to_string();
        fs::write(&self.path, kvlock::COMPONENT)
            .map_err(|error| Exit::usage(format!("cannot write {path}: {error}; give another path")))?;
        if global.json {
            let digest: String = Sha256::digest(kvlock::COMPONENT).iter().map(|byte| format!("{byte:02x}")).collect();
            let (version, size) = (version(kvlock::COMPONENT), kvlock::COMPONENT.len());
            output::print_json(&json!({ "path": path, "version": version, "sha256": digest, "size": size }))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Returns the version that stands in a component: the contents of its custom section `version`.
fn version(component: &[u8]) -> Option<&str> {
    /// Behind the magic number and the version of the format.
    const SECTIONS: usize = 8;
    let mut rest = component.get(SECTIONS..)?;
    loop {
        let (id, sized) = rest.split_first()?;
        let (contents, next) = prefixed(sized)?;
        if *id == 0
            && let Some((b"version", version)) = prefixed(contents)
        {
            return str::from_utf8(version).ok();
        }
        rest = next;
    }
}

/// Splits bytes after those whose number stands in front of them, in LEB128.
fn prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let (size, rest) = bytes.split_at_checked(length)?;
    let size =
        size.iter().rev().try_fold(0_usize, |size, byte| size.checked_mul(128)?.checked_add((byte & 0x7f).into()))?;
    rest.split_at_checked(size)
}
