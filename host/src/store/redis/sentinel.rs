//! Sentinels: they watch a master and its replicas, and say which one is the master now.

use std::fmt;

use kvlock_protocol::{Address, Failure, parse_list};

use super::super::StoreError;
use super::super::place::{MakeTls, Place};
use super::super::socket::wire::{Timeouts, Wire};
use super::info::Info;
use super::link::{Link, Setup};
use super::reply::Reply;

/// The port that sentinels listen on unless they are told otherwise.
pub(super) const PORT: u16 = 26379;

/// The sentinels of a master.
pub(super) struct Sentinels {
    places: Vec<Place>,
    /// What they call the master.
    name: String,
    /// How to log in to them, which need not be as to the master.
    setup: Setup,
    /// How the master is reached: by TLS, or without. The name in its certificate is the one that the sentinels give.
    tls: MakeTls,
}

impl Sentinels {
    pub(super) fn new(
        servers: Vec<Address>,
        name: String,
        setup: Setup,
        tls: MakeTls,
    ) -> Result<Sentinels, StoreError> {
        let places = servers.into_iter().map(|server| Ok(Place::host(server.clone(), tls(&server.host)?)));
        Ok(Sentinels { places: places.collect::<Result<_, StoreError>>()?, name, setup, tls })
    }

    /// Asks one after the other where the master is, until one knows.
    pub(super) fn master(&self, timeouts: Timeouts) -> Result<Place, Failure> {
        let mut failed = Vec::new();
        for place in &self.places {
            match self.ask(place, timeouts) {
                Ok(Some(master)) => return Ok(master),
                Ok(None) => failed.push(format!("sentinel {place} knows no master `{}`", self.name.escape_debug())),
                Err(failure) => failed.push(format!("sentinel {place}: {}", failure.into_text())),
            }
        }
        Err(Failure::NotSent(failed.join("; ")))
    }

    fn ask(&self, place: &Place, timeouts: Timeouts) -> Result<Option<Place>, Failure> {
        match self.question(place, timeouts, &[b"SENTINEL", b"get-master-addr-by-name", self.name.as_bytes()])? {
            Reply::Nothing => Ok(None),
            reply => {
                let [host, port] = reply.items() else { return Err(strange(&reply)) };
                let (Some(host), Some(port)) = (host.text(), port.text()) else { return Err(strange(&reply)) };
                let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
                let address = parse_list(&format!("{host}:{port}"), 0).map_err(|_| strange(&reply))?.remove(0);
                let tls = (self.tls)(&address.host).map_err(|error| Failure::Refused(error.to_string()))?;
                Ok(Some(Place::host(address, tls)))
            }
        }
    }

    fn question(&self, place: &Place, timeouts: Timeouts, words: &[&[u8]]) -> Result<Reply, Failure> {
        let peers = place.peers(timeouts.connect)?;
        let mut dialing = place.dial(&peers, timeouts);
        let Some(wire) = dialing.next() else { return Err(dialing.failure()) };
        self.on(wire, words)
    }

    fn on(&self, wire: Wire, words: &[&[u8]]) -> Result<Reply, Failure> {
        Link::bare(wire, &self.setup)?.ask(words).map_err(Failure::before_a_write)
    }

    /// Asks each sentinel what it knows of the master: pairs of name and value.
    pub(super) fn survey(&self, timeouts: Timeouts) -> Vec<(String, Result<Info, String>)> {
        let words: [&[u8]; 3] = [b"SENTINEL", b"master", self.name.as_bytes()];
        let told = |place: &Place| {
            let reply = self.question(place, timeouts, &words).map_err(Failure::into_text)?;
            Ok(Info::of_pairs(&reply))
        };
        self.places.iter().map(|place| (place.to_string(), told(place))).collect()
    }
}

fn strange(reply: &Reply) -> Failure {
    Failure::Foreign(format!("it answers where the master is by `{}`", format!("{reply:?}").escape_debug()))
}

impl fmt::Display for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, place) in self.places.iter().enumerate() {
            write!(f, "{}{place}", if at > 0 { "," } else { "" })?;
        }
        write!(f, "/{}", self.name.escape_debug())
    }
}
