//! The list of servers, and which of them keeps a key.

use std::borrow::Cow;
use std::fmt;

use sha2::{Digest, Sha256};

use super::super::StoreError;

/// The port that IANA gave memcached.
const DEFAULT_PORT: u16 = 11211;

/// Where one server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// A name or an IP address; an IPv6 address without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Reads `host:port[,host:port…]`, after which a URL may have its `/`. The error names the part that is wrong.
pub(super) fn parse_list(list: &str) -> Result<Vec<Address>, StoreError> {
    let list = list.strip_suffix('/').unwrap_or(list);
    if list.trim().is_empty() {
        return Err(StoreError::Invalid("the list of memcached servers is empty: give host:port[,host:port…]".into()));
    }
    let mut servers = Vec::new();
    for part in list.split(',') {
        let address = parse(part).map_err(|why| {
            StoreError::Invalid(format!("memcached server `{}` in `{}`: {why}", escape(part), escape(list)))
        })?;
        if servers.contains(&address) {
            return Err(StoreError::Invalid(format!(
                "memcached server `{address}` stands twice in `{}`",
                escape(list)
            )));
        }
        servers.push(address);
    }
    Ok(servers)
}

fn escape(text: &str) -> impl fmt::Display + '_ {
    text.escape_debug()
}

fn parse(part: &str) -> Result<Address, &'static str> {
    if part.contains('/') {
        return Err("a server has no path: give host:port");
    }
    let (host, port) = match part.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("`[` without `]`")?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| "no IPv6 address in the brackets")?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or("no `:` after `]`")?) })
        }
        None => match part.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("an IPv6 address stands in brackets: [::1]:11211"),
            Some((host, port)) => (host, Some(port)),
            None => (part, None),
        },
    };
    if host.is_empty() {
        return Err("the host is missing");
    }
    if !host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':')) {
        return Err("not a host name: letters, digits, `.`, `-` and `_`");
    }
    Ok(Address { host: host.to_lowercase(), port: port.map_or(Ok(DEFAULT_PORT), parse_port)? })
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    const WRONG: &str = "the port is a number from 1 to 65535";
    // `u16::from_str` would take "+80".
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(WRONG);
    }
    text.parse().ok().filter(|port| *port != 0).ok_or(WRONG)
}

/// The index of the server that keeps `key`: rendezvous (highest random weight) hashing.
///
/// Every client must choose the same server, on whatever platform and in whatever order it was given the list: hence
/// a hash that a standard defines, over the server's name and the key. A server that is down keeps its keys: choosing
/// another one for the time being would give a lock to two holders. Taking a server out of the list moves only the
/// keys that it kept.
pub(super) fn choose(servers: impl ExactSizeIterator<Item = impl fmt::Display>, key: &str) -> usize {
    if servers.len() == 1 {
        return 0;
    }
    let key = beside_its_lock(key);
    let weighed = servers.enumerate().map(|(index, server)| (weight(&server.to_string(), &key), index));
    weighed.max().map_or(0, |(_, index)| index)
}

/// The line of those who wait for a lock stands on the lock's own server, so that they are read in one request, and a
/// server that is slow stalls nobody who waits for a lock on another one.
fn beside_its_lock(key: &str) -> Cow<'_, str> {
    match key.split_once(":line") {
        Some((namespace, rest)) if !namespace.contains(':') && rest.starts_with([':', '#']) => {
            format!("{namespace}:lock{rest}").into()
        }
        _ => key.into(),
    }
}

fn weight(server: &str, key: &str) -> [u8; 32] {
    // Neither a server's name nor a key can contain the separator.
    Sha256::new().chain_update(server).chain_update([0]).chain_update(key).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_with_default_ports_names_and_ipv6() {
        let list = parse_list("127.0.0.1,Cache-1.example:11212,[::1],[fe80::1]:7").unwrap();
        let shown: Vec<_> = list.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["127.0.0.1:11211", "cache-1.example:11212", "[::1]:11211", "[fe80::1]:7"]);
        // As the authority of a URL is written.
        assert_eq!(parse_list("a:1,b:2/").unwrap(), parse_list("a:1,b:2").unwrap());
    }

    #[test]
    fn a_bad_list_is_refused_and_the_bad_part_is_named() {
        let cases = [
            ("", "empty"),
            ("  ", "empty"),
            ("a,", "``"),
            ("a:0", "`a:0`"),
            ("a:65536", "`a:65536`"),
            ("a:+80", "`a:+80`"),
            ("a:", "`a:`"),
            (":11211", "host is missing"),
            ("a:11211, b:11211", "` b:11211`"),
            ("a b", "`a b`"),
            ("::1", "brackets"),
            ("[::1", "without"),
            ("[nonsense]:1", "IPv6"),
            ("[::1]1", "no `:`"),
            ("a:1,A:1", "twice"),
            ("a,a:11211", "twice"),
            ("a\r\nflush_all", "not a host name"),
            ("user@host", "not a host name"),
            ("a:1/0", "no path"),
            ("a/,b", "no path"),
            ("a:1//", "no path"),
            ("/", "empty"),
        ];
        for (list, part) in cases {
            let Err(StoreError::Invalid(text)) = parse_list(list) else { panic!("`{list}` was accepted") };
            assert!(text.contains(part), "`{list}`: {text}");
            assert_eq!(text.lines().count(), 1, "{text:?}");
        }
    }

    #[test]
    fn a_line_stands_on_the_server_of_its_lock_and_nothing_else_is_moved() {
        for (key, kept_like) in [
            ("n:line:k", "n:lock:k"),
            ("n:line#0f", "n:lock#0f"),
            ("n:lock:a:line:b", "n:lock:a:line:b"),
            ("n:linear:k", "n:linear:k"),
            ("n:permit:1:k", "n:permit:1:k"),
        ] {
            assert_eq!(beside_its_lock(key), kept_like);
        }
    }

    #[test]
    fn the_choice_of_a_server_never_changes_between_releases() {
        let servers = ["a:11211", "b:11211", "c:11211"];
        let chosen: [_; 8] = std::array::from_fn(|n| servers[choose(servers.iter(), &format!("key-{n}"))]);
        // By Python's hashlib. A change here would move locks that are held.
        assert_eq!(chosen.map(|server| &server[..1]).concat(), "bcabbcbc");
        let reversed: Vec<_> = servers.iter().rev().collect();
        for (n, server) in chosen.iter().enumerate() {
            assert_eq!(reversed[choose(reversed.iter(), &format!("key-{n}"))], server);
        }
    }
}
