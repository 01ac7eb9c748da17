//! What the URL of a cluster says, and what the environment says where the URL is silent.
//!
//! The variables are those of etcdctl: `ETCDCTL_USER`, `ETCDCTL_PASSWORD`, `ETCDCTL_CACERT`, `ETCDCTL_CERT` and
//! `ETCDCTL_KEY`. Certificates are for `etcds://` only.

use std::ops::RangeInclusive;
use std::time::Duration;

use kvlock_protocol::{Address, Login, Parameters, Secret, StoreUrl};

use super::super::StoreError;
use super::super::parameters::TakeParameters;
#[cfg(not(feature = "tls"))]
use super::insecure::Secure;
#[cfg(feature = "tls")]
use super::secure::Secure;

/// etcd's own port for clients.
const DEFAULT_PORT: u16 = 2379;

/// The member of a URL that names none.
const DEFAULT_HOST: &str = "127.0.0.1";

/// How long to wait for a connection unless the URL says.
const CONNECT: Duration = Duration::from_secs(1);

/// How long to wait for an answer unless the URL says. A cluster without a leader takes 7 s to say so itself.
const ANSWER: Duration = Duration::from_secs(2);

const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);

/// A cluster, and how to speak to it.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) servers: Vec<Address>,
    pub(super) login: Option<Credential>,
    pub(super) timeouts: Timeouts,
    pub(super) secure: Option<Secure>,
}

/// Who logs in.
#[derive(Debug, Clone)]
pub(super) struct Credential {
    pub(super) user: String,
    pub(super) password: Secret,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) answer: Duration,
}

impl Settings {
    /// Reads `etcd://…` or `etcds://…`.
    pub(super) fn read(url: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Settings, StoreError> {
        let (is_secure, rest) = match url.split_once("://") {
            Some(("etcd", rest)) => (false, rest),
            Some(("etcds", rest)) => (true, rest),
            _ => return Err(invalid("give etcd://host[:port][,host[:port]…], or etcds://… for TLS")),
        };
        let mut url = StoreUrl::parse(rest, DEFAULT_PORT)?;
        if !matches!(url.path.as_str(), "" | "/") {
            return Err(invalid(&format!(
                "etcd has no path: there is `{}` behind the servers",
                url.path.escape_debug()
            )));
        }
        let timeouts = Timeouts {
            connect: url.parameters.duration("connect-timeout", TIMEOUTS)?.unwrap_or(CONNECT),
            answer: url.parameters.duration("timeout", TIMEOUTS)?.unwrap_or(ANSWER),
        };
        let secure = secure(is_secure, &mut url.parameters, &variable)?;
        url.parameters.finish()?;
        let login = match url.login {
            Some(login) => Some(credential(login)?),
            None => by_variables(&variable)?,
        };
        let mut servers = url.servers;
        if servers.is_empty() {
            servers.push(Address { host: DEFAULT_HOST.to_string(), port: DEFAULT_PORT });
        }
        Ok(Settings { servers, login, timeouts, secure })
    }
}

fn credential(login: Login) -> Result<Credential, StoreError> {
    let Login { user, password } = login;
    let missing = || invalid("the login has no password: write etcd://user:password@host");
    match user.as_str() {
        "" => Err(invalid("the login has no user: write etcd://user:password@host")),
        _ => Ok(Credential { user, password: password.ok_or_else(missing)? }),
    }
}

/// Reads `ETCDCTL_USER`, which may have the password behind a colon.
fn by_variables(variable: &impl Fn(&str) -> Option<String>) -> Result<Option<Credential>, StoreError> {
    let Some(user) = variable("ETCDCTL_USER") else { return Ok(None) };
    let (user, password) = match user.split_once(':') {
        Some((user, password)) => (user.to_string(), Some(password.to_string())),
        None => (user, variable("ETCDCTL_PASSWORD")),
    };
    match password {
        Some(password) if !user.is_empty() => Ok(Some(Credential { user, password: Secret::new(password) })),
        _ => Err(invalid("the variable ETCDCTL_USER needs both: user:password, or ETCDCTL_PASSWORD beside it")),
    }
}

#[cfg(feature = "tls")]
fn secure(
    is_secure: bool,
    parameters: &mut Parameters,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Option<Secure>, StoreError> {
    let given = [("ca", "ETCDCTL_CACERT"), ("cert", "ETCDCTL_CERT"), ("key", "ETCDCTL_KEY")];
    let mut files = Vec::new();
    for (name, fallback) in given {
        let by_url = parameters.path(name);
        if !is_secure && by_url.is_some() {
            return Err(invalid(&format!("the parameter `{name}` of the store's URL is for TLS: write etcds://")));
        }
        files.push(by_url.or_else(|| variable(fallback).map(Into::into)));
    }
    if !is_secure {
        return Ok(None);
    }
    let (key, cert, ca) = (files.pop().flatten(), files.pop().flatten(), files.pop().flatten());
    let credentials = super::super::tls::Credentials::read(ca, cert, key)?;
    Secure::new(credentials).map(Some)
}

#[cfg(not(feature = "tls"))]
fn secure(
    is_secure: bool,
    _: &mut Parameters,
    _: &impl Fn(&str) -> Option<String>,
) -> Result<Option<Secure>, StoreError> {
    match is_secure {
        true => Err(invalid("built without the feature `tls`")),
        false => Ok(None),
    }
}

fn invalid(why: &str) -> StoreError {
    StoreError::Invalid(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Settings, StoreError> {
        Settings::read(url, |_| None)
    }

    #[test]
    fn a_url_names_members_login_and_timeouts() {
        let settings = read("etcd://me:p%40ss@a,b:1?timeout=3s&connect-timeout=500ms").unwrap();
        assert_eq!(settings.servers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:2379", "b:1"]);
        let login = settings.login.unwrap();
        assert_eq!((login.user.as_str(), login.password.reveal()), ("me", "p@ss"));
        assert_eq!(settings.timeouts.answer, Duration::from_secs(3));
        assert_eq!(settings.timeouts.connect, Duration::from_millis(500));
        assert_eq!(read("etcd://").unwrap().servers[0].to_string(), "127.0.0.1:2379");
    }

    #[test]
    fn the_variables_of_etcdctl_count_where_the_url_is_silent() {
        let variable = |name: &str| match name {
            "ETCDCTL_USER" => Some("root:hunter:2".to_string()),
            "ETCDCTL_CACERT" => Some("/no/such/file".to_string()),
            _ => None,
        };
        let login = Settings::read("etcd://a", variable).unwrap().login.unwrap();
        assert_eq!((login.user.as_str(), login.password.reveal()), ("root", "hunter:2"));
        let login = Settings::read("etcd://other:word@a", variable).unwrap().login.unwrap();
        assert_eq!(login.user, "other");
        let apart = |name: &str| match name {
            "ETCDCTL_USER" => Some("root".to_string()),
            "ETCDCTL_PASSWORD" => Some("hunter2".to_string()),
            _ => None,
        };
        assert_eq!(Settings::read("etcd://a", apart).unwrap().login.unwrap().password.reveal(), "hunter2");
        assert!(Settings::read("etcd://a", |name| (name == "ETCDCTL_USER").then(|| "root".to_string())).is_err());
        #[cfg(feature = "tls")]
        assert!(Settings::read("etcds://a", variable).unwrap_err().to_string().contains("/no/such/file"));
    }

    #[test]
    fn what_is_wrong_is_named_in_one_line_and_no_password_is_shown() {
        for (url, part) in [
            ("etcd:a", "etcd://host"),
            ("http://a", "etcd://host"),
            ("etcd://me@a", "no password"),
            ("etcd://:hunter2@a", "no user"),
            ("etcd://me:hunter2@a/path", "no path"),
            ("etcd://me:hunter2@a?timeout=hunter2", "500ms or 2s"),
            ("etcd://me:hunter2@a,a", "twice"),
            ("etcd://me:hunter2@a?hunter=2", "no such one"),
            #[cfg(feature = "tls")]
            ("etcd://a?ca=/tmp/x", "etcds://"),
            #[cfg(feature = "tls")]
            ("etcds://a?ca=/no/such/file", "there is no such file"),
        ] {
            let Err(StoreError::Invalid(text)) = read(url) else { panic!("`{url}` was accepted") };
            assert!(text.contains(part) && !text.contains("hunter2"), "`{url}`: {text}");
            assert_eq!(text.lines().count(), 1, "{text:?}");
        }
        let settings = read("etcd://me:hunter2@a").unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
