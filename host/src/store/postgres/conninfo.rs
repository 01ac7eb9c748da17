//! Where a store is: its URL, and what of libpq's conventions stands in the environment and in files.
//!
//! A parameter of the URL counts before a variable, and that before the default, as with libpq.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslMode};

use kvlock_protocol::{Login, Parameters, Secret, StoreUrl};

use super::super::StoreError;
use super::super::parameters::TakeParameters;
use super::passfile;
use super::place::{self, Place, Servers};
use super::tls::{Check, Tls, TlsFiles};

const DEFAULT_PORT: u16 = 5432;

/// What a timeout may be.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);

/// How long to wait for a connection to one address, with its handshake and login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait for an answer. A commit takes some milliseconds on a quiet disk, and far longer on a busy one.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How many connections a store has at most. Each flushes by itself, and the server flushes for several at once.
const CONNECTIONS: usize = 8;

/// How many a user may ask for: a server has a hundred unless told otherwise.
const MOST_CONNECTIONS: usize = 64;

/// How to get to a store.
#[derive(Debug, Clone)]
pub(super) struct Conninfo {
    /// Tried in turn until one can be written to.
    pub(super) places: Vec<Place>,
    /// Everything that does not differ between them.
    pub(super) config: Config,
    pub(super) user: String,
    pub(super) database: String,
    /// The password of the URL or the environment.
    pub(super) password: Option<Secret>,
    /// Where else passwords stand.
    pub(super) passfile: Option<PathBuf>,
    pub(super) tls: Tls,
    pub(super) keepalive: Keepalive,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) connections: usize,
}

/// When a connection on which nothing is heard is given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Keepalive {
    pub(super) is_off: bool,
    pub(super) idle: Option<Duration>,
    pub(super) interval: Option<Duration>,
    pub(super) count: Option<u32>,
}

/// What a process inherits.
pub(super) trait Surroundings {
    fn variable(&self, name: &str) -> Option<String>;
    fn home(&self) -> Option<PathBuf>;
    fn user(&self) -> Option<String>;
}

/// Those of this process.
pub(super) struct Process;

impl Surroundings for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    fn home(&self) -> Option<PathBuf> {
        std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
    }

    fn user(&self) -> Option<String> {
        whoami::username().ok()
    }
}

impl Conninfo {
    /// Reads a URL that begins with `postgres://` or `postgresql://`.
    pub(super) fn parse(url: &str, around: &dyn Surroundings) -> Result<Conninfo, StoreError> {
        let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        let rest = rest.ok_or_else(|| invalid("a URL of PostgreSQL begins with `postgres://` or `postgresql://`"))?;
        let port = match around.variable("PGPORT") {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
                invalid(&format!("the variable PGPORT is `{}`: give a number from 1 to 65535", port.escape_debug()))
            })?,
            None => DEFAULT_PORT,
        };
        let (rest, folders) = place::take_folders(rest, port)?;
        let StoreUrl { login, servers, path, mut parameters } = StoreUrl::parse(&rest, port)?;
        let mut given = Given { parameters: &mut parameters, around };
        let servers =
            servers.into_iter().map(|server| Place::Host { name: server.host, address: None, port: server.port });
        let places = given.places(servers.chain(folders).collect(), port)?;
        let (user, password) = given.login(login)?;
        let database = given.text("dbname", "PGDATABASE");
        let database = match (path.strip_prefix('/').filter(|path| !path.is_empty()), database) {
            (Some(path), _) => path.to_string(),
            (None, Some(database)) => database,
            (None, None) => user.clone(),
        };
        let mut config = Config::new();
        config.user(&user).dbname(&database);
        let fallback = given.parameters.text("fallback_application_name").unwrap_or_else(|| "kvlock".to_string());
        config.application_name(given.text("application_name", "PGAPPNAME").unwrap_or(fallback));
        if let Some(options) = given.text("options", "PGOPTIONS") {
            config.options(options);
        }
        given.session_attributes()?;
        given.no_kerberos()?;
        if let Some(binding) = given.text("channel_binding", "PGCHANNELBINDING") {
            config.channel_binding(match binding.as_str() {
                "disable" => ChannelBinding::Disable,
                "prefer" => ChannelBinding::Prefer,
                "require" => ChannelBinding::Require,
                _ => return Err(given.wrong("channel_binding", "give disable, prefer or require")),
            });
        }
        let (mode, tls) = given.tls()?;
        config.ssl_mode(mode);
        // As the other stores spell it, too.
        let spelled = given.parameters.duration("connect-timeout", TIMEOUTS)?;
        let connect_timeout = match given.parameters.duration("connect_timeout", TIMEOUTS)?.or(spelled) {
            Some(timeout) => timeout,
            None => given.connect_timeout_of_environment()?.unwrap_or(CONNECT_TIMEOUT),
        };
        let timeout = given.parameters.duration("timeout", TIMEOUTS)?.unwrap_or(TIMEOUT);
        let connections = given.parameters.number::<usize>("connections")?.unwrap_or(CONNECTIONS);
        if !(1..=MOST_CONNECTIONS).contains(&connections) {
            return Err(given.wrong("connections", &format!("give a number from 1 to {MOST_CONNECTIONS}")));
        }
        let keepalive = given.keepalive()?;
        let passfile = given.text("passfile", "PGPASSFILE").map(PathBuf::from);
        let passfile = passfile.or_else(|| Some(around.home()?.join(".pgpass")));
        parameters.finish()?;
        Ok(Conninfo {
            places,
            config,
            user,
            database,
            password,
            passfile,
            tls,
            keepalive,
            connect_timeout,
            timeout,
            connections,
        })
    }

    /// Returns the password for a server, and a note on a file that was not read, for the error that follows.
    pub(super) fn password_for(&self, place: &Place) -> (Option<Secret>, Option<String>) {
        if let Some(password) = &self.password {
            return (Some(password.clone()), None);
        }
        let Some(file) = &self.passfile else { return (None, None) };
        let (host, port) = place.in_passfile();
        match passfile::find(file, &host, port, &self.database, &self.user) {
            Ok(password) => (password, None),
            Err(why) => (None, Some(why)),
        }
    }
}

/// What is given, by the URL or by the environment.
struct Given<'a> {
    parameters: &'a mut Parameters,
    around: &'a dyn Surroundings,
}

impl Given<'_> {
    fn text(&mut self, name: &'static str, variable: &str) -> Option<String> {
        self.parameters.text(name).filter(|value| !value.is_empty()).or_else(|| self.around.variable(variable))
    }

    fn wrong(&self, name: &str, why: &str) -> StoreError {
        invalid(&format!("the parameter `{name}` of the store's URL: {why}"))
    }

    /// Returns where the servers are: those before the `/` in the URL, else those in its parameters, else those of the
    /// environment, else one of this machine.
    fn places(&mut self, in_url: Vec<Place>, default_port: u16) -> Result<Vec<Place>, StoreError> {
        let [host, address, port] = ["host", "hostaddr", "port"].map(|name| self.parameters.text(name));
        if !in_url.is_empty() {
            return match (host, port) {
                (None, None) => place::with_addresses(in_url, address.as_deref()),
                _ => Err(invalid("the store's URL names servers twice: before the `/`, and in `host` or `port`")),
            };
        }
        let (host, address) = match (host, address) {
            (None, None) => (self.around.variable("PGHOST"), self.around.variable("PGHOSTADDR")),
            named => named,
        };
        Servers { host, address, port, default_port }.places()
    }

    fn login(&mut self, login: Option<Login>) -> Result<(String, Option<Secret>), StoreError> {
        let (user, password) = login.map_or((String::new(), None), |login| (login.user, login.password));
        let user = Some(user).filter(|user| !user.is_empty());
        let (named, secret) = (self.text("user", "PGUSER"), self.text("password", "PGPASSWORD"));
        let user = user.or(named).or_else(|| self.around.user());
        let user = user.ok_or_else(|| invalid("the store's URL names no user, and the system does not either"))?;
        Ok((user, password.or(secret.map(Secret::new))))
    }

    /// Refuses sessions that only read. A store writes, so it passes over a standby whatever is asked for.
    fn session_attributes(&mut self) -> Result<(), StoreError> {
        match self.text("target_session_attrs", "PGTARGETSESSIONATTRS").as_deref() {
            None | Some("any" | "read-write" | "primary") => Ok(()),
            Some(_) => Err(self.wrong("target_session_attrs", "locks are written: give read-write")),
        }
    }

    fn no_kerberos(&mut self) -> Result<(), StoreError> {
        match self.text("gssencmode", "PGGSSENCMODE").as_deref() {
            None | Some("disable" | "prefer") => Ok(()),
            Some(_) => Err(self.wrong("gssencmode", "kvlock does not speak GSSAPI: give disable, and use TLS")),
        }
    }

    fn tls(&mut self) -> Result<(SslMode, Tls), StoreError> {
        let home = self.around.home().map(|home| home.join(".postgresql"));
        let by_default = |name: &str| home.as_ref().map(|home| home.join(name)).filter(|file| file.exists());
        let mode = self.text("sslmode", "PGSSLMODE");
        let authorities = self.text("sslrootcert", "PGSSLROOTCERT");
        let of_the_system = authorities.as_deref() == Some("system");
        let ca = authorities.map(PathBuf::from).filter(|_| !of_the_system).or_else(|| match of_the_system {
            true => None,
            false => by_default("root.crt"),
        });
        let cert = self.text("sslcert", "PGSSLCERT").map(PathBuf::from).or_else(|| by_default("postgresql.crt"));
        let key = self.text("sslkey", "PGSSLKEY").map(PathBuf::from).or_else(|| by_default("postgresql.key"));
        let (mode, check) = match (mode.as_deref(), ca.is_some() || of_the_system) {
            (Some("disable"), _) => return Ok((SslMode::Disable, Tls::none())),
            (None | Some("allow" | "prefer"), _) => (SslMode::Prefer, Check::Nothing),
            // As libpq: whoever names an authority wants it to be asked.
            (Some("require"), false) => (SslMode::Require, Check::Nothing),
            (Some("require" | "verify-ca"), _) => (SslMode::Require, Check::Authority),
            (Some("verify-full"), _) => (SslMode::Require, Check::Name),
            (Some(_), _) => {
                return Err(self.wrong("sslmode", "give disable, prefer, require, verify-ca or verify-full"));
            }
        };
        Ok((mode, Tls::new(check, &TlsFiles { ca, cert, key })?))
    }

    fn connect_timeout_of_environment(&self) -> Result<Option<Duration>, StoreError> {
        let Some(text) = self.around.variable("PGCONNECT_TIMEOUT") else { return Ok(None) };
        let seconds = text.parse().ok().filter(|seconds| (1..=3600).contains(seconds)).map(Duration::from_secs);
        seconds.map(Some).ok_or_else(|| {
            let text = text.escape_debug();
            invalid(&format!("the variable PGCONNECT_TIMEOUT is `{text}`: give seconds from 1 to 3600"))
        })
    }

    fn keepalive(&mut self) -> Result<Keepalive, StoreError> {
        let is_off = self.parameters.number::<u32>("keepalives")? == Some(0);
        let seconds = |seconds: u64| Some(Duration::from_secs(seconds)).filter(|length| !length.is_zero());
        let idle = self.parameters.number("keepalives_idle")?.and_then(seconds);
        let interval = self.parameters.number("keepalives_interval")?.and_then(seconds);
        let count = self.parameters.number("keepalives_count")?.filter(|count| *count != 0);
        Ok(Keepalive { is_off, idle, interval, count })
    }
}

fn invalid(why: &str) -> StoreError {
    StoreError::Invalid(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Variables, a home without files, and a user.
    struct Around(&'static [(&'static str, &'static str)]);

    impl Surroundings for Around {
        fn variable(&self, name: &str) -> Option<String> {
            self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_string())
        }

        fn home(&self) -> Option<PathBuf> {
            Some(PathBuf::from("/no/such/home"))
        }

        fn user(&self) -> Option<String> {
            Some("me".to_string())
        }
    }

    fn parsed(url: &str, variables: &'static [(&'static str, &'static str)]) -> Conninfo {
        Conninfo::parse(url, &Around(variables)).unwrap_or_else(|error| panic!("`{url}`: {error}"))
    }

    fn places(url: &str, variables: &'static [(&'static str, &'static str)]) -> Vec<String> {
        parsed(url, variables).places.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn servers_are_named_as_libpq_names_them() {
        for (url, wanted) in [
            ("postgres://db", &["db:5432"][..]),
            ("postgresql://a:1,b,[::1]:3/app", &["a:1", "b:5432", "[::1]:3"]),
            ("postgres://%2Frun%2Fpg:1/app", &["/run/pg/.s.PGSQL.1"]),
            ("postgres://me:pw@%2frun/app", &["/run/.s.PGSQL.5432"]),
            ("postgres:///app?host=/run/pg&port=7", &["/run/pg/.s.PGSQL.7"]),
            ("postgres:///app?host=a,/run,b&port=1,,3", &["a:1", "/run/.s.PGSQL.5432", "b:3"]),
            ("postgres:///app?hostaddr=10.0.0.7", &["10.0.0.7:5432"]),
            ("postgres://db/app?hostaddr=10.0.0.7", &["db:5432"]),
        ] {
            assert_eq!(places(url, &[]), wanted, "`{url}`");
        }
        let Place::Host { address, .. } = &parsed("postgres://db/app?hostaddr=10.0.0.7", &[]).places[0] else {
            panic!("no host")
        };
        assert_eq!(*address, Some("10.0.0.7".parse().unwrap()));
    }

    #[test]
    fn the_environment_serves_where_the_url_is_silent() {
        const VARIABLES: &[(&str, &str)] = &[
            ("PGHOST", "db1,db2"),
            ("PGPORT", "7"),
            ("PGUSER", "app"),
            ("PGPASSWORD", "secret"),
            ("PGDATABASE", "locks"),
            ("PGAPPNAME", "deploy"),
            ("PGSSLMODE", "require"),
            ("PGCONNECT_TIMEOUT", "5"),
        ];
        let info = parsed("postgres://", VARIABLES);
        assert_eq!(places("postgres://", VARIABLES), ["db1:7", "db2:7"]);
        assert_eq!((info.user.as_str(), info.database.as_str()), ("app", "locks"));
        assert_eq!(info.password.as_ref().map(Secret::reveal), Some("secret"));
        assert_eq!(
            (info.config.get_application_name(), info.config.get_ssl_mode()),
            (Some("deploy"), SslMode::Require)
        );
        assert_eq!(info.connect_timeout, Duration::from_secs(5));
        let info = parsed("postgres://you:own@db:1/other?sslmode=disable&connect_timeout=3&timeout=700ms", VARIABLES);
        assert_eq!((info.user.as_str(), info.database.as_str()), ("you", "other"));
        assert_eq!(info.password.as_ref().map(Secret::reveal), Some("own"));
        assert_eq!(info.config.get_ssl_mode(), SslMode::Disable);
        assert_eq!([info.connect_timeout, info.timeout].map(|timeout| timeout.as_millis()), [3000, 700]);
    }

    #[test]
    fn what_nobody_says_is_as_with_libpq() {
        let info = parsed("postgres://db", &[]);
        assert_eq!((info.user.as_str(), info.database.as_str(), info.password.is_none()), ("me", "me", true));
        assert_eq!((info.config.get_application_name(), info.config.get_ssl_mode()), (Some("kvlock"), SslMode::Prefer));
        assert_eq!(info.passfile, Some(PathBuf::from("/no/such/home/.pgpass")));
        assert_eq!((info.connections, info.keepalive), (8, Keepalive::default()));
    }

    #[test]
    fn what_is_shown_of_a_store_has_no_password() {
        let info = parsed("postgres://me:hunter2@db/app?passfile=/p", &[]);
        assert!(!format!("{info:?}").contains("hunter2"));
        for (url, variables) in [
            ("postgres://me:hunter2@db:x", &[][..]),
            ("postgres://me:hunter2@db?sslmode=on", &[]),
            ("postgres://db", &[("PGPORT", "hunter")]),
        ] {
            let error = Conninfo::parse(url, &Around(variables)).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && error.lines().count() == 1, "`{url}`: {error}");
        }
    }
}
