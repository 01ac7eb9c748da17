//! Where servers listen: hosts, addresses and folders with sockets, in the lists that libpq knows.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::super::StoreError;

/// Where libpq of the distributions looks for a server of the same machine.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A host by its name, which its certificate has, and its address if it is not to be looked up.
    Host { name: String, address: Option<IpAddr>, port: u16 },
    /// A folder with a UNIX socket.
    Folder { path: PathBuf, port: u16 },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Host { name, port, .. } if name.contains(':') => write!(f, "[{name}]:{port}"),
            Place::Host { name, port, .. } => write!(f, "{name}:{port}"),
            Place::Folder { path, port } => write!(f, "{}", socket(path, *port).display()),
        }
    }
}

impl Place {
    /// Returns how a file of passwords names it.
    pub(super) fn in_passfile(&self) -> (String, u16) {
        match self {
            Place::Host { name, port, .. } => (name.clone(), *port),
            // As libpq has it for the folder that it looks into unasked.
            Place::Folder { path, port } if SOCKET_FOLDERS.iter().any(|folder| path == Path::new(folder)) => {
                ("localhost".to_string(), *port)
            }
            Place::Folder { path, port } => (path.display().to_string(), *port),
        }
    }
}

/// Returns the path of the socket of a server that listens in a folder.
pub(super) fn socket(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!(".s.PGSQL.{port}"))
}

/// Lists of servers, separated by commas, as parameters or variables have them.
pub(super) struct Servers {
    pub(super) host: Option<String>,
    pub(super) address: Option<String>,
    pub(super) port: Option<String>,
    pub(super) default_port: u16,
}

impl Servers {
    /// Puts the lists together; a server of this machine if there are none.
    pub(super) fn places(self) -> Result<Vec<Place>, StoreError> {
        let [hosts, addresses, ports] = [&self.host, &self.address, &self.port]
            .map(|list| list.as_deref().map(|list| list.split(',').collect::<Vec<_>>()).unwrap_or_default());
        let ports = ports.into_iter().map(|port| match port {
            "" => Ok(self.default_port),
            port => parse_port(port),
        });
        let ports = ports.collect::<Result<Vec<_>, _>>()?;
        let addresses = addresses.into_iter().map(parse_address).collect::<Result<Vec<_>, _>>()?;
        let count = hosts.len().max(addresses.len()).max(1);
        if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
            return Err(invalid("`host` and `hostaddr` of the store are lists of different lengths"));
        }
        if !matches!(ports.len(), 0 | 1) && ports.len() != count {
            return Err(invalid("`port` of the store has another number of parts than `host`"));
        }
        let port_of = |place: usize| *ports.get(place).or(ports.first()).unwrap_or(&self.default_port);
        Ok((0..count).map(|place| named(hosts.get(place), addresses.get(place).copied(), port_of(place))).collect())
    }
}

fn named(host: Option<&&str>, address: Option<IpAddr>, port: u16) -> Place {
    match (host.filter(|host| !host.is_empty()), address) {
        (Some(host), _) if host.starts_with('/') => Place::Folder { path: PathBuf::from(host), port },
        (Some(host), address) => Place::Host { name: (*host).to_string(), address, port },
        (None, Some(address)) => Place::Host { name: address.to_string(), address: Some(address), port },
        (None, None) => of_this_machine(port),
    }
}

/// Gives each host of a URL its address.
pub(super) fn with_addresses(mut places: Vec<Place>, addresses: Option<&str>) -> Result<Vec<Place>, StoreError> {
    let Some(addresses) = addresses else { return Ok(places) };
    let addresses = addresses.split(',').map(parse_address).collect::<Result<Vec<_>, _>>()?;
    if addresses.len() != places.len() {
        return Err(invalid("`hostaddr` of the store has another number of parts than its URL has hosts"));
    }
    for (place, known) in places.iter_mut().zip(addresses) {
        if let Place::Host { address, .. } = place {
            *address = Some(known);
        }
    }
    Ok(places)
}

/// Takes the folders out of a URL, whose list of servers has them as `%2Frun%2Fpostgresql`.
pub(super) fn take_folders(rest: &str, port: u16) -> Result<(String, Vec<Place>), StoreError> {
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (login, servers) = authority.rsplit_once('@').map_or((None, authority), |(login, rest)| (Some(login), rest));
    let is_folder = |server: &str| server.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("%2f"));
    if !servers.split(',').any(is_folder) {
        return Ok((rest.to_string(), Vec::new()));
    }
    let folder = |server: &str| {
        let (path, port) = match server.split_once(':') {
            Some((path, own)) => (path, parse_port(own)?),
            None => (server, port),
        };
        let path = percent_decode_str(path).decode_utf8().map_err(|_| invalid("a folder in the URL is not UTF-8"))?;
        match is_folder(server) {
            true => Ok(Place::Folder { path: PathBuf::from(path.as_ref()), port }),
            false => {
                Err(invalid("the store's URL has folders and hosts in one list: name them in `host=` and `port=`"))
            }
        }
    };
    let folders = servers.split(',').map(folder).collect::<Result<_, _>>()?;
    Ok((login.map_or_else(|| tail.to_string(), |login| format!("{login}@{tail}")), folders))
}

fn of_this_machine(port: u16) -> Place {
    let mut folders = SOCKET_FOLDERS.iter().map(PathBuf::from);
    match folders.find(|folder| socket(folder, port).exists()) {
        Some(path) => Place::Folder { path, port },
        None => Place::Host { name: "localhost".to_string(), address: None, port },
    }
}

fn parse_port(port: &str) -> Result<u16, StoreError> {
    let number = port.parse().ok().filter(|number| *number != 0 && port.bytes().all(|byte| byte.is_ascii_digit()));
    number.ok_or_else(|| invalid(&format!("the port `{}` of the store: give 1 to 65535", port.escape_debug())))
}

fn parse_address(address: &str) -> Result<IpAddr, StoreError> {
    address
        .parse()
        .map_err(|_| invalid(&format!("`hostaddr` of the store: `{}` is no address", address.escape_debug())))
}

fn invalid(why: &str) -> StoreError {
    StoreError::Invalid(why.to_string())
}
