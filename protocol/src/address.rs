//! Where servers listen, as a URL names them.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv6Addr;

use crate::contract::{Error, shown};
use crate::number::number;

/// Where one server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address; an IPv6 address without its brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
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

/// Reads `host[:port][,host[:port]…]`. The error names the part that is wrong.
///
/// # Errors
/// [`Error::Invalid`] for any other text.
pub fn parse_list(list: &str, default_port: u16) -> Result<Vec<Address>, Error> {
    if list.trim().is_empty() {
        return Err(Error::Invalid("the list of servers is empty: give host:port[,host:port…]".to_owned()));
    }
    let mut servers = Vec::new();
    for part in list.split(',') {
        let address = parse(part, default_port)
            .map_err(|why| Error::Invalid(format!("server `{}` in `{}`: {why}", shown(part), shown(list))))?;
        if servers.contains(&address) {
            return Err(Error::Invalid(format!("server `{address}` stands twice in `{}`", shown(list))));
        }
        servers.push(address);
    }
    Ok(servers)
}

fn parse(part: &str, default_port: u16) -> Result<Address, &'static str> {
    let (host, port) = match part.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("`[` without `]`")?;
            host.parse::<Ipv6Addr>().map_err(|_| "no IPv6 address in the brackets")?;
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
    // A letter beyond ASCII is whatever is neither white nor unprintable: to know them all would take tables.
    let is_letter = |c: char| c.is_ascii_alphanumeric() || !(c.is_ascii() || c.is_control() || c.is_whitespace());
    if !host.chars().all(|c| is_letter(c) || matches!(c, '.' | '-' | '_' | ':')) {
        return Err("not a host name: letters, digits, `.`, `-` and `_`");
    }
    Ok(Address { host: host.to_ascii_lowercase(), port: port.map_or(Ok(default_port), parse_port)? })
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    let port = number(text.as_bytes()).and_then(|port| u16::try_from(port).ok());
    port.filter(|port| *port != 0).ok_or("the port is a number from 1 to 65535")
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_list_is_read_with_default_ports_names_and_ipv6() {
        let list = parse_list("127.0.0.1,Cache-1.example:11212,[::1],[fe80::1]:7", 11211).unwrap();
        let shown: Vec<_> = list.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["127.0.0.1:11211", "cache-1.example:11212", "[::1]:11211", "[fe80::1]:7"]);
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
        ];
        for (list, part) in cases {
            let Err(Error::Invalid(text)) = parse_list(list, 11211) else { panic!("`{list}` was accepted") };
            assert!(text.contains(part), "`{list}`: {text}");
            assert_eq!(text.lines().count(), 1, "{text:?}");
        }
    }
}
