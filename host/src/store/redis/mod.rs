//! The store `redis://`: locks on Redis 6.2 or newer, or on Valkey.
//!
//! How the contract maps to Redis, and why:
//!
//! | contract | on the wire |
//! |---|---|
//! | `get`, `get-many` | `EVALSHA` of `call.lua`, several keys in one call |
//! | `add`, `replace`, `delete` | the same script; with `replicas=N`, `WAIT` in the same request |
//! | `era` | `EVALSHA` of `begin.lua` |
//! | `watch` | `SUBSCRIBE`; a delete publishes in its script (`watcher.rs`) |
//!
//! **One hash has everything**: the era, a counter and all entries, each a field `<number> <end in ms> <value>`. It has
//! no ttl, so that no `volatile-*` policy evicts any of it, and whatever loses it loses all of it at once. Entries with
//! a ttl are fields whose end is compared with the server's clock, and are swept by later writes.
//!
//! **Versions.** The number is a counter in the hash. The era is Unix time in nanoseconds when it began, less what the
//! counter was then, so that the fencing token (their sum) goes on from that time by one for each write. It stays ahead
//! of the earlier ones as long as a server makes fewer than 10^9 writes a second. If clocks differ, `begin.lua` goes
//! above what is in the hash and above what the client has seen.
//!
//! **What ends an era.** A replicated key proves nothing: after a failover, the replica that was promoted has it too. So
//! beside the era stands a stamp, the server's `master_replid`, which each call compares. Redis changes it when a replica
//! is promoted and when the server starts. It changes, too, when the first replica comes and an hour after the last one
//! has gone: if the process is the same then, and was never a replica, the era stays. A loss of the hash (a flush, an
//! eviction, a restart without data) ends the era as well.
//!
//! **Replication is asynchronous**, and a master that is cut off goes on granting. With `replicas=N` a grant or a renewal
//! counts only if N replicas have acknowledged it: see `link.rs`.

mod doctor;
mod info;
mod link;
mod refusal;
mod reply;
mod script;
mod sentinel;
mod server;
mod watcher;
mod whereabouts;

use std::path::PathBuf;
use std::sync::Arc;

use self::link::Setup;
use self::sentinel::Sentinels;
use self::server::Server;
use self::watcher::Watcher;
use self::whereabouts::Whereabouts;
use super::address::Address;
use super::place::{Place, tls};
use super::socket::wire::Timeouts;
use super::url::{Login, Secret, StoreUrl};
use super::{
    DeleteOutcome, Entry, EraInfo, Finding, KvStore, OnGone, StoreError, Ttl, Version, Watch, WriteOutcome, check_key,
    check_value,
};

/// The port that IANA gave Redis.
const PORT: u16 = 6379;

/// How many keys are asked for in one request, so that a request stays far below what a socket buffers.
const KEYS_PER_REQUEST: usize = 100;

/// The most replicas that a grant may wait for.
const MOST_REPLICAS: u32 = 16;

const FORMS: &str = "give redis://host:port, rediss://host:port, redis+unix:///path or \
                     redis+sentinel://host:port,…/master-name (or the same with valkey)";

/// A store on Redis 6.2 or newer, or on Valkey.
///
/// | URL | what |
/// |---|---|
/// | `redis://[user[:password]@]host[:port][/database]` | a server |
/// | `rediss://…` | the same by TLS, with the parameters `ca`, `cert` and `key` |
/// | `redis+unix:///path`, `unix:///path` | a UNIX socket; the database by `?db=N` |
/// | `redis+sentinel://host[:port],…/master-name[/database]` | the master that sentinels name; `rediss+sentinel` by TLS |
///
/// `valkey` may stand for `redis`. All take `timeout` and `connect-timeout`, and `replicas=N`: how many replicas must
/// have a grant.
///
/// Connections are made when they are needed, are used by one thread at a time, and are kept: 32 at most.
///
/// # Example
///
/// ```no_run
/// use std::time::Duration;
/// use kvlock::store::{KvStore, Redis, Ttl, WriteOutcome};
///
/// let store = Redis::connect("redis://127.0.0.1:6379/0?timeout=200ms")?;
/// if let WriteOutcome::Written(version) = store.add("job", b"me", Ttl::After(Duration::from_secs(30)))? {
///     // … the work …
///     store.delete("job", version)?;
/// }
/// # Ok::<(), kvlock::store::StoreError>(())
/// ```
#[derive(Debug)]
pub struct Redis {
    server: Arc<Server>,
    watcher: Watcher,
}

/// What a scheme says.
struct Scheme {
    engine: &'static str,
    by_tls: bool,
    kind: Kind,
}

enum Kind {
    Server,
    Socket,
    Sentinel,
}

impl Scheme {
    fn parse(scheme: &str) -> Option<Scheme> {
        let (name, kind) = match scheme.split_once('+') {
            Some((name, "unix")) => (name, Kind::Socket),
            Some((name, "sentinel")) => (name, Kind::Sentinel),
            Some(_) => return None,
            None if scheme == "unix" => ("redis", Kind::Socket),
            None => (scheme, Kind::Server),
        };
        let (engine, by_tls) = match name {
            "redis" => ("redis", false),
            "rediss" => ("redis", true),
            "valkey" => ("valkey", false),
            "valkeys" => ("valkey", true),
            _ => return None,
        };
        (!by_tls || !matches!(kind, Kind::Socket)).then_some(Scheme { engine, by_tls, kind })
    }
}

impl Redis {
    /// Takes a URL. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] for what is no such URL; it names the part that is wrong.
    pub fn connect(url: &str) -> Result<Redis, StoreError> {
        let (scheme, rest) = url.split_once(':').ok_or_else(|| invalid(FORMS))?;
        let scheme = Scheme::parse(scheme).ok_or_else(|| invalid(FORMS))?;
        let port = if matches!(scheme.kind, Kind::Sentinel) { sentinel::PORT } else { PORT };
        let mut url = StoreUrl::parse(rest.strip_prefix("//").unwrap_or(rest), port)?;
        let timeouts = Timeouts::take(&mut url.parameters)?;
        let replicas = url.parameters.number("replicas")?.unwrap_or(0);
        if replicas > MOST_REPLICAS {
            return Err(invalid(&format!("`replicas` of the store's URL: {MOST_REPLICAS} are the most")));
        }
        // An answer has to come after it, and within the timeout.
        let patience = timeouts.operation * 3 / 4;
        let tls = tls(scheme.by_tls, &mut url.parameters)?;
        let path = std::mem::take(&mut url.path);
        let (whereabouts, login, database) = match scheme.kind {
            Kind::Server => {
                let server = one_server(&mut url)?;
                let tls = tls(&server.host)?;
                let database = database(path.strip_prefix('/').unwrap_or(&path))?;
                (Whereabouts::Fixed(Arc::new(Place::host(server, tls))), login(url.login.take(), None)?, database)
            }
            Kind::Socket => {
                if !url.servers.is_empty() || path.len() < 2 {
                    return Err(invalid("a socket's path begins with a slash: redis+unix:///run/redis.sock"));
                }
                let named = url.parameters.text("user").or_else(|| url.parameters.text("username"));
                let password = url.parameters.text("pass").or_else(|| url.parameters.text("password"));
                let given = password
                    .map(|password| Login { user: named.unwrap_or_default(), password: Some(Secret::new(password)) });
                let database = database(&url.parameters.text("db").unwrap_or_default())?;
                let place = Place::socket(PathBuf::from(path));
                (Whereabouts::Fixed(Arc::new(place)), login(url.login.take(), given)?, database)
            }
            Kind::Sentinel => {
                let path = path.strip_prefix('/').unwrap_or(&path);
                let (name, number) = path.split_once('/').unwrap_or((path, ""));
                if name.is_empty() {
                    return Err(invalid("the master's name is missing: redis+sentinel://host:port,…/master-name"));
                }
                let user = url.parameters.text("sentinel-user").unwrap_or_default();
                let password = url.parameters.text("sentinel-password").map(Secret::new);
                let of_sentinels = password.map(|password| Login { user, password: Some(password) });
                let setup = Setup { login: of_sentinels, database: 0, replicas: 0, patience };
                let servers = match std::mem::take(&mut url.servers) {
                    servers if servers.is_empty() => vec![local(port)],
                    servers => servers,
                };
                let sentinels = Sentinels::new(servers, name.to_string(), setup, tls)?;
                (Whereabouts::Watched(sentinels), login(url.login.take(), None)?, database(number)?)
            }
        };
        url.parameters.finish()?;
        let setup = Setup { login, database, replicas, patience };
        let server = Arc::new(Server::new(scheme.engine, whereabouts, timeouts, setup));
        Ok(Redis { server, watcher: Watcher::new() })
    }
}

impl KvStore for Redis {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        check_key(key)?;
        Ok(self.entries(&[key])?.into_iter().next().flatten())
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let mut entries = Vec::with_capacity(keys.len());
        for keys in keys.chunks(KEYS_PER_REQUEST) {
            let keys: Vec<_> = keys.iter().map(String::as_str).collect();
            entries.append(&mut self.entries(&keys)?);
        }
        Ok(entries)
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        check_key(key)?;
        check_value(value)?;
        self.server.write(|link| link.add(key, value, ttl, &self.server.setup))
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        check_key(key)?;
        check_value(value)?;
        self.server.write(|link| link.replace(key, value, ttl, if_version, &self.server.setup))
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        check_key(key)?;
        self.server.write(|link| link.delete(key, if_version))
    }

    fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
        check_key(key)?;
        self.server.era()
    }

    fn watch(&self, key: &str, on_gone: OnGone) -> Option<Watch> {
        self.watcher.watch(&self.server, key, on_gone)
    }

    fn diagnose(&self) -> Vec<Finding> {
        doctor::diagnose(&self.server)
    }
}

impl Redis {
    fn entries(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, StoreError> {
        let doubts = self.server.doubts();
        let (replicas, patience) = (self.server.setup.replicas, self.server.setup.patience);
        let confirm = if doubts.is_some() { replicas } else { 0 };
        let entries = self.server.read(|link| link.get(keys, confirm, patience))?;
        if let Some(doubts) = doubts {
            self.server.settle(doubts);
        }
        Ok(entries)
    }
}

fn one_server(url: &mut StoreUrl) -> Result<Address, StoreError> {
    match url.servers.len() {
        0 => Ok(local(PORT)),
        1 => Ok(url.servers.remove(0)),
        _ => Err(invalid("a lock is on one server, and several are named: for sentinels write redis+sentinel://")),
    }
}

fn local(port: u16) -> Address {
    Address { host: "127.0.0.1".into(), port }
}

/// The login that the URL gives before its server, or as parameters.
fn login(before: Option<Login>, parameters: Option<Login>) -> Result<Option<Login>, StoreError> {
    match before.or(parameters) {
        Some(Login { password: None, .. }) => {
            Err(invalid("the store's URL has a user and no password: write user:password@ or :password@"))
        }
        login => Ok(login),
    }
}

fn database(text: &str) -> Result<u32, StoreError> {
    match text {
        "" => Ok(0),
        // A password with a slash in it may have ended up here.
        text => text.parse().map_err(|_| {
            invalid("the database of the store's URL is a number, as in redis://host/0; in a password, write / as %2F")
        }),
    }
}

fn invalid(why: &str) -> StoreError {
    StoreError::Invalid(why.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn refused(url: &str) -> String {
        let Err(StoreError::Invalid(text)) = Redis::connect(url) else { panic!("`{url}` was accepted") };
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(!text.contains("hunter2"), "{text}");
        text
    }

    fn shown(url: &str) -> String {
        Redis::connect(url).unwrap_or_else(|error| panic!("{url}: {error}")).server.to_string()
    }

    #[test]
    fn urls_are_taken_as_users_write_them() {
        for (url, server) in [
            ("redis://", "redis 127.0.0.1:6379"),
            ("redis:", "redis 127.0.0.1:6379"),
            ("redis://cache", "redis cache:6379"),
            ("redis://:hunter2@cache:1/3?timeout=2s&replicas=1", "redis cache:1"),
            ("valkey://me:hunter2@[::1]/", "valkey [::1]:6379"),
            ("redis+unix:///run/redis.sock?db=2&pass=hunter2", "redis /run/redis.sock"),
            ("unix:///run/valkey.sock", "redis /run/valkey.sock"),
            ("redis+sentinel://a,b:1/mymaster/2", "redis a:26379,b:1/mymaster"),
        ] {
            assert_eq!(shown(url), server, "{url}");
        }
        let redis = Redis::connect("redis://me:hunter2@h/3").unwrap();
        assert_eq!(redis.server.setup.database, 3);
        assert_eq!(redis.server.setup.login.as_ref().unwrap().user, "me");
        assert!(!format!("{redis:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_password_with_it() {
        for (url, part) in [
            ("redis://a,b", "redis+sentinel"),
            ("redis://a/x", "a number"),
            ("redis://me:hun/hunter2@a", "%2F"),
            ("redis://hunter2@a", "no password"),
            ("redis://a?replicas=x", "`replicas`"),
            ("redis://a?replicas=99", "`replicas`"),
            ("redis://a?ca=/x", "`ca`"),
            ("redis+unix://", "begins with a slash"),
            ("redis+unix://a/b", "begins with a slash"),
            ("redis+sentinel://a", "master's name"),
            ("redis+cluster://a", "redis://host"),
        ] {
            assert!(refused(url).contains(part), "`{url}`: {}", refused(url));
        }
    }

    #[test]
    fn an_answer_to_wait_comes_before_the_timeout() {
        let redis = Redis::connect("redis://a?replicas=1&timeout=100ms").unwrap();
        assert_eq!(redis.server.setup.patience, Duration::from_millis(75));
    }
}
