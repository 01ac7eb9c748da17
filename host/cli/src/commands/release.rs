//! `kvlock release`.

use anyhow::Result;
use kvlock::Released;
use serde_json::json;

use crate::commands::resumed::resume;
use crate::options::global::Global;
use crate::report::exit::Status;
use crate::report::output;

/// Release a lock that `acquire` took
///
/// Exits with 77 if the grant does not hold the lock any more. Its present holder keeps it.
#[derive(clap::Args)]
pub(crate) struct Release {
    /// The grant, as `acquire` or `renew` printed it; `-` reads it from stdin
    grant: String,
}

impl Release {
    pub(crate) fn run(self, global: &Global) -> Result<Status> {
        let (grant, resumed) = resume(&self.grant, global)?;
        let key = grant.key().to_string();
        let keys: Vec<String> = grant.tokens().map(|(key, _)| key.to_string()).collect();
        let released = grant.release().map_err(|error| resumed.explain(error))?;
        if global.json {
            let (what, kept, depth) = match released {
                Released::Freed => ("freed", None, 0),
                Released::Nested(depth) => ("nested", None, depth),
                Released::Kept(left) => ("kept", Some(left.as_secs_f64()), 0),
                _ => ("handed-over", None, 0),
            };
            let mut told = json!({ "key": key, "released": what, "kept_for": kept, "depth": depth });
            if keys.len() > 1 {
                told["keys"] = json!(keys);
            }
            output::print_json(&told)?;
        }
        Ok(Status::SUCCESS)
    }
}
