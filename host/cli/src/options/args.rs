//! Arguments that several subcommands share, and how durations are read.

use std::ffi::OsString;
use std::ops::Deref;
use std::time::Duration;

use clap::ArgMatches;
use clap::error::ErrorKind;
use kvlock::store::Ttl;
use kvlock::{ConflictRetry, Lock, Permit, Resize};

use crate::report::exit::Exit;

/// How to lock.
#[derive(clap::Args)]
pub(crate) struct LockArgs {
    #[command(flatten)]
    pub(crate) key: Key,
    #[command(flatten)]
    pub(crate) hold: HoldArgs,
    /// Take the lock over from an earlier run with the same --owner
    #[arg(long, env = "KVLOCK_ADOPT", requires = "owner")]
    adopt: bool,
    /// Keep the key taken for this long, even if it is released sooner
    #[arg(long, env = "KVLOCK_AT_LEAST", value_name = "DURATION", default_value = "0", value_parser = duration, allow_negative_numbers = true)]
    at_least: Duration,
}

/// What to lock.
#[derive(clap::Args)]
pub(crate) struct Key {
    /// The key: any string; one that begins with `-` is given as --key=-x
    #[arg(value_name = "KEY", required_unless_present = "spelled_key")]
    key: Option<String>,
    #[arg(id = "spelled_key", long = "key", value_name = "KEY", hide = true, conflicts_with = "key")]
    spelled: Option<String>,
}

/// Which semaphore.
#[derive(clap::Args)]
pub(crate) struct Name {
    /// The semaphore's name; one that begins with `-` is given as --name=-x
    #[arg(value_name = "NAME", required_unless_present = "spelled_name")]
    name: Option<String>,
    #[arg(id = "spelled_name", long = "name", value_name = "NAME", hide = true, conflicts_with = "name")]
    spelled: Option<String>,
}

/// Which semaphore, where a number follows. With `--name` the number is the only word.
#[derive(clap::Args)]
pub(crate) struct NameBefore {
    /// The semaphore's name; one that begins with `-` is given as --name=-x
    #[arg(value_name = "NAME", required_unless_present = "spelled_name")]
    name: Option<String>,
    #[arg(id = "spelled_name", long = "name", value_name = "NAME", hide = true)]
    spelled: Option<String>,
}

impl NameBefore {
    /// The name and the number, which is read from the first word if the name is no word.
    pub(crate) fn with(
        self,
        number: Option<u32>,
        what: &str,
        read: fn(&str) -> Result<u32, String>,
    ) -> Result<(String, u32), Exit> {
        match (self.name, self.spelled, number) {
            (Some(name), None, Some(number)) => Ok((name, number)),
            (Some(text), Some(name), None) => match read(&text) {
                Ok(number) => Ok((name, number)),
                Err(error) => Err(Exit::usage(format!("invalid value '{text}' for '{what}': {error}"))),
            },
            (_, _, None) => Err(Exit::usage(format!("{what} is missing"))),
            (_, _, Some(_)) => Err(Exit::usage("the name is given twice: once as a word, and once by --name")),
        }
    }
}

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        self.key.as_ref().or(self.spelled.as_ref()).map_or("", String::as_str)
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        self.name.as_ref().or(self.spelled.as_ref()).map_or("", String::as_str)
    }
}

/// A word that is no key or name unless it stands behind `--`: where a grant is read, `-` is stdin.
pub(crate) fn no_word(matches: &ArgMatches, words: &[OsString]) -> Option<(ErrorKind, String)> {
    let mut last = matches;
    while let Some((_, below)) = last.subcommand() {
        last = below;
    }
    let is_dash =
        |id| last.try_get_many::<String>(id).ok().flatten().is_some_and(|mut words| words.any(|it| it == "-"));
    let stands_free = words.iter().take_while(|word| *word != "--").any(|word| word == "-");
    let (_, option) = [("key", "key"), ("keys", "key"), ("name", "name")].into_iter().find(|(id, _)| is_dash(id))?;
    let told = || (ErrorKind::InvalidValue, format!("a {option} that begins with `-` is given as `--{option}=-`"));
    stands_free.then(told)
}

/// How to acquire a permit.
#[derive(clap::Args)]
pub(crate) struct PermitArgs {
    #[command(flatten)]
    pub(crate) name: Name,
    #[command(flatten)]
    pub(crate) hold: HoldArgs,
}

/// How to wait and how to hold, of a lock and of a permit.
#[derive(clap::Args)]
pub(crate) struct HoldArgs {
    /// How long it is held unless renewed, or `forever`
    #[arg(long, env = "KVLOCK_LEASE", value_name = "DURATION", default_value = "30s", value_parser = lease, allow_negative_numbers = true)]
    pub(crate) lease: Ttl,
    /// How long to wait for it; 0 tries once [default: forever]
    #[arg(long, env = "KVLOCK_WAIT", value_name = "DURATION", value_parser = wait, allow_negative_numbers = true)]
    wait: Option<Wait>,
    #[command(flatten)]
    ride_out: RideOutArgs,
    /// The longest pause between two tries
    #[arg(long, env = "KVLOCK_INTERVAL", value_name = "DURATION", default_value = "50ms", value_parser = duration, allow_negative_numbers = true)]
    interval: Duration,
    /// Your name, shown to whoever waits [default: host, process and thread]
    #[arg(long, env = "KVLOCK_OWNER", value_name = "NAME")]
    pub(crate) owner: Option<String>,
    /// Exit with this code instead of 75 when it is busy
    #[arg(long, env = "KVLOCK_CONFLICT_EXIT_CODE", value_name = "CODE", default_value_t = crate::report::exit::BUSY)]
    pub(crate) conflict_exit_code: u8,
}

/// How to wait for permits that have to come back.
#[derive(clap::Args)]
pub(crate) struct ResizeArgs {
    /// How long to wait for permits that have to come back; 0 looks once [default: forever]
    #[arg(long, env = "KVLOCK_WAIT", value_name = "DURATION", value_parser = wait, allow_negative_numbers = true)]
    wait: Option<Wait>,
    #[command(flatten)]
    ride_out: RideOutArgs,
    /// The longest pause between two looks
    #[arg(long, env = "KVLOCK_INTERVAL", value_name = "DURATION", default_value = "50ms", value_parser = duration, allow_negative_numbers = true)]
    interval: Duration,
}

/// How long an outage is waited for.
#[derive(clap::Args)]
struct RideOutArgs {
    /// How long to ride out an outage, or `forever`; 0: not at all [default: as long as the wait lasts]
    #[arg(long, env = "KVLOCK_RIDE_OUT", value_name = "DURATION", value_parser = wait, allow_negative_numbers = true)]
    ride_out: Option<Wait>,
}

/// How long outages are ridden out; none: as long as the wait lasts.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// One that is there from the first try on.
    pub(crate) first: Option<Duration>,
    pub(crate) later: Option<Duration>,
}

/// How long a store that never answered is waited for by who did not say how long to wait: it may be a wrong address.
const FIRST_CONTACT: Duration = Duration::from_secs(10);

/// A limit on waiting.
#[derive(Clone, Copy)]
enum Wait {
    Forever,
    AtMost(Duration),
}

impl LockArgs {
    pub(crate) fn apply(&self, lock: Lock) -> Lock {
        let mut lock = lock.lease(self.hold.lease).interval(self.hold.interval).at_least(self.at_least);
        if let Some(wait) = self.hold.limit() {
            lock = lock.wait(wait);
        }
        let lock = self.hold.patience().apply(lock, Lock::ride_out, Lock::ride_out_first);
        if self.adopt { lock.adopt() } else { lock }
    }

    pub(crate) fn apply_retry(&self, work: ConflictRetry) -> ConflictRetry {
        let mut work = work.lease(self.hold.lease).interval(self.hold.interval);
        if let Some(wait) = self.hold.limit() {
            work = work.wait(wait);
        }
        self.hold.patience().apply(work, ConflictRetry::ride_out, ConflictRetry::ride_out_first)
    }
}

impl PermitArgs {
    pub(crate) fn apply(&self, permit: Permit) -> Permit {
        let permit = permit.lease(self.hold.lease).interval(self.hold.interval);
        let permit = self.hold.patience().apply(permit, Permit::ride_out, Permit::ride_out_first);
        match self.hold.limit() {
            Some(wait) => permit.wait(wait),
            None => permit,
        }
    }
}

impl HoldArgs {
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.wait.and_then(Wait::limit)
    }

    pub(crate) fn patience(&self) -> Patience {
        self.ride_out.with(self.wait)
    }

    /// Whether the user said how long to ride out an outage.
    pub(crate) fn says_how_long_to_ride_out(&self) -> bool {
        self.ride_out.ride_out.is_some()
    }
}

impl RideOutArgs {
    fn with(&self, wait: Option<Wait>) -> Patience {
        match (self.ride_out, wait) {
            (Some(longest), _) => Patience { first: longest.limit(), later: longest.limit() },
            (None, Some(_)) => Patience { first: None, later: None },
            (None, None) => Patience { first: Some(FIRST_CONTACT), later: None },
        }
    }
}

impl Patience {
    fn apply<T>(self, what: T, ride_out: fn(T, Duration) -> T, first: fn(T, Duration) -> T) -> T {
        let what = if let Some(longest) = self.later { ride_out(what, longest) } else { what };
        if let Some(longest) = self.first { first(what, longest) } else { what }
    }
}

impl ResizeArgs {
    pub(crate) fn patience(&self) -> Patience {
        self.ride_out.with(self.wait)
    }

    pub(crate) fn apply(&self, resize: Resize) -> Resize {
        let resize = resize.interval(self.interval);
        let resize = self.patience().apply(resize, Resize::ride_out, Resize::ride_out_first);
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
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if text.trim_start().starts_with('-') {
        return Err("a duration is not negative".to_string());
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| format!("{error}; give seconds, like 30"));
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; give 30s, 500ms, 2m, or a number of seconds"))
}

/// Reads the length of a lease.
pub(crate) fn lease(text: &str) -> Result<Ttl, String> {
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
