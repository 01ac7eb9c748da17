//! `kvlock break`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::Global;
use super::args::Key;
use super::output::{self, HolderJson};

/// End somebody's lock by force, and tell whose it was
///
/// The holder learns it at its next renewal, and may be at work until then: the key is free at once.
#[derive(clap::Args)]
pub(super) struct Break {
    #[command(flatten)]
    key: Key,
}

impl Break {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode> {
        let broken = global.session(None)?.break_lock(&self.key)?;
        if global.json {
            output::json(&json!({ "key": &*self.key, "broken": broken.as_ref().map(HolderJson::from) }))?;
        } else if let Some(holder) = broken {
            output::line(format_args!("{}: broken; it was {holder}", &*self.key))?;
        } else {
            output::line(format_args!("{}: free, nothing to break", &*self.key))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
