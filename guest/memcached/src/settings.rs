//! Where the store is: the variable `KVLOCK_STORE`, which has the URL that the native host takes.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::time::Duration;

use kvlock_protocol::{Address, DEFAULT_PORT, Error, Greeting, Parameters, StoreUrl, number, wrong_parameter};

/// The variable.
pub(crate) const VARIABLE: &str = "KVLOCK_STORE";

/// The shortest and the longest timeout of the native host.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);

/// As long as the native host waits, and for the same reasons.
const USUAL: Duration = Duration::from_secs(1);

/// What a URL says.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) servers: Vec<Address>,
    pub(crate) greeting: Option<Greeting>,
    pub(crate) timeouts: Timeouts,
}

/// How long to wait for a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// For the look-up of a name, and again for a connection.
    pub(crate) connect: Duration,
    /// For the replies to a request.
    pub(crate) answer: Duration,
}

impl Settings {
    /// Reads the URL among the variables of the environment.
    pub(crate) fn read(variables: Vec<(String, String)>) -> Result<Settings, Error> {
        let url = variables.into_iter().find(|(name, _)| name == VARIABLE);
        let (_, url) = url.ok_or_else(|| {
            Error::Invalid(format!(
                "{VARIABLE} is not set: give the component an environment with {VARIABLE}=memcached://host:port"
            ))
        })?;
        Settings::parse(&url)
    }

    fn parse(url: &str) -> Result<Settings, Error> {
        let Some(rest) = url.strip_prefix("memcached://") else {
            return Err(unfit(match url.starts_with("memcacheds://") {
                true => "no TLS: write memcached://host:port, or use the native host",
                // What it has instead may be a part of a password.
                false => "memcached only: write memcached://host:port",
            }));
        };
        let mut url = StoreUrl::parse(rest, DEFAULT_PORT)?;
        let timeouts = Timeouts {
            connect: duration(&mut url.parameters, "connect-timeout")?.unwrap_or(USUAL),
            answer: duration(&mut url.parameters, "timeout")?.unwrap_or(USUAL),
        };
        let greeting = url.login.take().as_ref().map(Greeting::new).transpose()?;
        if url.servers.is_empty() && url.path.len() > 1 {
            return Err(unfit("no UNIX socket: write memcached://host:port"));
        }
        Ok(Settings { servers: url.only_servers("memcached")?, greeting, timeouts })
    }
}

fn unfit(what: &str) -> Error {
    Error::Invalid(format!("{VARIABLE}: this component reaches {what}"))
}

fn duration(parameters: &mut Parameters, name: &'static str) -> Result<Option<Duration>, Error> {
    let Some(text) = parameters.text(name) else { return Ok(None) };
    let duration = read_duration(&text).filter(|duration| TIMEOUTS.contains(duration));
    duration.map(Some).ok_or_else(|| wrong_parameter(name, "give 1ms to 1h, such as 500ms or 2s"))
}

/// Reads `500ms`, `2s`, `1m`, `1h`, and whole seconds without a unit.
fn read_duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let unit = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number(digits.as_bytes())?.checked_mul(unit).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn parse(url: &str) -> Result<Settings, Error> {
        Settings::read(vec![("A".into(), "b".into()), (VARIABLE.into(), url.into())])
    }

    #[test]
    fn the_urls_of_the_native_host_are_taken() {
        let settings = parse("memcached://me:pw@10.0.0.5,[::1]:7,Cache?timeout=250ms&connect-timeout=2").unwrap();
        let servers: Vec<_> = settings.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.5:11211", "[::1]:7", "cache:11211"]);
        assert!(settings.greeting.is_some());
        assert_eq!(settings.timeouts.answer, Duration::from_millis(250));
        assert_eq!(settings.timeouts.connect, Duration::from_secs(2));
    }

    #[test]
    fn what_the_component_cannot_reach_is_named_in_one_line() {
        assert!(matches!(Settings::read(vec![]), Err(Error::Invalid(text)) if text.contains("not set")));
        for (url, part) in [
            ("", "memcached only"),
            ("localhost", "memcached only"),
            ("redis://a", "memcached only"),
            ("memcacheds://a", "no TLS"),
            ("memcached:///run/a.sock", "no UNIX socket"),
            ("memcached://", "empty"),
            ("memcached://a/b", "no path"),
            ("memcached://me@a", "no password"),
            ("memcached://a?spin=1s", "`connect-timeout`, `timeout`"),
            ("memcached://a?timeout=0", "1ms to 1h"),
            ("memcached://a?timeout=2h", "1ms to 1h"),
            ("memcached://a?timeout=soon", "1ms to 1h"),
        ] {
            let Err(Error::Invalid(text)) = parse(url) else { panic!("`{url}` was accepted") };
            assert!(text.contains(part) && text.lines().count() == 1, "`{url}`: {text}");
        }
    }

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, millis) in [("250ms", 250), ("2s", 2_000), ("2", 2_000), ("90m", 5_400_000), ("1h", 3_600_000)] {
            assert_eq!(read_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "s", "-1", "+1", "1 s", "1.", ".5x", "1d", "99999999999999999s", "0.5", "99999999999999999999s"]
        {
            assert_eq!(read_duration(text), None, "{text}");
        }
    }
}
