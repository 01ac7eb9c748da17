//! Parameters of a store's URL that are durations or paths.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use kvlock_protocol::{Parameters, wrong_parameter};

use super::StoreError;

/// Takes what only the host has types for.
pub(super) trait TakeParameters {
    /// Takes the path of a file.
    fn path(&mut self, name: &'static str) -> Option<PathBuf>;

    /// Takes a duration between a shortest and a longest one: `500ms`, `2s`, or seconds as a number.
    fn duration(&mut self, name: &'static str, range: RangeInclusive<Duration>)
    -> Result<Option<Duration>, StoreError>;
}

impl TakeParameters for Parameters {
    fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    fn duration(
        &mut self,
        name: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Result<Option<Duration>, StoreError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let duration = match text.parse() {
            Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            Err(_) => humantime::parse_duration(&text).ok(),
        };
        let duration = duration.filter(|duration| range.contains(duration));
        let out_of_range = || {
            let [shortest, longest] = [*range.start(), *range.end()].map(humantime::format_duration);
            wrong_parameter(name, &format!("give {shortest} to {longest}, such as 500ms or 2s")).into()
        };
        duration.map(Some).ok_or_else(out_of_range)
    }
}

#[cfg(test)]
mod tests {
    use kvlock_protocol::StoreUrl;

    use super::*;

    const RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);

    #[test]
    fn a_duration_is_text_or_a_number_of_seconds() {
        for (text, millis) in [("250ms", 250), ("1m", 60_000), ("2", 2_000), ("0.5", 500)] {
            let mut url = StoreUrl::parse(&format!("a?timeout={text}"), 1).unwrap();
            assert_eq!(
                url.parameters.duration("timeout", RANGE).unwrap(),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_or_out_of_range_is_named_in_one_line() {
        for (rest, part) in [
            ("a?timeout", "500ms or 2s"),
            ("a?timeout=", "500ms or 2s"),
            ("a?timeout=soon", "500ms or 2s"),
            ("a?timeout=-1", "500ms or 2s"),
            ("a?timeout=0s", "1ms to 1h"),
            ("a?timeout=2h", "1ms to 1h"),
        ] {
            let mut url = StoreUrl::parse(rest, 1).unwrap();
            let Err(StoreError::Invalid(text)) = url.parameters.duration("timeout", RANGE) else { panic!("{rest}") };
            assert!(text.contains(part) && text.lines().count() == 1, "`{rest}`: {text}");
        }
    }
}
