//! What a run comes to: what somebody asks who looks after a job of cron.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{Gauge, Registry};

use crate::report::exit::Status;

const LAST_SUCCESS: &str = "kvlock_last_success_timestamp_seconds";

/// A run that is over.
pub(super) struct Run {
    pub(super) status: Status,
    /// False if kvlock says why it failed. Then the command did not run to its end, whatever the exit code is.
    pub(super) is_ok: bool,
    pub(super) took: Duration,
}

impl Run {
    /// Adds what the run comes to. `before` is the file of the run before: the last success may have been its own.
    pub(super) fn register(&self, registry: &Registry, before: &str) -> prometheus::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let (waited, held) = (total(registry, "kvlock_wait_seconds"), total(registry, "kvlock_hold_seconds"));
        let code = f64::from(self.status.code());
        let is_success = self.is_ok && self.status == Status::SUCCESS;
        let success = if is_success { Some(now) } else { last_success(before) };
        for (name, text, value) in [
            ("kvlock_last_run_exit_code", "The exit code of the last run, as a shell reports it.", Some(code)),
            ("kvlock_last_run_timestamp_seconds", "When the last run ended, in Unix time.", Some(now)),
            ("kvlock_last_run_duration_seconds", "How long the last run took.", Some(self.took.as_secs_f64())),
            ("kvlock_last_run_waited_seconds", "How long the last run waited for locks and permits.", Some(waited)),
            ("kvlock_last_run_held_seconds", "How long the last run held locks and permits.", Some(held)),
            (LAST_SUCCESS, "When the last run ended that did what it was to do, in Unix time.", success),
        ] {
            if let Some(value) = value {
                let gauge = Gauge::new(name, text)?;
                gauge.set(value);
                registry.register(Box::new(gauge))?;
            }
        }
        Ok(())
    }
}

/// Returns the sum of a histogram over all its labels.
fn total(registry: &Registry, name: &str) -> f64 {
    let families = registry.gather();
    let family = families.iter().filter(|family| family.name() == name);
    family.flat_map(|family| family.get_metric()).map(|metric| metric.get_histogram().get_sample_sum()).sum()
}

/// Returns when the last success was, as a file tells it.
fn last_success(file: &str) -> Option<f64> {
    let line = file.lines().find(|line| line.starts_with(LAST_SUCCESS))?;
    line.rsplit(' ').next()?.parse().ok()
}
