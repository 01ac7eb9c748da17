//! `kvlock release`.

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, Result};
use kvlock::Released;
use serde_json::json;

use crate::commands::resumed::Resumed;
use crate::options::global::Global;
use crate::report::output;

/// Give back a lock that `acquire` took
///
/// Exits with 77 if the grant does not hold the lock any more; whoever has it now keeps it.
#[derive(clap::Args)]
pub(crate) struct Release {
    /// The grant, as `acquire` or `renew` printed it; `-` reads it from stdin
    grant: String,
}

impl Release {
    pub(crate) fn run(self, global: &Global) -> Result<ExitCode> {
        let client = global.client()?;
        let grant = global.session_of(&client, None)?.resume(&word(self.grant)?)?;
        let (key, resumed) = (grant.key().to_string(), Resumed::new(&grant));
        let released = grant.release().map_err(|error| resumed.explain(error, &client, global))?;
        if global.json {
            let (what, kept, depth) = match released {
                Released::Freed => ("freed", None, 0),
                Released::Nested(depth) => ("nested", None, depth),
                Released::Kept(left) => ("kept", Some(left.as_secs_f64()), 0),
                Released::HandedOver => ("handed-over", None, 0),
            };
            output::print_json(&json!({ "key": key, "released": what, "kept_for": kept, "depth": depth }))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A grant given as an argument, or on stdin so that it does not show in the list of processes.
pub(crate) fn word(argument: String) -> Result<String> {
    if argument != "-" {
        return Ok(argument);
    }
    /// Longest grant: that of the longest key, twice escaped.
    const MOST: u64 = 1 << 20;
    let mut word = String::new();
    std::io::stdin().take(MOST).read_to_string(&mut word).context("cannot read the grant from stdin")?;
    Ok(word.trim().to_string())
}
