//! `kvlock status`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::output::{self, HolderJson};
use super::{Global, exit};

/// Tell who has a lock, since when and until when
#[derive(clap::Args)]
pub(super) struct Status {
    /// The keys
    #[arg(required = true)]
    keys: Vec<String>,
    /// Exit with 75 if any of the keys is held
    #[arg(long, env = "KVLOCK_EXIT_CODE")]
    exit_code: bool,
}

impl Status {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode> {
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        let statuses = global.session(None)?.statuses(&keys)?;
        let held = statuses.iter().any(|status| !matches!(status, kvlock::Status::Free));
        for (key, status) in keys.into_iter().zip(&statuses) {
            print(key, status, global.json)?;
        }
        Ok(if held && self.exit_code { exit::BUSY.into() } else { ExitCode::SUCCESS })
    }
}

fn print(key: &str, status: &kvlock::Status, as_json: bool) -> Result<()> {
    if as_json {
        return output::json(&match status {
            kvlock::Status::Held(holder) => {
                let state = if holder.depth == 0 { "kept" } else { "held" };
                json!({ "key": key, "state": state, "holder": HolderJson::from(holder.as_ref()) })
            }
            kvlock::Status::Corrupt(excerpt) => json!({ "key": key, "state": "corrupt", "excerpt": excerpt }),
            _ => json!({ "key": key, "state": "free" }),
        });
    }
    match status {
        kvlock::Status::Held(holder) => {
            output::line(format_args!("{key}: {holder}; depth {}, token {}", holder.depth, holder.token))
        }
        kvlock::Status::Corrupt(excerpt) => output::line(format_args!("{key}: not a kvlock record: {excerpt}")),
        _ => output::line(format_args!("{key}: free")),
    }
}
