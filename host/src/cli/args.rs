//! Arguments that several subcommands share, and how durations are read.

use std::time::Duration;

use clap::ArgMatches;
use clap::builder::FalseyValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use kvlock::store::Ttl;
use kvlock::{ConflictRetry, Lock, Permit, Resize};

/// How to lock.
#[derive(clap::Args)]
pub(super) struct LockArgs {
    /// What to lock: any string
    #[arg(allow_hyphen_values = true)]
    pub(super) key: String,
    #[command(flatten)]
    pub(super) hold: HoldArgs,
    /// Take the lock over from an earlier run with the same --owner
    #[arg(long, env = "KVLOCK_ADOPT", value_parser = flag(), requires = "owner")]
    adopt: bool,
    /// Keep the key taken for this long, even if it is released sooner
    #[arg(long, env = "KVLOCK_AT_LEAST", value_name = "DURATION", default_value = "0", value_parser = duration, allow_negative_numbers = true)]
    at_least: Duration,
}

/// What is wrong with arguments each of which is right. A variable is heeded where it applies: whoever sets it for many
/// commands does not mean each of them.
pub(super) fn contradiction(matches: &ArgMatches) -> Option<(ErrorKind, &'static str)> {
    let (given, at_all) = (|id| is_given(matches, id), |id| source(matches, id).is_some());
    if given("quiet") && given("verbose") {
        return Some((ErrorKind::ArgumentConflict, "--quiet and --verbose say the opposite of each other"));
    }
    if (given("retries") || given("reserve")) && !at_all("retry_on") {
        let what = "--retries and --reserve want a --retry-on: the exit code that means a conflict";
        return Some((ErrorKind::MissingRequiredArgument, what));
    }
    adopts_by_inheritance(matches).then_some((
        ErrorKind::MissingRequiredArgument,
        "--adopt under `kvlock run` wants an --owner: KVLOCK_OWNER is the name of that run, which all that it starts has",
    ))
}

/// Whether an argument stands on the command line.
pub(super) fn is_given(matches: &ArgMatches, id: &str) -> bool {
    source(matches, id) == Some(ValueSource::CommandLine)
}

/// Where an argument comes from; of a subcommand, the last one's.
fn source(matches: &ArgMatches, id: &str) -> Option<ValueSource> {
    let below = matches.subcommand().and_then(|(_, matches)| source(matches, id));
    below.or_else(|| matches.try_contains_id(id).ok().filter(|there| *there).and_then(|_| matches.value_source(id)))
}

/// Whether a lock is to be taken over in the name of the run that started us: all that it started would take it from
/// each other.
fn adopts_by_inheritance(matches: &ArgMatches) -> bool {
    let Some((_, matches)) = matches.subcommand() else { return false };
    let adopts = matches!(matches.try_get_one("adopt"), Ok(Some(true)));
    let under_another = std::env::var_os("KVLOCK_KEY").is_some_and(|key| !key.is_empty());
    adopts && under_another && matches.value_source("owner") == Some(ValueSource::EnvVariable)
}

/// Reads a switch from a variable: `0`, `no`, `off` and `false` leave it off, `1` and all else turn it on.
pub(super) fn flag() -> FalseyValueParser {
    FalseyValueParser::new()
}

/// How to acquire a permit.
#[derive(clap::Args)]
pub(super) struct PermitArgs {
    /// The semaphore's name
    #[arg(allow_hyphen_values = true)]
    pub(super) name: String,
    #[command(flatten)]
    pub(super) hold: HoldArgs,
}

/// How to wait and how to hold, of a lock and of a permit.
#[derive(clap::Args)]
pub(super) struct HoldArgs {
    /// How long it is held unless renewed, or `forever`
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
    /// Exit with this code instead of 75 when it is busy
    #[arg(long, env = "KVLOCK_CONFLICT_EXIT_CODE", value_name = "CODE", default_value_t = super::exit::BUSY)]
    pub(super) conflict_exit_code: u8,
}

/// How to wait for permits that have to come back.
#[derive(clap::Args)]
pub(super) struct ResizeArgs {
    /// How long to wait for permits that have to come back; 0 looks once [default: forever]
    #[arg(long, env = "KVLOCK_WAIT", value_name = "DURATION", value_parser = wait, allow_negative_numbers = true)]
    wait: Option<Wait>,
    /// The longest pause between two looks
    #[arg(long, env = "KVLOCK_INTERVAL", value_name = "DURATION", default_value = "50ms", value_parser = duration, allow_negative_numbers = true)]
    interval: Duration,
}

/// A limit on waiting.
#[derive(Clone, Copy)]
enum Wait {
    Forever,
    AtMost(Duration),
}

impl LockArgs {
    pub(super) fn apply(&self, lock: Lock) -> Lock {
        let mut lock = lock.lease(self.hold.lease).interval(self.hold.interval).at_least(self.at_least);
        if let Some(wait) = self.hold.limit() {
            lock = lock.wait(wait);
        }
        if self.adopt { lock.adopt() } else { lock }
    }

    pub(super) fn apply_retry(&self, work: ConflictRetry) -> ConflictRetry {
        let mut work = work.lease(self.hold.lease).interval(self.hold.interval);
        if let Some(wait) = self.hold.limit() {
            work = work.wait(wait);
        }
        if self.adopt { work.adopt() } else { work }
    }
}

impl PermitArgs {
    pub(super) fn apply(&self, permit: Permit) -> Permit {
        let permit = permit.lease(self.hold.lease).interval(self.hold.interval);
        match self.hold.limit() {
            Some(wait) => permit.wait(wait),
            None => permit,
        }
    }
}

impl HoldArgs {
    fn limit(&self) -> Option<Duration> {
        self.wait.and_then(Wait::limit)
    }
}

impl ResizeArgs {
    pub(super) fn apply(&self, resize: Resize) -> Resize {
        let resize = resize.interval(self.interval);
        match self.wait.and_then(Wait::limit) {
            Some(wait) => resize.wait(wait),
            None => resize,
        }
    }
}

impl Wait {
    fn limit(self) -> Option<Duration> {
        match self {
            Wait::Forever => None,
            Wait::AtMost(wait) => Some(wait),
        }
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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn no_text_makes_the_readers_of_durations_panic(
            noise in ".{0,40}", number in "[-+]?[0-9.]{0,25}([eE][-+]?[0-9]{1,5})?(ns|us|ms|s|m|h|d|w|y)?"
        ) {
            for text in [noise, number.clone(), format!("{number} {number}")] {
                let _ = (duration(&text), lease(&text), wait(&text).is_ok());
            }
        }
    }
}
