//! Results as JSON. The text forms are the library's `Display`.

use std::time::{Duration, SystemTime};

use kvlock::store::Ttl;
use kvlock::{Grant, Holder, Validity};
use serde::Serialize;

/// Prints one line of JSON.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// Who has a key.
#[derive(Serialize)]
pub(super) struct HolderJson<'a> {
    owner: &'a str,
    host: &'a str,
    since: Option<String>,
    until: Option<String>,
    /// Seconds; null for ever.
    lease: Option<f64>,
    depth: u32,
    token: u64,
}

impl<'a> From<&'a Holder> for HolderJson<'a> {
    fn from(holder: &'a Holder) -> Self {
        let lease = match holder.lease {
            Ttl::After(lease) => Some(lease.as_secs_f64()),
            Ttl::Forever => None,
        };
        HolderJson {
            owner: &holder.owner,
            host: &holder.label,
            since: holder.since.map(moment),
            until: holder.until.map(moment),
            lease,
            depth: holder.depth,
            token: holder.token,
        }
    }
}

/// A grant that another process will take up.
#[derive(Serialize)]
pub(super) struct GrantJson {
    key: String,
    owner: String,
    token: u64,
    /// When the grant surely still stands; null for ever.
    deadline: Option<String>,
    pub(super) grant: String,
}

impl GrantJson {
    pub(super) fn new(grant: Grant) -> anyhow::Result<Self> {
        let deadline = match grant.validity()? {
            Validity::Valid(left) => SystemTime::now().checked_add(left).map(moment),
            Validity::Unlimited | Validity::Unconfirmed | Validity::Lost => None,
        };
        let (key, owner, token) = (grant.key().to_string(), grant.owner().to_string(), grant.token());
        Ok(GrantJson { key, owner, token, deadline, grant: grant.write_out()? })
    }

    pub(super) fn print(&self, as_json: bool) -> anyhow::Result<()> {
        if as_json {
            return json(self);
        }
        println!("{}", self.grant);
        Ok(())
    }
}

/// A moment as RFC 3339 has it.
pub(super) fn moment(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// A moment as Unix seconds, for scripts.
pub(super) fn unix_seconds(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    format!("{}.{:03}", since.as_secs(), since.subsec_millis())
}
