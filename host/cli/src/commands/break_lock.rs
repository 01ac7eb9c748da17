//! `kvlock break`.

use anyhow::Result;
use kvlock::status::Broken;
use serde_json::{Value, json};

use crate::options::args::Key;
use crate::options::global::Global;
use crate::report::exit::{self, Status};
use crate::report::output::{self, HolderJson};

/// End another holder's lock by force, and print whose it was
///
/// The key is free at once. The holder notices at its next renewal and may be at work until then; the output says until
/// when at most. If its grant ends by itself meanwhile, its successor keeps the lock, and the exit code is 77. With
/// --if-token, the same holds for every holder that got the lock after `status` printed the token.
#[derive(clap::Args)]
pub(crate) struct Break {
    #[command(flatten)]
    key: Key,
    /// End only the grant with this token, as `status` prints it
    #[arg(long, value_name = "N", env = "KVLOCK_IF_TOKEN")]
    if_token: Option<u64>,
}

impl Break {
    pub(crate) fn run(self, global: &Global) -> Result<Status> {
        let (session, key) = (global.session(None)?, &*self.key);
        let broken = match self.if_token {
            Some(token) => session.break_lock_if(key, token)?,
            None => session.break_lock(key)?,
        };
        if global.json {
            output::print_json(&as_json(json!({ "key": key }), &broken))?;
        } else {
            output::line(told(key, &broken))?;
        }
        Ok(code(&broken))
    }
}

/// Returns the exit code. A grant that was left alone is not the one that the user meant.
pub(crate) fn code(broken: &Broken) -> Status {
    match broken {
        Broken::Free | Broken::Ended(_) => Status::SUCCESS,
        _ => Status::Exited(exit::NOT_HOLDER),
    }
}

/// Returns in words what a break of `what` found.
pub(crate) fn told(what: &str, broken: &Broken) -> String {
    match broken {
        Broken::Free => format!("{what}: free, nothing to break"),
        Broken::Ended(holder) => {
            let until = match holder.at_work_until() {
                _ if holder.depth == 0 => String::new(),
                Some(until) => format!("; it may be at work until {}", humantime::format_rfc3339_seconds(until)),
                None => "; it may be at work until it is told: its lease has no end".to_owned(),
            };
            format!("{what}: broken; it was {}{until}", holder.who())
        }
        Broken::Other(holder) => {
            format!("{what}: not broken; it is another grant by now: {holder}; token {}", holder.token)
        }
        _ => format!("{what}: not broken"),
    }
}

/// Returns the same as JSON, added to the fields that name it.
pub(crate) fn as_json(mut named: Value, broken: &Broken) -> Value {
    let [ended, other] = match broken {
        Broken::Ended(holder) => [Some(holder), None],
        Broken::Other(holder) => [None, Some(holder)],
        _ => [None, None],
    };
    named["broken"] = json!(ended.map(|holder| HolderJson::from(holder.as_ref())));
    named["until"] = json!(ended.and_then(|holder| holder.at_work_until()).map(output::moment));
    named["holder"] = json!(other.map(|holder| HolderJson::from(holder.as_ref())));
    named
}
