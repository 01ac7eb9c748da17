//! Durations, as a person writes them.

use std::any::TypeId;
use std::str::FromStr;
use std::time::Duration;

use clap::Command;
use kvlock::store::Ttl;

/// A length of time: `30s`, `500ms`, `1h 30m`, or a bare number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HumanDuration(pub(crate) Duration);

/// A length of time, or `forever`, which is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OrForever(pub(crate) Option<Duration>);

impl FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('-') {
            return Err("a duration is not negative".to_string());
        }
        let duration = match text.parse::<f64>() {
            Ok(seconds) => {
                Duration::try_from_secs_f64(seconds).map_err(|error| format!("{error}; give seconds, like 30"))
            }
            Err(_) => humantime::parse_duration(text)
                .map_err(|error| format!("{error}; give 30s, 500ms, 2m, or a number of seconds")),
        };
        duration.map(HumanDuration)
    }
}

impl FromStr for OrForever {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "forever" {
            return Ok(OrForever(None));
        }
        text.parse().map(|HumanDuration(duration)| OrForever(Some(duration)))
    }
}

impl From<OrForever> for Ttl {
    fn from(OrForever(duration): OrForever) -> Self {
        duration.map_or(Ttl::Forever, Ttl::After)
    }
}

/// Shows every duration of a command line as DURATION. One that begins with `-` is read as a value, and refused in
/// words of its own.
pub(crate) fn named(command: Command) -> Command {
    command.mut_subcommands(named).mut_args(|arg| {
        let read = arg.get_value_parser().type_id();
        let is_duration = read == TypeId::of::<HumanDuration>() || read == TypeId::of::<OrForever>();
        if is_duration { arg.value_name("DURATION").allow_negative_numbers(true) } else { arg }
    })
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
            assert_eq!(text.parse(), Ok(HumanDuration(expected)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for bad in ["", "-1", "-5s", "abc", "1e400", "nan", "inf", "99999999999999999999s", "5 parsecs"] {
            assert!(bad.parse::<HumanDuration>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_of_durations_panic(
            noise in ".{0,40}", number in "[-+]?[0-9.]{0,25}([eE][-+]?[0-9]{1,5})?(ns|us|ms|s|m|h|d|w|y)?"
        ) {
            for text in [noise, number.clone(), format!("{number} {number}")] {
                let _ = (text.parse::<HumanDuration>(), text.parse::<OrForever>());
            }
        }
    }
}
