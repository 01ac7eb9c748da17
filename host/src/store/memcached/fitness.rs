//! Whether a name leads to one server: the connections of a client are compared with each other.
//!
//! - **A name with several addresses**: at the first contact all are dialed at once, and those that answer within a
//!   moment are compared. One that is silent is dialed again now and then, while the store is used, and is compared when it
//!   answers. A name with one address costs nothing.
//! - **Each new connection** is compared with what is known ([`Known`]).
//! - **Where two servers were found**, the store is unfit: everything is refused, until a look through several
//!   connections finds one server only.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kvlock_protocol::{Failure, Known, Likeness, two_servers};

use super::super::StoreError;
use super::super::socket::dial::Dialing;
use super::super::socket::stream::Peer;
use super::super::socket::wire::Wire;
use super::connection::{Connection, now};
use super::link::Link;
use super::server::{Server, State, Unfit};

/// How often an address that did not answer is dialed again, and an unfit store looked at again.
const RECHECK: Duration = Duration::from_secs(3);

/// How often a name is looked up and its addresses are dialed, to find out if they lead to one server. A balancer that
/// chooses at random between two is missed once in 128 times.
const ROUNDS: usize = 8;

/// What a look through several connections found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) dials: usize,
    pub(super) addresses: Vec<Peer>,
    /// The addresses that did not answer, and why.
    pub(super) silent: Vec<(Peer, String)>,
    /// The two servers, if there are two.
    pub(super) difference: Option<String>,
}

impl Server {
    /// Opens a connection to whichever address answers first, and compares it with the others, as far as they are new.
    pub(super) fn open(&self) -> Result<Link, StoreError> {
        let (link, addresses, mut dialing) = self.connect(Link::new)?;
        let mut link = self.admit(link)?;
        let (alike, silent) = {
            let state = self.state();
            (state.alike.clone(), state.silent.clone())
        };
        // One that was silent lately is left to `recheck`: to wait for it each time would slow every connection down.
        if addresses.iter().any(|address| !alike.contains(address) && !silent.contains(address)) {
            dialing.hurry();
            while let Some(wire) = dialing.next() {
                if !alike.contains(&wire.peer) {
                    let peer = wire.peer.clone();
                    match self.greet(wire) {
                        Ok(connection) => self.compare(&mut link, connection)?,
                        Err(_) => self.state().note_silent(peer),
                    }
                }
            }
            let mut state = self.state();
            let silent = addresses.into_iter().filter(|address| !state.alike.contains(address)).collect();
            (state.silent, state.checked) = (silent, Some(Instant::now()));
        }
        link.check_out();
        Ok(link)
    }

    /// Dials all addresses of the name, and makes something of the first connection that it can be made of. Gives the
    /// addresses, too, and the other dials.
    pub(super) fn connect<T>(
        &self,
        make: impl Fn(Connection) -> Result<T, Failure>,
    ) -> Result<(T, Vec<Peer>, Dialing), StoreError> {
        let failed = |failure| self.on_read(failure);
        let addresses = self.place.peers(self.timeouts.connect).map_err(failed)?;
        let mut dialing = self.place.dial(&addresses, self.timeouts);
        while let Some(wire) = dialing.next() {
            let address = wire.peer.clone();
            match self.greet(wire).and_then(&make) {
                Ok(made) => return Ok((made, addresses, dialing)),
                Err(Failure::NotSent(why) | Failure::NoAnswer(why)) => dialing.failed.push((address, why)),
                Err(failure) => return Err(failed(failure)),
            }
        }
        Err(failed(dialing.failure()))
    }

    /// Takes note of which server a connection leads to. Gives it back, unless the one known is another and answers.
    pub(super) fn admit(&self, mut link: Link) -> Result<Link, StoreError> {
        loop {
            let mut state = self.state();
            let Some(known) = state.known.clone() else {
                state.know(Known::first(link.epoch(), link.peer().clone(), now()), link.peer());
                return Ok(link);
            };
            if known.epoch.identity == link.epoch().identity {
                state.note_alike(link.peer());
                return Ok(link);
            }
            let rival = state.idle.pop();
            drop(state);
            if let Some(mut rival) = rival
                && rival.connection.is_quiet()
            {
                match link.likeness(&mut rival.connection).map_err(|failure| self.on_read(failure))? {
                    // It lost everything in between.
                    Likeness::Same => {
                        let mut state = self.state();
                        state.know(known.later(link.epoch(), now()), link.peer());
                        state.idle.push(rival);
                        return Ok(link);
                    }
                    Likeness::Different(difference) => return Err(self.unfit(&difference)),
                    // Nor will the others have an answer, and each would take its time.
                    Likeness::Silent(_) => self.state().idle.clear(),
                }
            }
            if !self.state().idle.is_empty() {
                continue;
            }
            link.follow(&known.epoch).map_err(|failure| self.on_read(failure))?;
            let mut state = self.state();
            // Unless another thread has found out something else meanwhile, or has brought a connection back.
            let is_unchanged = state.known.as_ref().is_some_and(|now| now.epoch.identity == known.epoch.identity);
            if is_unchanged && state.idle.is_empty() {
                state.know(known.succeeded_by(link.epoch(), link.peer().clone(), now()), link.peer());
                return Ok(link);
            }
        }
    }

    /// Compares a connection to another address with one to the server known.
    pub(super) fn compare(&self, link: &mut Link, mut other: Connection) -> Result<(), StoreError> {
        match link.likeness(&mut other).map_err(|failure| self.on_read(failure))? {
            Likeness::Same => self.state().note_alike(&other.peer),
            Likeness::Silent(_) => self.state().note_silent(other.peer.clone()),
            Likeness::Different(difference) => return Err(self.unfit(&difference)),
        }
        Ok(())
    }

    /// Dials the addresses again that did not answer, if it is time to. The next caller compares what answers.
    pub(super) fn recheck(&self, state: &mut State) {
        if state.silent.is_empty() || state.checked.is_some_and(|checked| checked.elapsed() < RECHECK) {
            return;
        }
        state.checked = Some(Instant::now());
        for address in std::mem::take(&mut state.silent) {
            let (shared, timeouts) = (Arc::clone(self.shared()), self.timeouts);
            let (tls, greeting, dialed) = (self.place.tls().cloned(), self.greeting.clone(), address.clone());
            let dial = move || {
                let opened = Wire::open(&dialed, tls.as_ref(), timeouts)
                    .and_then(|wire| Connection::new(wire, greeting.as_ref()));
                let mut state = super::server::lock(&shared);
                match opened {
                    Ok(connection) => state.late.push(connection),
                    Err(_) => state.note_silent(dialed),
                }
            };
            // Where no thread can be started there are other worries.
            if thread::Builder::new().name("kvlock-dial".into()).spawn(dial).is_err() {
                state.note_silent(address);
            }
        }
    }

    /// Refuses where two servers were found, unless there is only one now.
    pub(super) fn check_fit(&self) -> Result<(), StoreError> {
        {
            let mut state = self.state();
            let Some(unfit) = &mut state.unfit else { return Ok(()) };
            if unfit.checked.elapsed() < RECHECK {
                return Err(StoreError::Rejected(unfit.text.clone()));
            }
            unfit.checked = Instant::now();
        }
        let (mut link, ..) = self.connect(Link::new)?;
        let survey = self.survey(&mut link).map_err(|failure| self.on_read(failure))?;
        if let Some(difference) = survey.difference {
            return Err(self.unfit(&difference));
        }
        self.state().unfit = None;
        Ok(())
    }

    /// Looks the name up several times, dials what it leads to, and compares all with one connection.
    pub(super) fn survey(&self, link: &mut Link) -> Result<Survey, Failure> {
        let mut survey = Survey { dials: 1, ..Survey::default() };
        // Kept open: a balancer may prefer the server that has fewer.
        let mut open = Vec::new();
        for _ in 0..ROUNDS {
            let mut addresses = self.place.peers(self.timeouts.connect)?;
            addresses.retain(|address| survey.silent.iter().all(|(silent, _)| silent != address));
            let mut dialing = self.place.dial(&addresses, self.timeouts);
            dialing.hurry_after_first();
            while let Some(wire) = dialing.next() {
                survey.dials += 1;
                let peer = wire.peer.clone();
                let mut other = match self.greet(wire) {
                    Ok(other) => other,
                    Err(failure) => {
                        dialing.failed.push((peer, failure.into_text()));
                        continue;
                    }
                };
                match link.likeness(&mut other)? {
                    Likeness::Same => survey.note(&peer),
                    Likeness::Silent(why) => dialing.failed.push((peer, why)),
                    Likeness::Different(difference) => {
                        survey.difference = Some(difference);
                        return Ok(survey);
                    }
                }
                open.push(other);
            }
            survey.silent.append(&mut dialing.into_failed(&addresses, &survey.addresses));
        }
        Ok(survey)
    }

    /// Notes that there are two servers, and says so.
    pub(super) fn unfit(&self, difference: &str) -> StoreError {
        let text = format!("memcached {self}: {}", two_servers(difference));
        let mut state = self.state();
        state.idle.clear();
        state.late.clear();
        state.silent.clear();
        state.alike.clear();
        state.unfit = Some(Unfit { text: text.clone(), checked: Instant::now() });
        StoreError::Rejected(text)
    }
}

impl Survey {
    fn note(&mut self, address: &Peer) {
        if !self.addresses.contains(address) {
            self.addresses.push(address.clone());
        }
    }
}

impl State {
    fn know(&mut self, known: Known<Peer>, address: &Peer) {
        self.known = Some(known);
        self.alike = vec![address.clone()];
    }

    fn note_alike(&mut self, address: &Peer) {
        self.silent.retain(|silent| silent != address);
        if !self.alike.contains(address) {
            self.alike.push(address.clone());
        }
    }

    fn note_silent(&mut self, address: Peer) {
        if !self.silent.contains(&address) && !self.alike.contains(&address) {
            self.silent.push(address);
        }
    }
}
