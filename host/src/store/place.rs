//! Where a server is, and how to get there.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kvlock_protocol::{Address, Failure, Parameters};

use super::StoreError;
use super::names::{Names, Resolve};
use super::socket::dial::Dialing;
use super::socket::stream::{Peer, Tls};
use super::socket::wire::Timeouts;

/// One server's place.
#[derive(Debug)]
pub(super) struct Place {
    at: At,
    tls: Option<Tls>,
}

#[derive(Debug)]
enum At {
    Name(Names),
    Socket(Peer),
}

/// Makes what a connection to a host by TLS needs; nothing where there is no TLS.
pub(super) type MakeTls = Box<dyn Fn(&str) -> Result<Option<Tls>, StoreError> + Send + Sync>;

impl Place {
    /// A host and a port, with TLS if `tls` has what that needs.
    pub(super) fn host(address: Address, tls: Option<Tls>) -> Place {
        Place { at: At::Name(Names::new(address)), tls }
    }

    /// A UNIX socket.
    pub(super) fn socket(path: PathBuf) -> Place {
        Place { at: At::Socket(Peer::Unix(path.into())), tls: None }
    }

    pub(super) fn resolve_with(&mut self, resolve: Arc<Resolve>) {
        if let At::Name(names) = &mut self.at {
            names.resolve_with(resolve);
        }
    }

    /// Finds the addresses that the place has now. `patience` is how long to wait at most.
    pub(super) fn peers(&self, patience: Duration) -> Result<Vec<Peer>, Failure> {
        match &self.at {
            At::Name(names) => {
                let addresses = names.addresses(patience).map_err(Failure::NotSent)?;
                Ok(addresses.into_iter().map(Peer::from).collect())
            }
            At::Socket(peer) => Ok(vec![peer.clone()]),
        }
    }

    /// Begins to connect to addresses of the place.
    pub(super) fn dial(&self, peers: &[Peer], timeouts: Timeouts) -> Dialing {
        Dialing::begin(peers, self.tls.as_ref(), timeouts)
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            At::Name(names) => names.fmt(f),
            At::Socket(peer) => peer.fmt(f),
        }
    }
}

/// Takes what TLS needs from the parameters of a URL, if its scheme asks for TLS.
#[cfg(feature = "tls")]
pub(super) fn tls(by_tls: bool, parameters: &mut Parameters) -> Result<MakeTls, StoreError> {
    use super::tls::{Credentials, server_name};
    if !by_tls {
        return Ok(Box::new(|_| Ok(None)));
    }
    let config = Credentials::take(parameters)?.config()?;
    Ok(Box::new(move |host| Ok(Some(Tls { config: Arc::clone(&config), name: server_name(host)? }))))
}

#[cfg(not(feature = "tls"))]
pub(super) fn tls(by_tls: bool, _: &mut Parameters) -> Result<MakeTls, StoreError> {
    match by_tls {
        true => Err(StoreError::Invalid("built without the feature `tls`".into())),
        false => Ok(Box::new(|_| Ok(None))),
    }
}
