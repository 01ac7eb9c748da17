//! How to open a session.

use std::time::Duration;

/// How to open a session, as its user says.
#[derive(Clone, PartialEq)]
pub(crate) struct OwnerOptions {
    pub(crate) name: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) namespace: String,
    pub(crate) quarantine: Option<Duration>,
}

impl Default for OwnerOptions {
    fn default() -> Self {
        OwnerOptions { name: None, label: None, namespace: "kvlock".to_string(), quarantine: None }
    }
}
