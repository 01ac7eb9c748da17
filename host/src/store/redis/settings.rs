//! What a URL says: which servers there are, and how to log in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kvlock_protocol::{Address, Login, Secret, StoreUrl};

use super::super::StoreError;
use super::super::place::{MakeTls, Place, tls};
use super::super::socket::wire::Timeouts;
use super::bucket::Mode;
use super::cluster::Nodes;
use super::link::Setup;
use super::sentinel::{self, Sentinels};
use super::server::Server;
use super::whereabouts::Whereabouts;

/// The port that IANA gave Redis.
const PORT: u16 = 6379;

/// The most replicas that a grant may wait for.
const MOST_REPLICAS: u32 = 16;

const FORMS: &str = "give redis://host:port, rediss://host:port, redis+unix:///path, redis+cluster://host:port,… or \
                     redis+sentinel://host:port,…/master-name (or the same with valkey)";

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
    Cluster,
}

impl Scheme {
    fn parse(scheme: &str) -> Option<Scheme> {
        let (name, kind) = match scheme.split_once('+') {
            Some((name, "unix")) => (name, Kind::Socket),
            Some((name, "sentinel")) => (name, Kind::Sentinel),
            Some((name, "cluster")) => (name, Kind::Cluster),
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

/// Returns the servers of a URL: one for each bucket. Nothing is sent.
pub(super) fn servers(url: &str) -> Result<impl Iterator<Item = Server>, StoreError> {
    let (scheme, rest) = url.split_once(':').ok_or_else(|| invalid(FORMS))?;
    let Scheme { engine, by_tls, kind } = Scheme::parse(scheme).ok_or_else(|| invalid(FORMS))?;
    let port = if matches!(kind, Kind::Sentinel) { sentinel::PORT } else { PORT };
    let mut url = StoreUrl::parse(rest.strip_prefix("//").unwrap_or(rest), port)?;
    let timeouts = Timeouts::take(&mut url.parameters)?;
    let replicas = url.parameters.number("replicas")?.unwrap_or(0);
    if replicas > MOST_REPLICAS {
        return Err(invalid(&format!("`replicas` of the store's URL: {MOST_REPLICAS} are the most")));
    }
    let mode = if matches!(kind, Kind::Cluster) { Mode::Cluster } else { Mode::Standalone };
    // An answer has to come after it, and within the timeout.
    let patience = timeouts.operation * 3 / 4;
    let setup = move |login, database, bucket| Setup { login, database, replicas, patience, bucket };
    let tls = tls(by_tls, &mut url.parameters)?;
    let (at, login, database) = match kind {
        Kind::Server => server(&mut url, tls)?,
        Kind::Socket => socket(&mut url)?,
        Kind::Sentinel => sentinels(&mut url, tls, patience)?,
        Kind::Cluster => cluster(&mut url, tls, patience)?,
    };
    url.parameters.finish()?;
    Ok(mode.buckets().map(move |bucket| {
        let whereabouts = match &at {
            At::Place(place) => Whereabouts::Fixed(place.clone()),
            At::Sentinels(sentinels) => Whereabouts::Watched(sentinels.clone()),
            At::Nodes(nodes) => Whereabouts::Clustered(nodes.clone(), bucket.hash.clone()),
        };
        Server::new(engine, whereabouts, timeouts, setup(login.clone(), database, bucket))
    }))
}

/// Where the servers of a store are.
enum At {
    Place(Arc<Place>),
    Sentinels(Arc<Sentinels>),
    Nodes(Arc<Nodes>),
}

/// Where the servers are, and the login and the database there.
type Found = (At, Option<Login>, u32);

fn server(url: &mut StoreUrl, tls: MakeTls) -> Result<Found, StoreError> {
    let server = match url.servers.len() {
        0 => local(PORT),
        1 => url.servers.remove(0),
        _ => {
            return Err(invalid(
                "a lock is on one server, and several are named: for sentinels write redis+sentinel://, for a cluster \
                 redis+cluster://",
            ));
        }
    };
    let tls = tls(&server.host)?;
    let database = database(url.path.strip_prefix('/').unwrap_or(&url.path))?;
    Ok((At::Place(Arc::new(Place::host(server, tls))), login(url.login.take(), None)?, database))
}

fn socket(url: &mut StoreUrl) -> Result<Found, StoreError> {
    if !url.servers.is_empty() || url.path.len() < 2 {
        return Err(invalid("a socket's path begins with a slash: redis+unix:///run/redis.sock"));
    }
    let named = url.parameters.text("user").or_else(|| url.parameters.text("username"));
    let password = url.parameters.text("pass").or_else(|| url.parameters.text("password"));
    let given =
        password.map(|password| Login { user: named.unwrap_or_default(), password: Some(Secret::new(password)) });
    let database = database(&url.parameters.text("db").unwrap_or_default())?;
    let place = Place::socket(PathBuf::from(&url.path));
    Ok((At::Place(Arc::new(place)), login(url.login.take(), given)?, database))
}

fn sentinels(url: &mut StoreUrl, tls: MakeTls, patience: Duration) -> Result<Found, StoreError> {
    let path = url.path.strip_prefix('/').unwrap_or(&url.path);
    let (name, number) = path.split_once('/').unwrap_or((path, ""));
    if name.is_empty() {
        return Err(invalid("the master's name is missing: redis+sentinel://host:port,…/master-name"));
    }
    let user = url.parameters.text("sentinel-user").unwrap_or_default();
    let password = url.parameters.text("sentinel-password").map(Secret::new);
    let of_sentinels = password.map(|password| Login { user, password: Some(password) });
    let setup = Setup::to_ask(of_sentinels, patience);
    let sentinels = Sentinels::new(named(&mut url.servers, sentinel::PORT), name.to_string(), setup, tls)?;
    Ok((At::Sentinels(Arc::new(sentinels)), login(url.login.take(), None)?, database(number)?))
}

fn cluster(url: &mut StoreUrl, tls: MakeTls, patience: Duration) -> Result<Found, StoreError> {
    if database(url.path.strip_prefix('/').unwrap_or(&url.path))? != 0 {
        return Err(invalid("a cluster has the database 0 only: redis+cluster://host:port,…"));
    }
    let login = login(url.login.take(), None)?;
    let setup = Setup::to_ask(login.clone(), patience);
    let nodes = Nodes::new(named(&mut url.servers, PORT), setup, tls)?;
    Ok((At::Nodes(Arc::new(nodes)), login, 0))
}

/// Takes the servers that the URL names, or the one of this machine.
fn named(servers: &mut Vec<Address>, port: u16) -> Vec<Address> {
    if servers.is_empty() { vec![local(port)] } else { std::mem::take(servers) }
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
    use super::*;

    fn refused(url: &str) -> String {
        let Some(StoreError::Invalid(text)) = servers(url).err() else { panic!("`{url}` was accepted") };
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(!text.contains("hunter2"), "{text}");
        text
    }

    fn first(url: &str) -> Server {
        servers(url).unwrap_or_else(|error| panic!("{url}: {error}")).next().unwrap()
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
            ("rediss+cluster://a,b:1/0", "redis a:6379,b:1"),
            ("valkey+cluster://", "valkey 127.0.0.1:6379"),
        ] {
            assert_eq!(first(url).to_string(), server, "{url}");
        }
        let server = first("redis://me:hunter2@h/3");
        assert_eq!(server.setup.database, 3);
        assert_eq!(server.setup.login.as_ref().unwrap().user, "me");
        assert!(!format!("{server:?}").contains("hunter2"));
        assert!(first("redis://:@h").setup.login.is_none());
        assert_eq!(servers("redis://h").unwrap().count(), 1);
        assert_eq!(servers("redis+cluster://h").unwrap().count(), 16);
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
            ("redis+cluster://a/3", "database 0"),
            ("redis+ring://a", "redis+cluster://host"),
        ] {
            assert!(refused(url).contains(part), "`{url}`: {}", refused(url));
        }
    }

    #[test]
    fn an_answer_to_wait_comes_before_the_timeout() {
        let server = first("redis://a?replicas=1&timeout=100ms");
        assert_eq!(server.setup.patience, Duration::from_millis(75));
    }
}
