//! `kvlock doctor`.

use std::process::ExitCode;

use anyhow::Result;
use kvlock::store::Severity;
use serde_json::json;

use super::{Global, exit, output};

/// Looks at the store as a place for locks; exits with 69 if it is not fit.
pub(super) fn run(global: &Global) -> Result<ExitCode> {
    let findings = global.client()?.store().diagnose();
    for finding in &findings {
        let severity = match finding.severity {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Unfit => "UNFIT",
        };
        let (subject, check, text) = (&finding.subject, finding.check, &finding.text);
        if global.json {
            let severity = severity.to_lowercase();
            output::print_json(&json!({ "subject": subject, "check": check, "severity": severity, "text": text }))?;
        } else {
            output::line(format_args!("{severity:<8} {subject} {check}: {text}"))?;
        }
    }
    let worst = findings.iter().map(|finding| finding.severity).max();
    Ok(if worst == Some(Severity::Unfit) { exit::UNAVAILABLE.into() } else { ExitCode::SUCCESS })
}
