//! One server: its idle connections, and what its failures mean to the caller.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kvlock_protocol::{Epoch, Failure, Greeting, Known, meaning_for_a_read, meaning_for_a_write};

use super::super::place::Place;
use super::super::socket::stream::Peer;
use super::super::socket::wire::{Timeouts, Wire};
use super::super::{EraInfo, StoreError, Write, WriteAnswer};
use super::connection::{Connection, now};
use super::line::Line;
use super::link::Link;
use crate::fork::PerProcess;

/// How many connections are kept for later. More are opened when more threads call at once.
const MAX_IDLE: usize = 16;

/// A connection that has been idle for longer is looked at before it is used, because a write on a connection that the
/// server has closed has no known outcome. In a busy loop the look would cost more than it can find.
const LOOK_AFTER: Duration = Duration::from_millis(10);

/// One memcached server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) place: Place,
    pub(super) timeouts: Timeouts,
    pub(super) greeting: Option<Greeting>,
    /// On a connection that a fork shares with its parent, each would read the other's replies.
    shared: PerProcess<Arc<Mutex<State>>>,
}

/// Two servers were found under a name.
#[derive(Debug)]
pub(super) struct Unfit {
    pub(super) text: String,
    pub(super) checked: Instant,
}

/// What this process has seen of a server.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Connections of earlier calls.
    pub(super) idle: Vec<Link>,
    pub(super) known: Option<Known<Peer>>,
    /// The addresses that lead to the server known.
    pub(super) alike: Vec<Peer>,
    /// The addresses that did not answer when they were dialed last, at the time of `checked`.
    pub(super) silent: Vec<Peer>,
    pub(super) checked: Option<Instant>,
    /// Connections to addresses that answered after all, to be compared.
    pub(super) late: Vec<Connection>,
    pub(super) unfit: Option<Unfit>,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

impl Server {
    pub(super) fn new(place: Place, timeouts: Timeouts, greeting: Option<Greeting>) -> Server {
        Server { place, timeouts, greeting, shared: PerProcess::new(Arc::default()) }
    }

    /// Returns the era, as far as its age counts for this client.
    pub(super) fn era(&self) -> Result<EraInfo, StoreError> {
        let info = self.read(Link::era)?;
        Ok(self.lossless(info))
    }

    /// Tells an era as of all that is known of the server.
    pub(super) fn lossless(&self, info: EraInfo) -> EraInfo {
        self.state().known.as_ref().map_or(info, |known| known.lossless(info, now()))
    }

    /// Opens a connection that tasks share.
    pub(super) fn open_line(&self) -> Result<Arc<Line>, StoreError> {
        let mut link = match self.pooled()? {
            Some(link) => link,
            None => self.open()?,
        };
        if !self.state().late.is_empty() {
            // It is compared with what has answered late.
            self.put_back(link);
            link = match self.pooled()? {
                Some(link) => link,
                None => self.open()?,
            };
        }
        let epoch = link.epoch();
        let peer = link.peer().clone();
        let socket = link.connection.into_socket().map_err(|failure| self.on_read(failure))?;
        Line::new(socket, peer, self.timeouts, epoch).map_err(|failure| self.on_read(failure))
    }

    /// Tells if nothing is to be found out about the server: it is not unfit, and nothing has answered late.
    pub(super) fn is_settled(&self) -> bool {
        let mut state = self.state();
        self.recheck(&mut state);
        state.unfit.is_none() && state.late.is_empty()
    }

    /// Takes note of a call on a shared connection, and of an era that began during it.
    pub(super) fn note_use(&self, line: &Line, before: &Epoch, epoch: &Epoch) {
        let mut state = self.state();
        match &mut state.known {
            Some(known) if known.epoch.identity == epoch.identity => known.used = now(),
            // The server lost everything during the call.
            Some(known) if known.epoch.identity == before.identity => *known = known.later(*epoch, now()),
            // Another connection has led elsewhere meanwhile: the next one that is opened is compared.
            _ => return line.end("it leads to another server than before"),
        }
        if before.identity != epoch.identity {
            line.note_epoch(epoch);
        }
    }

    /// Does something that changes nothing. What fails on a connection of an earlier call is tried on a new one.
    pub(super) fn read<T>(&self, ask: impl Fn(&mut Link) -> Result<T, Failure>) -> Result<T, StoreError> {
        if let Some(mut link) = self.pooled()? {
            match ask(&mut link) {
                Err(Failure::NotSent(_) | Failure::NoAnswer(_)) => {}
                answer => return self.finish(link, answer, |failure| self.on_read(failure)),
            }
        }
        let mut link = self.open()?;
        let answer = ask(&mut link);
        self.finish(link, answer, |failure| self.on_read(failure))
    }

    /// Does something that changes an entry. Nothing is tried twice of which a byte has been sent.
    pub(super) fn write<T>(&self, act: impl Fn(&mut Link) -> Result<T, Failure>) -> Result<T, StoreError> {
        if let Some(mut link) = self.pooled()? {
            match act(&mut link) {
                Err(Failure::NotSent(_)) => {}
                answer => return self.finish(link, answer, |failure| self.on_write(failure)),
            }
        }
        let mut link = self.open()?;
        let answer = act(&mut link);
        self.finish(link, answer, |failure| self.on_write(failure))
    }

    /// Makes several writes, as [`write`](Self::write) makes one.
    pub(super) fn write_all(
        &self,
        writes: &[&Write],
        next_mark: impl Fn() -> u32,
    ) -> Vec<Result<WriteAnswer, StoreError>> {
        let marks = || std::iter::repeat_with(&next_mark);
        match self.write(|link| link.write_all(writes, marks())) {
            Ok(answers) => answers.into_iter().map(|answer| answer.map_err(|failure| self.on_write(failure))).collect(),
            Err(error) => writes.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// Logs in on a new connection.
    pub(super) fn greet(&self, wire: Wire) -> Result<Connection, Failure> {
        Connection::new(wire, self.greeting.as_ref())
    }

    /// Opens a connection without looking at what answers.
    pub(super) fn dial(&self) -> Result<Connection, StoreError> {
        self.connect(Ok).map(|(connection, ..)| connection)
    }

    /// Returns a connection of an earlier call that is good still.
    fn pooled(&self) -> Result<Option<Link>, StoreError> {
        loop {
            // The pool is not locked while we look.
            let mut state = self.state();
            if state.unfit.is_some() {
                drop(state);
                self.check_fit()?;
                continue;
            }
            self.recheck(&mut state);
            let Some(mut link) = state.idle.pop() else { return Ok(None) };
            let late = state.late.pop();
            drop(state);
            let is_good = link.connection.idle() < LOOK_AFTER || link.connection.is_quiet();
            match late {
                Some(late) if is_good => match self.compare(&mut link, late) {
                    Ok(()) => {}
                    Err(StoreError::Rejected(why)) => return Err(StoreError::Rejected(why)),
                    // The connection is of no use any more.
                    Err(_) => continue,
                },
                Some(late) => self.state().late.push(late),
                None => {}
            }
            if is_good {
                link.check_out();
                return Ok(Some(link));
            }
        }
    }

    fn finish<T>(
        &self,
        mut link: Link,
        answer: Result<T, Failure>,
        explain: impl Fn(Failure) -> StoreError,
    ) -> Result<T, StoreError> {
        let answer = answer.map_err(explain)?;
        if link.is_clean() {
            self.put_back(link);
        }
        Ok(answer)
    }

    fn put_back(&self, mut link: Link) {
        let mut state = self.state();
        match &mut state.known {
            Some(known) if known.epoch.identity == link.epoch().identity => known.used = link.connection.used(),
            // The server lost everything during the call.
            Some(known) if link.led_to(known.epoch.identity) => *known = known.later(link.epoch(), now()),
            _ => {
                // Meanwhile another connection has led elsewhere. What was done is done, and is told; the next call is
                // refused, if there are two servers.
                drop(state);
                let Ok(admitted) = self.admit(link) else { return };
                link = admitted;
                state = self.state();
            }
        }
        if state.idle.len() < MAX_IDLE && state.unfit.is_none() {
            state.idle.push(link);
        }
    }

    pub(super) fn shared(&self) -> &Arc<Mutex<State>> {
        self.shared.get_or_recreate(Arc::default)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(self.shared())
    }

    /// Returns what a failure means where nothing was to be changed.
    pub(super) fn on_read(&self, failure: Failure) -> StoreError {
        meaning_for_a_read(self, failure).into()
    }

    /// Returns what a failure means where a write was to be executed.
    pub(super) fn on_write(&self, failure: Failure) -> StoreError {
        meaning_for_a_write(self, failure).into()
    }
}

pub(super) fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    // A panic elsewhere cannot leave the state half changed.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
