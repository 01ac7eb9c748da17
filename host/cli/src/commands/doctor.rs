//! `kvlock doctor`.

use std::time::Duration;

use anyhow::Result;
use kvlock::lock::DEFAULT_LEASE;
use kvlock::store::{Finding, Severity};
use serde_json::json;

use crate::options::duration::HumanDuration;
use crate::options::global::Global;
use crate::report::exit::{self, Status};
use crate::report::output;

/// Checks the store. The exit code is 69 if it is not fit for locks.
pub(crate) fn run(global: &Global) -> Result<Status> {
    let findings = global.client()?.store().diagnose();
    // Without an option, the contents must be as old as a lease of the default length.
    let quarantine = global.quarantine.map_or(DEFAULT_LEASE, |HumanDuration(quarantine)| quarantine);
    let mut worst = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok);
    for finding in &findings {
        print(finding, None, global.json)?;
        let left = finding.lossless_for.map_or(Duration::ZERO, |lossless| quarantine.saturating_sub(lossless));
        if !left.is_zero() {
            let text = format!(
                "nothing is granted for {:.1} s more, because a lock that was lost with the store's contents may still be \
                 held",
                left.as_secs_f64()
            );
            let mut told = Finding::new(&finding.subject, "quarantine", Severity::Warning, text);
            told.lossless_for = finding.lossless_for;
            print(&told, Some(left), global.json)?;
            worst = worst.max(told.severity);
        }
    }
    conclude(worst, global.json)?;
    Ok(if worst == Severity::Unfit { Status::Exited(exit::UNAVAILABLE) } else { Status::SUCCESS })
}

/// Says in one sentence what follows.
fn conclude(worst: Severity, as_json: bool) -> Result<()> {
    let text = match worst {
        Severity::Ok => "fit: locks are safe in this store",
        Severity::Warning => "fit with a condition: locks are safe in this store as far as the warnings say",
        _ => "unfit: lock nothing in this store until what is UNFIT is put right",
    };
    match as_json {
        true => print(&Finding::new("store", "verdict", worst, text), None, true),
        false => output::line(text),
    }
}

fn print(finding: &Finding, quarantine: Option<Duration>, as_json: bool) -> Result<()> {
    let severity = match finding.severity {
        Severity::Ok => "ok",
        Severity::Warning => "warning",
        _ => "UNFIT",
    };
    let (subject, check, text) = (&finding.subject, finding.check, &finding.text);
    if !as_json {
        return output::line(format_args!("{severity:<8} {subject} {check}: {text}"));
    }
    let mut told = json!({ "subject": subject, "check": check, "severity": severity.to_lowercase(), "text": text });
    if let Some(left) = quarantine {
        told["quarantine"] = left.as_secs_f64().into();
    }
    output::print_json(&told)
}
