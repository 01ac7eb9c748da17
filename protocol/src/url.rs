//! The one way in which the URLs of stores on a network are written.
//!
//! ```text
//! scheme://[user[:password]@]host[:port][,host[:port]…][/path][?name=value[&name=value…]]
//! ```
//!
//! A user, a password, a path and a value may have `%41` for a byte. An error names the part that is wrong, and never
//! shows a password.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::address::{self, Address};
use crate::contract::{Error, shown};

/// A URL taken apart.
#[derive(Debug, Clone)]
pub struct StoreUrl {
    /// Who logs in.
    pub login: Option<Login>,
    /// Where the servers listen; none for a UNIX socket or a server that is left to the adapter.
    pub servers: Vec<Address>,
    /// What follows the servers, with its slash; empty if nothing does.
    pub path: String,
    /// What follows the `?`.
    pub parameters: Parameters,
}

/// Who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user; it may be empty.
    pub user: String,
    /// The password, if there is one.
    pub password: Option<Secret>,
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// Returns the text itself, for the server alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl StoreUrl {
    /// Takes apart what follows `scheme://`. `default_port` is for servers that name none.
    pub fn parse(rest: &str, default_port: u16) -> Result<StoreUrl, Error> {
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may have any character that is not `/` or `?`, so the last `@` before them ends it.
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (login, servers) = match authority.rsplit_once('@') {
            // As `redis://:$PASSWORD@host` becomes if there is no password.
            Some(("" | ":", servers)) => (None, servers),
            Some((login, servers)) => (Some(Login::parse(login)?), servers),
            None => (None, authority),
        };
        let servers = match servers {
            "" => Vec::new(),
            // What looks like servers, a path or a name may be parts of a password, and is not shown.
            servers if login.is_none() && (path.contains('@') || parameters.contains('@')) => {
                let mut names = parameters.split('&').filter_map(|parameter| parameter.split('=').next());
                let is_cut = path.contains('@') || names.any(|name| name.contains('@'));
                let list = address::parse_list(servers, default_port).ok().filter(|_| !is_cut);
                list.ok_or_else(|| {
                    invalid("there is an `@` where none can be: in a password, write / as %2F, ? as %3F and @ as %40")
                })?
            }
            servers => address::parse_list(servers, default_port)?,
        };
        let path = decoded(path).ok_or_else(|| invalid("the path is not UTF-8"))?;
        Ok(StoreUrl { login, servers, path, parameters: Parameters::parse(parameters)? })
    }
}

impl StoreUrl {
    /// Takes the servers, if a URL of this kind of store names nothing else: no login, no path and no further
    /// parameter.
    pub fn only_servers(self, kind: &str) -> Result<Vec<Address>, Error> {
        if self.login.is_some() {
            return Err(Error::Invalid(format!("{kind} takes no login: write the servers without `@`")));
        }
        if !matches!(self.path.as_str(), "" | "/") {
            let path = shown(&self.path);
            return Err(Error::Invalid(format!("{kind} servers have no path: there is `{path}` behind them")));
        }
        if self.servers.is_empty() {
            return Err(Error::Invalid(format!("the list of {kind} servers is empty: give host:port[,host:port…]")));
        }
        self.parameters.finish()?;
        Ok(self.servers)
    }
}

impl Login {
    fn parse(login: &str) -> Result<Login, Error> {
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        let part = |text| decoded(text).ok_or_else(|| invalid("the user or the password is not UTF-8"));
        Ok(Login { user: part(user)?, password: password.map(part).transpose()?.map(Secret) })
    }
}

/// What follows the `?`: each name once. An adapter takes what it knows, and then [`finish`](Self::finish) refuses the
/// rest.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    given: Vec<(String, Secret)>,
    /// The names that were asked for, for the error.
    known: Vec<&'static str>,
}

impl Parameters {
    fn parse(parameters: &str) -> Result<Parameters, Error> {
        let mut given: Vec<(String, Secret)> = Vec::new();
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if given.iter().any(|(other, _)| other == name) {
                return Err(wrong_parameter(name, "it is given twice"));
            }
            let value = decoded(value).ok_or_else(|| wrong_parameter(name, "its value is not UTF-8"))?;
            given.push((name.to_string(), Secret(value)));
        }
        Ok(Parameters { given, known: Vec::new() })
    }

    /// Takes a text.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let at = self.given.iter().position(|(given, _)| given == name)?;
        Some(self.given.remove(at).1.0)
    }

    /// Takes a whole number.
    pub fn number<N: FromStr>(&mut self, name: &'static str) -> Result<Option<N>, Error> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| wrong_parameter(name, "give a whole number"))
    }

    /// Refuses what no adapter has taken.
    pub fn finish(self) -> Result<(), Error> {
        let Some((name, _)) = self.given.first() else { return Ok(()) };
        let known: Vec<String> = self.known.iter().map(|name| format!("`{name}`")).collect();
        Err(wrong_parameter(name, &format!("there is no such one; there are {}", known.join(", "))))
    }
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

/// Returns the error of a parameter that is not as it should be.
pub fn wrong_parameter(name: &str, why: &str) -> Error {
    Error::Invalid(format!("the parameter `{}` of the store's URL: {why}", shown(name)))
}

fn invalid(why: &str) -> Error {
    Error::Invalid(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(rest: &str) -> String {
        let parsed = StoreUrl::parse(rest, 1).and_then(|mut url| {
            url.parameters.text("connect-timeout");
            url.parameters.text("timeout");
            url.parameters.number::<u8>("number")?;
            url.only_servers("test")
        });
        let Err(Error::Invalid(text)) = parsed else { panic!("`{rest}` was accepted: {parsed:?}") };
        assert_eq!(text.lines().count(), 1, "{text:?}");
        text
    }

    #[test]
    fn every_part_of_a_url_is_found() {
        let url = StoreUrl::parse("me:p%40ss:w@rd@Host,[::1]:7/3%20a?timeout=2s&number=7", 6379).unwrap();
        let login = url.login.unwrap();
        assert_eq!((login.user.as_str(), login.password.unwrap().reveal()), ("me", "p@ss:w@rd"));
        assert_eq!(url.servers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["host:6379", "[::1]:7"]);
        assert_eq!(url.path, "/3 a");
        let mut parameters = url.parameters;
        assert_eq!(parameters.text("timeout").as_deref(), Some("2s"));
        assert_eq!(parameters.number("number").unwrap(), Some(7));
        assert_eq!(parameters.text("absent"), None);
        parameters.finish().unwrap();
    }

    #[test]
    fn a_socket_has_a_path_and_no_server() {
        let url = StoreUrl::parse(":secret@/run/a.sock", 1).unwrap();
        assert_eq!((url.servers.len(), url.path.as_str()), (0, "/run/a.sock"));
        assert_eq!(url.login.unwrap().user, "");
    }

    #[test]
    fn what_is_wrong_is_named_in_one_line() {
        for (rest, part) in [
            ("a?time-out=1s", "`connect-timeout`, `timeout`"),
            ("a?Timeout=1s", "`connect-timeout`, `timeout`"),
            ("a?timeout=1s&timeout=2s", "twice"),
            ("a?number=256", "whole number"),
            ("a?timeout=%ff", "UTF-8"),
            ("user@host", "no login"),
            ("a:1/0", "no path"),
            ("a/,b", "no path"),
            ("a:1//", "no path"),
            ("/", "empty"),
            ("", "empty"),
        ] {
            assert!(refused(rest).contains(part), "`{rest}`: {}", refused(rest));
        }
    }

    #[test]
    fn a_password_that_is_not_written_as_it_should_is_not_shown() {
        for url in
            ["me:hunter2/x@host", "me:hunter2?x@host", "hunter2/@host/0", "me:7/hunter2@host", "me:7?hunter2@host"]
        {
            let error = StoreUrl::parse(url, 1).unwrap_err().to_string();
            assert!(error.contains("%2F") && !error.contains("hunter2"), "{url}: {error}");
        }
        assert!(StoreUrl::parse("host?ca=/etc/me@here.pem", 1).is_ok());
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = StoreUrl::parse("me:hunter2@a?password=hunter2", 1).unwrap();
        assert!(!format!("{url:?}").contains("hunter2"));
        let refused = url.parameters.finish().unwrap_err();
        assert!(!refused.to_string().contains("hunter2") && refused.to_string().contains("password"), "{refused}");
    }
}
