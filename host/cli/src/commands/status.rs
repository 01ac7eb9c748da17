//! `kvlock status`.

use anyhow::Result;
use kvlock::status::{KeyState, KeyStatus};
use serde_json::json;

use crate::options::global::Global;
use crate::report::exit::{self, Status as End};
use crate::report::output::{self, HolderJson};

/// Print who has a lock, since when and until when
#[derive(clap::Args)]
pub(crate) struct Status {
    /// The keys; give one that begins with `-` as --key=-x
    #[arg(required_unless_present = "spelled_key")]
    keys: Vec<String>,
    #[arg(id = "spelled_key", long = "key", value_name = "KEY", hide = true)]
    spelled: Vec<String>,
    /// Exit with 75 if any of the keys is held, or may be because of a quarantine
    #[arg(long, env = "KVLOCK_EXIT_CODE")]
    exit_code: bool,
}

impl Status {
    pub(crate) fn run(self, global: &Global) -> Result<End> {
        let keys: Vec<&str> = self.keys.iter().chain(&self.spelled).map(String::as_str).collect();
        let statuses = global.session(None)?.statuses(&keys)?;
        let taken = statuses.iter().any(|status| status.state != KeyState::Free || status.quarantine.is_some());
        for (key, status) in keys.into_iter().zip(&statuses) {
            print(key, status, global.json)?;
        }
        Ok(if taken && self.exit_code { End::Exited(exit::BUSY) } else { End::SUCCESS })
    }
}

fn print(key: &str, status: &KeyStatus, as_json: bool) -> Result<()> {
    let KeyStatus { state, quarantine, waiters, .. } = status;
    if as_json {
        let name = match (state, state.holder()) {
            (KeyState::Held(_), _) => "held",
            (KeyState::Kept(_), _) => "kept",
            (KeyState::Corrupt(_), _) => "corrupt",
            // The key is taken, and nobody works under it.
            (_, Some(_)) => "reserved",
            (_, None) if quarantine.is_some() => "quarantine",
            (_, None) => "free",
        };
        let mut told = json!({ "state": name });
        if let Some(holder) = state.holder() {
            told["holder"] = json!(HolderJson::from(holder));
        }
        if let KeyState::Corrupt(excerpt) = state {
            told["excerpt"] = excerpt.as_str().into();
        }
        told["key"] = key.into();
        told["quarantine"] = quarantine.map(|left| left.as_secs_f64()).into();
        told["waiters"] = (*waiters).into();
        return output::print_json(&told);
    }
    let state = match (state, state.holder()) {
        (_, Some(holder)) => format!("{holder}; depth {}, token {}", holder.depth, holder.token),
        (KeyState::Corrupt(excerpt), None) => format!("not a kvlock record: {excerpt}"),
        (_, None) if quarantine.is_some() => "nobody is known to have it".to_owned(),
        (_, None) => "free".to_owned(),
    };
    let waiters = if *waiters > 0 { format!("; {waiters} waiting") } else { String::new() };
    output::line(format_args!("{key}: {state}{waiters}{}", output::quarantine(*quarantine)))
}
