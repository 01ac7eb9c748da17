//! One server: its connection, what is known of it, and what its failures mean to the caller.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use kvlock_protocol::{
    Address, EraInfo, Error, Failure, Greeting, Known, Likeness, Talk, finish, meaning_for_a_read, meaning_for_a_write,
    two_servers,
};

use crate::bindings::wasi::sockets::instance_network::instance_network;
use crate::dial::Dialing;
use crate::names::addresses;
use crate::settings::Timeouts;
use crate::socket::{Socket, now};

/// One memcached server.
#[derive(Debug)]
pub(crate) struct Server {
    address: Address,
    greeting: Option<Greeting>,
    timeouts: Timeouts,
    /// The connection of an earlier call. It goes from hand to hand, which is shorter code for an address than for all
    /// that a link is.
    link: Option<Box<Link>>,
    known: Option<Known<SocketAddr>>,
    /// The addresses that lead to the server known.
    alike: Vec<SocketAddr>,
}

/// A connection and what is said on it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) socket: Socket,
    pub(crate) talk: Talk,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Server {
    pub(crate) fn new(address: Address, greeting: Option<Greeting>, timeouts: Timeouts) -> Server {
        Server { address, greeting, timeouts, link: None, known: None, alike: Vec::new() }
    }

    /// Returns the era, as far as its age counts for this instance.
    pub(crate) fn era(&mut self) -> Result<EraInfo, Error> {
        let info = self.read(|Link { socket, talk }| finish(talk.era(socket)))?;
        Ok(self.known.as_ref().map_or(info, |known| known.lossless(info, now())))
    }

    /// Does something that changes nothing. What fails on a connection of an earlier call is tried on a new one.
    pub(crate) fn read<T>(&mut self, ask: impl Fn(&mut Link) -> Result<T, Failure>) -> Result<T, Error> {
        self.call(ask, false)
    }

    /// Does something that changes an entry. Nothing is tried twice of which a byte has been sent.
    pub(crate) fn write<T>(&mut self, act: impl Fn(&mut Link) -> Result<T, Failure>) -> Result<T, Error> {
        self.call(act, true)
    }

    fn call<T>(&mut self, act: impl Fn(&mut Link) -> Result<T, Failure>, is_write: bool) -> Result<T, Error> {
        loop {
            let (mut link, is_new) = self.link()?;
            match act(&mut link) {
                Ok(answer) => {
                    self.keep(link);
                    return Ok(answer);
                }
                Err(failure) => self.may_be_repeated(failure, is_new, is_write)?,
            }
        }
    }

    /// Says that a call may be tried on a new connection, or what its failure means.
    fn may_be_repeated(&self, failure: Failure, is_new: bool, is_write: bool) -> Result<(), Error> {
        match failure {
            Failure::NotSent(_) if !is_new => Ok(()),
            Failure::NoAnswer(_) if !is_new && !is_write => Ok(()),
            failure if is_write => Err(meaning_for_a_write(&self.address, failure)),
            failure => Err(meaning_for_a_read(&self.address, failure)),
        }
    }

    /// Returns the connection of an earlier call, if it is good still, or a new one, and which of them it is.
    fn link(&mut self) -> Result<(Box<Link>, bool), Error> {
        match self.link.take().filter(|link| link.socket.is_good()) {
            Some(link) => Ok((link, false)),
            // Nothing has been sent of what is to be done, whatever fails here.
            None => match self.open() {
                Ok(link) => Ok((link, true)),
                Err(failure) => Err(meaning_for_a_read(&self.address, failure)),
            },
        }
    }

    fn keep(&mut self, link: Box<Link>) {
        let epoch = *link.talk.epoch();
        if let Some(known) = &mut self.known {
            if known.epoch.identity != epoch.identity {
                // The server has lost everything during the call: the connection is the same.
                *known = known.later(epoch, now());
            }
            known.used = now();
        }
        self.link = Some(link);
    }

    /// Opens a connection to whichever address answers first, and compares it with the others, as far as they are new.
    fn open(&mut self) -> Result<Box<Link>, Failure> {
        let network = instance_network();
        let addresses = addresses(&network, &self.address, self.timeouts.connect)?;
        let mut dialing = Dialing::begin(&network, &addresses, self.timeouts.connect);
        let mut link = loop {
            let Some(socket) = dialing.next(self.timeouts.answer) else { return Err(dialing.failure()) };
            let opened = self.greet(socket).and_then(|mut socket| {
                let talk = finish(Talk::begin(&mut socket))?;
                Ok(Box::new(Link { socket, talk }))
            });
            match opened {
                Ok(link) => break link,
                Err(Failure::NotSent(why) | Failure::NoAnswer(why)) => dialing.note(why),
                Err(failure) => return Err(failure),
            }
        };
        self.admit(&mut link)?;
        if addresses.iter().any(|address| !self.alike.contains(address)) {
            dialing.hurry();
            while let Some(socket) = dialing.next(self.timeouts.answer) {
                // One that does not answer is compared when it does.
                if let Ok(other) = self.greet(socket) {
                    self.compare(&mut link, other)?;
                }
            }
        }
        Ok(link)
    }

    fn greet(&self, mut socket: Socket) -> Result<Socket, Failure> {
        if let Some(greeting) = &self.greeting {
            finish(greeting.give(&mut socket))?;
        }
        Ok(socket)
    }

    /// Takes note of which server a connection leads to. It is the only one: the server known before is gone, if this is
    /// another.
    fn admit(&mut self, link: &mut Link) -> Result<(), Failure> {
        let address = link.socket.address;
        let known = match self.known.take() {
            None => Known::first(*link.talk.epoch(), address, now()),
            Some(known) if known.epoch.identity == link.talk.epoch().identity => known,
            Some(known) => {
                let followed = finish(link.talk.follow(&mut link.socket, &known.epoch));
                if let Err(failure) = followed {
                    self.known = Some(known);
                    return Err(failure);
                }
                self.alike.clear();
                known.succeeded_by(*link.talk.epoch(), address, now())
            }
        };
        self.known = Some(known);
        self.note_alike(address);
        Ok(())
    }

    fn compare(&mut self, link: &mut Link, mut other: Socket) -> Result<(), Failure> {
        if self.alike.contains(&other.address) {
            return Ok(());
        }
        match finish(link.talk.likeness(&mut link.socket, &mut other))? {
            Likeness::Same => self.note_alike(other.address),
            Likeness::Silent(_) => {}
            Likeness::Different(difference) => {
                self.alike.clear();
                return Err(Failure::Refused(two_servers(&difference)));
            }
        }
        Ok(())
    }

    fn note_alike(&mut self, address: SocketAddr) {
        if !self.alike.contains(&address) {
            self.alike.push(address);
        }
    }
}
