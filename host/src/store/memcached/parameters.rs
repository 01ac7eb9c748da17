//! What may follow the list of servers: `?connect-timeout=2s&timeout=500ms`.

use std::time::Duration;

use super::super::StoreError;
use super::connection::{TIMEOUTS, Timeouts};

/// Takes the parameters over. Each may be given once; there may be none.
pub(super) fn apply(parameters: &str, timeouts: &mut Timeouts) -> Result<(), StoreError> {
    let mut seen = Vec::new();
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let invalid = |why: &str| {
            StoreError::Invalid(format!("the parameter `{}` of the memcached servers: {why}", parameter.escape_debug()))
        };
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let timeout = match name {
            "connect-timeout" => &mut timeouts.connect,
            "timeout" => &mut timeouts.operation,
            _ => return Err(invalid("there is no such one; there are `connect-timeout` and `timeout`")),
        };
        if seen.contains(&name) {
            return Err(invalid("it is given twice"));
        }
        seen.push(name);
        *timeout = duration(value).ok_or_else(|| invalid("give 1ms to 1h, such as 500ms or 2s"))?;
    }
    Ok(())
}

fn duration(text: &str) -> Option<Duration> {
    let duration = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    duration.filter(|duration| TIMEOUTS.contains(duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(parameters: &str) -> Result<(Duration, Duration), StoreError> {
        let second = Duration::from_secs(1);
        let mut timeouts = Timeouts { connect: second, operation: second, spin: Duration::ZERO };
        apply(parameters, &mut timeouts)?;
        Ok((timeouts.connect, timeouts.operation))
    }

    #[test]
    fn timeouts_are_read_and_what_is_not_given_stays() {
        let millis = Duration::from_millis;
        assert_eq!(applied("").unwrap(), (millis(1_000), millis(1_000)));
        assert_eq!(applied("timeout=250ms").unwrap(), (millis(1_000), millis(250)));
        assert_eq!(applied("connect-timeout=2s&timeout=1m").unwrap(), (millis(2_000), millis(60_000)));
        assert_eq!(applied("connect-timeout=2&timeout=0.5").unwrap(), (millis(2_000), millis(500)));
    }

    #[test]
    fn what_is_no_parameter_is_refused_with_what_there_is() {
        for (parameters, part) in [
            ("time-out=1s", "`connect-timeout` and `timeout`"),
            ("Timeout=1s", "`connect-timeout` and `timeout`"),
            ("timeout", "500ms or 2s"),
            ("timeout=", "500ms or 2s"),
            ("timeout=soon", "500ms or 2s"),
            ("timeout=-1", "500ms or 2s"),
            ("timeout=0s", "1ms to 1h"),
            ("timeout=2h", "1ms to 1h"),
            ("timeout=1s&timeout=2s", "twice"),
        ] {
            let Err(StoreError::Invalid(text)) = applied(parameters) else { panic!("`{parameters}` was accepted") };
            assert!(text.contains(part) && text.lines().count() == 1, "`{parameters}`: {text}");
        }
    }
}
