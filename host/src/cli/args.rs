//! Arguments that several subcommands share, and how durations are read.

use std::time::Duration;

use kvlock::store::Ttl;
use kvlock::{ConflictRetry, Lock};

/// How to lock.
#[derive(clap::Args)]
pub(super) struct LockArgs {
    /// What to lock: any string
    #[arg(allow_hyphen_values = true)]
    pub(super) key: String,
    /// How long the lock lasts unless renewed, or `forever`
    #[arg(long, env = "KVLOCK_LEASE", value_name = "DURATION", default_value = "30s", value_parser = lease, allow_negative_numbers = true)]
    pub(super) lease: Ttl,
    /// How long to wait for it; 0 tries once [default: forever]
    #[arg(long, env = "KVLOCK_WAIT", value_name = "DURATION", value_parser = wait, allow_negative_numbers = true)]
    wait: Option<Wait>,
    /// The longest pause between two tries
    #[arg(long, env = "KVLOCK_INTERVAL", value_name = "DURATION", default_value = "50ms", value_parser = duration, allow_negative_numbers = true)]
    interval: Duration,
    /// Your name, shown to whoever waits [default: host, process and thread]
    #[arg(long, env = "KVLOCK_OWNER", value_name = "NAME")]
    pub(super) owner: Option<String>,
    /// Take the lock over from an earlier run with the same --owner
    #[arg(long, env = "KVLOCK_ADOPT", requires = "owner")]
    adopt: bool,
    /// Keep the key taken for this long, even if it is released sooner
    #[arg(long, env = "KVLOCK_AT_LEAST", value_name = "DURATION", default_value = "0", value_parser = duration, allow_negative_numbers = true)]
    at_least: Duration,
    /// Exit with this code instead of 75 when the lock is busy
    #[arg(long, env = "KVLOCK_CONFLICT_EXIT_CODE", value_name = "CODE", default_value_t = super::exit::BUSY)]
    pub(super) conflict_exit_code: u8,
}

/// A limit on waiting.
#[derive(Clone, Copy)]
enum Wait {
    Forever,
    AtMost(Duration),
}

impl LockArgs {
    pub(super) fn apply(&self, mut lock: Lock) -> Lock {
        lock = lock.lease(self.lease).interval(self.interval).at_least(self.at_least);
        if let Some(Wait::AtMost(wait)) = self.wait {
            lock = lock.wait(wait);
        }
        if self.adopt { lock.adopt() } else { lock }
    }

    pub(super) fn apply_retry(&self, mut work: ConflictRetry) -> ConflictRetry {
        work = work.lease(self.lease).interval(self.interval);
        if let Some(Wait::AtMost(wait)) = self.wait {
            work = work.wait(wait);
        }
        if self.adopt { work.adopt() } else { work }
    }
}

/// Reads `30s`, `500ms`, `1h 30m`, or a bare number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text.trim_start().starts_with('-') {
        return Err("a duration is not negative".to_string());
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| format!("{error}; give seconds, like 30"));
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; give 30s, 500ms, 2m, or a number of seconds"))
}

/// Reads the length of a lease.
pub(super) fn lease(text: &str) -> Result<Ttl, String> {
    if text == "forever" { Ok(Ttl::Forever) } else { duration(text).map(Ttl::After) }
}

fn wait(text: &str) -> Result<Wait, String> {
    if text == "forever" { Ok(Wait::Forever) } else { duration(text).map(Wait::AtMost) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_documented_form() {
        for (text, expected) in [
            ("30s", Duration::from_secs(30)),
            ("500ms", Duration::from_millis(500)),
            ("2m", Duration::from_secs(120)),
            ("1h30m", Duration::from_secs(5400)),
            ("7", Duration::from_secs(7)),
            ("0", Duration::ZERO),
            ("1.5", Duration::from_millis(1500)),
        ] {
            assert_eq!(duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for bad in ["", "-1", "-5s", "abc", "1e400", "nan", "inf", "99999999999999999999s", "5 parsecs"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
